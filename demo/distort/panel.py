"""What the Distort panel redraws from: F and the rows of the heads.

Heads of global average pooling and one linear layer are distorted in the browser (`pack`); any other head is distorted
here (`redraw`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from bsoftmax import METHODS, SOURCES
from bsoftmax.cams import effects, methods
from bsoftmax.cams.effects import MAX_SHIFT, Distortion
from bsoftmax.cams.view import Evidence
from bsoftmax.models import bundled
from bsoftmax.models.heads import is_gap_linear, last_linear
from bsoftmax.models.spec import breaking_points
from bsoftmax.utils.language import gettext as _

from ..server.schemas import Chosen, Incoming
from ..server.sentences import STUMBLED, sentence
from ..server.session import Analysis, Session

LOG = logging.getLogger("bsoftmax")
Amount = Annotated[float, Field(ge=-MAX_SHIFT, le=MAX_SHIFT)] | None

PATIENCE = 3.0  # seconds that a redraw waits for its turn
MAX_CHANNELS = 64  # shifted at once
RANKED = 24  # most active channels suggested where the browser has no F to rank them by
# alpha of these methods depends on a row w, the pooled features h and the score y alone
BROWSER_METHODS = ("cam", "gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "ablationcam", "eigencam")


def browser_can_redraw(analysis: Analysis, method: str) -> bool:
    """Whether the browser can redraw a method under distortion by itself."""
    return is_gap_linear(analysis.model.neck, analysis.model.softmax) and method in BROWSER_METHODS


def features_file(analysis: Analysis) -> tuple[bytes, float]:
    """F as little-endian float16 [N, P*Q], divided by the scale that is returned with it."""
    F = analysis.view.F[0].flatten(1).numpy()
    scale = float(np.abs(F).max()) or 1.0
    return (F / scale).astype("<f2").tobytes(), scale


def rows_file(
    analysis: Analysis, k: int, method: str = "cam", evidence: Mapping[str, Evidence] | None = None
) -> tuple[bytes, dict[str, list[int]]]:
    """Little-endian float32 vectors one behind the other, and {name: [offset, length]} in numbers.

    h [N]; for every source `row:<source>` [N], the gradient of its score at h (w_k for a logit); for every classifier
    `logits:<branch>` [C] and `mean:<branch>` [N], the mean of its rows over the classes, and `w:<branch>` [N], row k.
    For Ablation-CAM `drop:log-odds` [N], what the score loses without each channel: for a logit that is w_i h_i.
    """
    vectors = {"h": analysis.view.h[0]}
    for source in analysis.sources:
        # GAP: the gradient at F is that at h over PQ
        found = evidence[source] if evidence else analysis.view.evidence(source, k)
        vectors[f"row:{source}"] = found.G[0].sum((1, 2))
    for branch in dict.fromkeys(SOURCES[source].branch for source in analysis.sources):
        weight = last_linear(analysis.model.classifier(branch)).weight
        vectors |= {f"logits:{branch}": analysis.logits[branch], f"mean:{branch}": weight.mean(0)}
        vectors[f"w:{branch}"] = weight[k]
    if method == "ablationcam":
        evidence = analysis.view.evidence("log-odds", k)
        vectors["drop:log-odds"] = (evidence.score[:, None] - evidence.ablated_scores())[0]
    places, at = {}, 0
    for name, vector in vectors.items():
        places[name] = [at, len(vector)]
        at += len(vector)
    return torch.cat(list(vectors.values())).numpy().astype("<f4").tobytes(), places


def pack(
    analysis: Analysis, k: int, method: str, evidence: Mapping[str, Evidence] | None = None
) -> tuple[dict[str, Any], bytes | None, bytes | None]:
    """The panel's description; F and the rows of the heads where the browser redraws by itself.

    `evidence` of class k by source, where it has been made: its gradients are then not computed again.
    """
    described = describe(analysis, k, method)
    if not described["live"]:
        return described, None, None
    F, described["feature_scale"] = features_file(analysis)
    rows, described["rows"] = rows_file(analysis, k, method, evidence)
    return described, F, rows


class Shift(Incoming):
    """A number added to some channels."""

    channels: list[int] | None = None
    delta: Amount = None


class Asked(Incoming):
    """What a browser asks for: a distortion of one class's map of a photograph under one method."""

    photo: str
    class_index: Chosen
    method: str
    shift: Shift | None = None
    flip: Amount = None
    uniform: Amount = None
    centre: bool | None = None
    only: bool | None = None
    both: bool | None = None

    def distortion(self) -> Distortion:
        """The same as the library's. Raises ValueError for numbers out of range."""
        shift = self.shift or Shift()
        return Distortion(
            tuple(shift.channels or ())[:MAX_CHANNELS], shift.delta or 0.0, self.flip or 0.0, self.uniform or 0.0,
            bool(self.centre), bool(self.only), bool(self.both),
        )  # fmt: skip


def parse(payload: Any, session: Session) -> tuple[Analysis, int, str, Distortion]:
    """The photograph, class, method and distortion that a browser asks for. Raises ValueError for an invalid one."""
    asked = Asked.read(payload)
    analysis = session.cached_analysis(asked.photo)
    return analysis, analysis.model.class_number(asked.class_index), asked.method, asked.distortion()


def redraw(session: Session, payload: Any) -> dict[str, Any]:
    """Distorted maps and logits for heads the browser cannot distort itself; an error comes back as a sentence."""
    try:
        analysis, k, method, distortion = parse(payload, session)
        entry = METHODS.get(method, METHODS["cam"])
        if entry.follows and entry.slow and analysis.takes_seconds(method):
            raise ValueError(f"{entry.label} can be distorted once it was drawn: choose it as the method.")
        maps, logits = _distorted(session, analysis, k, method, distortion)
    except ValueError as error:
        return {"error": sentence(error)}
    except Exception:
        LOG.exception("a redraw failed")
        return {"error": _(STUMBLED)}
    out: dict[str, Any] = {"maps": {}, "logits": {b: v.tolist() for b, v in logits.items()}}
    for (source, clamp), S in maps.items():
        out["maps"].setdefault(source, {})["clamped" if clamp else "raw"] = S.flatten().tolist()
    return out


def _distorted(session: Session, analysis: Analysis, k: int, method: str, distortion: Distortion) -> tuple[Any, Any]:
    """The distorted maps and logits. Raises ValueError when too many others are drawn: threads must not pile up."""
    if not session.redraws.acquire(timeout=PATIENCE):
        raise ValueError("The server draws for many visitors just now: move the slider again.")
    try:
        with analysis.lock:
            return effects.distorted_maps(analysis.view, k, method, distortion)
    finally:
        session.redraws.release()


@torch.no_grad()
def _penultimate(analysis: Analysis) -> torch.Tensor:
    """What the last linear layer of the softmax head reads: [N_pen]."""
    head = analysis.model.softmax
    before = list(head)[:-1] if isinstance(head, torch.nn.Sequential) else []
    return torch.nn.Sequential(*before)(analysis.view.h)[0]


def describe(analysis: Analysis, k: int, method: str) -> dict[str, Any]:
    """The panel's description, without the numbers."""
    return {
        "live": browser_can_redraw(analysis, method),
        "class_free": METHODS[method].class_free,
        "channels": last_linear(analysis.model.softmax).in_features,
        "branches": {s: SOURCES[s].branch for s in analysis.sources},
        "ranked": _penultimate(analysis).abs().argsort(descending=True)[:RANKED].tolist(),
        "weight_scale": float(last_linear(analysis.model.softmax).weight[k].abs().max()),
        "breaks": breaks(analysis),
    }


def breaks(analysis: Analysis) -> dict[str, float]:
    """Where half the boxes on a model's own validation images break, by slider.

    Measured when it was trained, or beside the bundled models.
    """
    beside = bundled.breaking().get(analysis.model_name) if analysis.public else None
    found = beside or breaking_points(analysis.model.spec.metrics)
    return {name: value for name, value in found.items() if name != "images"}


def gauge_report(analysis: Analysis, k: int, method: str) -> str:
    """How far each head is from centred and which shift the map survives, as Markdown without names of classes."""
    lines = [_("| head | norm of the class-mean row | norm of a row | share |"), "|---|--:|--:|--:|"]
    for branch in effects.branches(analysis.model):
        g = effects.gauge(analysis.model.classifier(branch))
        lines.append(f"| {_(branch)} | {g['mean_norm']:.3g} | {g['row_norm']:.3g} | {g['share']:.1%} |")
    found = effects.tolerance(analysis.view, k, methods.quick_to_follow(analysis.model, method))
    scale, none = found["scale"], _("none")
    sides = [f"{found[s]:+.3g} ({found[s] / scale:+.2f} rms)" if found[s] else none for s in ("down", "up")]
    share = effects.gauge(analysis.model.softmax)["share"]
    near, far = _("sits near the middle of its freedom"), _("has drifted from the middle of its freedom")
    stands = _(
        "This softmax head {stands}: cross-entropy's gradient sums to zero over classes, so training with "
        "weight decay pulls the class-mean row to zero (0 %: centred). The freedom is real; where a head sits in it is "
        "a matter of its training."
    ).format(stands=near if share < 0.1 else far)
    survives = _(
        "Added to every channel, this map's box keeps half its overlap until a shift of {down} or {up}; "
        "rms is the class's own root mean square weight, {scale:.3g}."
    ).format(down=sides[0], up=sides[1], scale=scale)
    return "\n\n".join(["\n".join(lines), stands, survives])
