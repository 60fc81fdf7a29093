"""The Distort panel's arithmetic in the browser against torch's."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import reference as ref
from demo_made import look_at
from toys import images, toy

from bsoftmax.cams.effects import Distortion, distort
from bsoftmax.cams.sources import SOURCES
from bsoftmax.models.model_card import card
from demo.compare.present import present
from demo.components.canvas import STATIC, pack_maps
from demo.distort import panel

SCRIPTS = "".join(
    (STATIC / name).read_text(encoding="utf-8")
    for name in ("components/maps.js", "distort/distort.js", "components/link.js")
)
PLAIN = {"channels": [], "delta": 0, "flip": 0, "uniform": 0, "centre": False, "only": False, "both": False}
KINDS = {
    "nothing": {},
    "one channel": {"channels": [1], "delta": 0.7},
    "two channels, darker": {"channels": [0, 3], "delta": -0.4},
    "flip half": {"flip": 50},
    "flip all": {"flip": 100},
    "uniform": {"uniform": 0.1},
    "centre": {"centre": True},
    "all at once": {"channels": [2], "delta": 0.3, "flip": 30, "uniform": 0.05, "centre": True},
    "one class only": {"channels": [1], "delta": 0.7, "only": True},
    "one class only, flipped": {"flip": 60, "only": True, "both": True},
    "both heads": {"channels": [1, 2], "delta": 0.5, "both": True},
    "both heads, uniform": {"uniform": 0.1, "both": True},
}

# Everything the panel computes for one head, method and list of distortions.
GOLDEN = """([pack, kinds]) => { SCRIPTS
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const F = Distort.features(bytes(pack.features), pack.feature_scale);
  const rows = Distort.vectors(bytes(pack.rows), pack.places);
  const maps = Maps.decode(bytes(pack.maps), pack.cells, pack.scales);
  const { k, method, branches, cells, class_free: free } = pack;
  const head = Distort.head(F, rows, { k, method, branches, cells, free });
  return kinds.map((s) => {
    const { d, logits, moves } = Distort.inject(head, s), out = { d: [...d], p: [], maps: {}, same: {} };
    for (const [branch, l] of Object.entries(logits)) out[branch] = [...l];
    out.p = [...Distort.softmax(logits.softmax)];
    out.dp = Distort.largestChange(Distort.softmax(head.logits.softmax), out.p);
    if (logits.sigmoid) out.loss = Distort.branchLoss(logits.sigmoid, pack.k);
    pack.columns.forEach(({ source, raw, clamped }) => [raw, clamped].forEach((index, positive) => {
      const alphas = (e) => Distort.alphas(head, source, e, Boolean(positive));
      const moved = moves[source] ? Distort.moved(maps[index], F, alphas(null), alphas(moves[source])) : maps[index];
      out.maps[`${source} ${positive}`] = [...moved];
      out.same[`${source} ${positive}`] = moved === maps[index];
    }));
    return out;
  });
}"""


def call(page, expression, argument=None):
    return page.evaluate(f"x => {{ {SCRIPTS}; return {expression}; }}", argument)


def packed(analysis, k, method):
    """What the server sends, as JSON for the page."""
    made = present(analysis, k, method, live=False)
    data, scales = pack_maps(made.maps)
    features, feature_scale = panel.features_file(analysis)
    rows, places = panel.rows_file(analysis, k, method)
    files = {"maps": data, "features": features, "rows": rows}
    grid = made.info["grid"]
    return {name: base64.b64encode(content).decode() for name, content in files.items()} | {
        "scales": scales, "feature_scale": feature_scale, "places": places, "k": k, "method": method,
        "cells": grid[0] * grid[1], "columns": made.info["columns"], **panel.describe(analysis, k, method),
    }  # fmt: skip


@pytest.mark.parametrize(("said", "shown"), [
    ({"images": 8, "flip": 10.0, "uniform": 0.05}, {"flip": 10.0, "uniform": 0.05}),
    ({"images": 8, "flip": "10", "uniform": True, "delta": -1.0, "other": 3.0}, {}),
    ({"images": 8, "flip": float("nan"), "uniform": float("inf"), "delta": 1e300}, {}),
    ([1.0, 2.0], {}),
    ("<b>", {}),
    (None, {}),
])  # fmt: skip
def test_marks_are_what_a_checkpoint_says_where_it_says_numbers(said, shown):
    model = toy(double=False)
    model.spec = replace(model.spec, metrics={"breaking": said})
    analysis = look_at(model, images(1, double=False))
    assert panel.describe(analysis, 0, "cam")["breaks"] == shown
    text = card(replace(model.spec, metrics={"val": {"images": 8}, "breaking": said}), "0" * 64)
    assert ("Shifts common to all classes" in text) == bool(shown)


def golden(page, analysis, k, method, kinds):
    pack = packed(analysis, k, method)
    assert pack["live"]
    return page.evaluate(GOLDEN.replace("SCRIPTS", SCRIPTS), [pack, [PLAIN | kind for kind in kinds]])


def close(got, kind, outcome, before):
    """Maps to a thousandth of their range, probabilities to a millionth."""
    p = outcome.logits_after["softmax"].double().softmax(0)
    assert np.abs(np.array(got["p"]) - p.numpy()).max() < 1e-6
    for branch, logits in outcome.logits_after.items():
        np.testing.assert_allclose(got[branch], logits, atol=2e-5, rtol=1e-5)
    for (source, clamp), S in outcome.after.items():
        S, S0 = S.flatten().numpy(), before[source, clamp].flatten().numpy()
        # a map is stored to 11 bits of its largest value, and what is added to it to 11 bits of F's
        size = max(np.ptp(S), np.ptp(S0), np.abs(S0).max(), np.abs(S - S0).max())
        error = np.abs(np.float32(got["maps"][f"{source} {int(clamp)}"]) - S).max()
        assert error <= 1e-3 * size, (source, clamp, kind, error / size)


def distortion(kind):
    return Distortion(**{**kind, "channels": tuple(kind.get("channels", ()))})


@pytest.mark.browser
@pytest.mark.parametrize("method", panel.BROWSER_METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_random_heads_are_distorted_as_by_torch(page, method, seed):
    model = toy(maps="5x3", seed=seed, double=False)
    analysis = look_at(model, images(1, seed, double=False))
    k = seed % len(model.classes)
    got = golden(page, analysis, k, method, KINDS.values())
    for (name, kind), mine in zip(KINDS.items(), got):
        outcome = distort(analysis.view, k, method, distortion(kind))
        close(mine, name, outcome, outcome.before)


@pytest.mark.browser
@pytest.mark.parametrize("method", panel.BROWSER_METHODS)
def test_the_bundled_model_is_distorted_as_by_torch(page, bundled, method):
    k = int(bundled.view.logits("softmax").argmax())
    kinds = {**KINDS, "strong": {"channels": [7], "delta": -1.6}, "collapse": {"uniform": 0.15}}
    for (name, kind), mine in zip(kinds.items(), golden(page, bundled, k, method, kinds.values())):
        outcome = distort(bundled.view, k, method, distortion(kind))
        close(mine, name, outcome, outcome.before)
        if not kind.get("only"):
            assert mine["dp"] <= 1e-6, name


@pytest.mark.browser
def test_what_must_not_move_is_the_array_the_server_sent(page, bundled):
    got = dict(zip(KINDS, golden(page, bundled, 3, "cam", KINDS.values())))
    for name, kind in KINDS.items():
        same = got[name]["same"]
        moved = {source for source in SOURCES if not same[f"{source} 0"]}
        expected = {"softmax"} if kind else set()
        expected |= {"log-odds", "centred"} if kind.get("only") else set()
        expected |= {"sigmoid"} if kind.get("both") else set()
        assert moved == expected, name


@pytest.mark.browser
@pytest.mark.parametrize("n", [1, 7, 100, 257])
def test_flipped_channels_are_those_of_the_core(page, n):
    w = np.round(np.random.default_rng(n).normal(size=n), 1).astype(np.float32)  # rounded: many are equal
    percents = [0, 1, 7, 10, 12.5, 33, 50, 99, 100]
    script = "x[1].map((flip) => [...Distort.shift({ ...Distort.NONE, flip }, { w: Float32Array.from(x[0]) })])"
    for percent, d in zip(percents, call(page, script, [w.tolist(), percents])):
        np.testing.assert_array_equal(d, ref.flip(w[None].astype(float), 0, percent))


@pytest.mark.browser
def test_measures_are_those_of_the_reference(page):
    rng = np.random.default_rng(0)
    pairs = [rng.integers(-3, 4, (2, 6, 5)).astype(float) for _ in range(6)] + [np.zeros((2, 6, 5))]
    script = "x.map(([a, b]) => [Distort.spearman(a, b), Distort.signChanges(a, b)].map(String))"
    got = call(page, script, [[a.ravel().tolist(), b.ravel().tolist()] for a, b in pairs])
    for (a, b), (rho, sign) in zip(pairs, got):
        assert float(rho) == pytest.approx(ref.spearman(a, b), abs=1e-12, nan_ok=True)
        assert float(sign) == pytest.approx(ref.sign_changes(a, b))
    boxes = rng.integers(1, 9, (20, 2, 4))
    for (a, b), got in zip(boxes, call(page, "x.map(([a, b]) => Distort.iou(a, b))", boxes.tolist())):
        corners = [(x, y, x + w - 1, y + h - 1) for x, y, w, h in (a.tolist(), b.tolist())]
        assert got == pytest.approx(ref.iou(*corners))
    assert call(page, "[Distort.iou(null, null), Distort.iou([0, 0, 2, 2], null)]") == [1, 0]


@pytest.mark.browser
def test_the_branch_loss_is_equation_12(page):
    for z in np.random.default_rng(1).normal(scale=4, size=(5, 7)):
        got = call(page, "Distort.branchLoss(Float64Array.from(x), 2)", z.tolist())
        assert got == pytest.approx(ref.branch_loss(z[None], [2]), rel=1e-9)
    assert call(page, "Distort.branchLoss([-800, 800], 0)") == pytest.approx(800)


@pytest.mark.browser
def test_the_brightest_background_is_where_there_is_little_evidence(page):
    assert call(page, "Distort.background([3, 1, 2, 9])") == [False, True, True, False]
    assert call(page, "Distort.background([2, 2, 2, 2])") == [False] * 4
    F = np.zeros((3, 4), np.float32)
    F[0, 0], F[1, 3], F[2, :] = 9, 5, 4
    head = "{ F: Float32Array.from(x.flat()), h: new Float32Array(3), cells: 4 }"
    got = call(page, f"[...Distort.backdrops({head}, [false, true, true, true])]", F.tolist())
    np.testing.assert_allclose(got, [-9, 5 / 3, 0], atol=1e-6)


@pytest.mark.browser
@pytest.mark.parametrize("kind", [k for k in KINDS if KINDS[k]])
def test_a_link_brings_the_distortion_back(page, kind):
    s = PLAIN | KINDS[kind]
    info = {"model_name": "wild20", "method": "gradcam++", "class": "a & b", "example": None}
    search, back = call(
        page, "((q) => [q, Link.read(q)])(Link.write('?__theme=dark&flip=3', x[0], true, x[1]))", [s, info]
    )
    assert back == s
    assert "__theme=dark" in search
    assert "method=gradcam%2B%2B" in search
    assert "example" not in search


@pytest.mark.browser
def test_a_damaged_link_is_no_distortion(page):
    search = "?ch=1,x,1e9,-2,1&d=NaN&flip=900&u=Infinity&centre=yes"
    assert call(page, "Link.read(x)", search) == PLAIN | {"channels": [1], "flip": 100}
