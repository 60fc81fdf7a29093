"""The commands a person types: what they print and write, and one sentence with exit code 2 for whatever goes wrong."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from bsoftmax import METHODS, SOURCES
from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.view import View
from bsoftmax.images.read import read_rgb
from bsoftmax.models.dual_branch import DualBranch

CLASSES = ("blue", "green", "red")
LIGHT = "test_resnet"


# --- explain ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["map.png", "map.pdf", "MAP.PNG"])
def test_explain_writes_a_figure(out, run, tmp_path):
    code, text, err = run("explain", "@/wide.png", "--model", "@/both.safetensors", "--out", out)
    assert code == 0
    assert err == ""
    head = (tmp_path / out).read_bytes()[:5]
    assert head == (b"%PDF-" if out.endswith("pdf") else b"\x89PNG\r")
    first, last = text.splitlines()
    assert re.fullmatch(r".*wide\.png: (blue|green|red) \d\.\d{3}, explained: \1 \d\.\d{3}", first)
    assert last == f"wrote {out}"
    assert [p.name for p in tmp_path.iterdir()] == [out]


def test_explain_writes_the_raw_maps_with_how_they_were_made(run, folder, tmp_path):
    methods, sources = ("cam", "eigencam", "gradcam++"), tuple(SOURCES)
    code, _, _ = run(
        "explain", "@/wide.png", "@/tall.jpg", "--model", "@/both.safetensors", "--out", "m.npz", "--class", "green",
        *(a for m in methods for a in ("--method", m)), *(a for s in sources for a in ("--source", s)),
    )  # fmt: skip
    assert code == 0
    model, stored = DualBranch.load(folder / "both.safetensors"), np.load("m.npz")
    protocol = json.loads(str(stored["protocol"]))
    assert len(stored.files) - 1 == 2 * len(methods) * len(sources)
    assert protocol["frozen_sha256"] == model.frozen_hash()
    assert protocol["clamp"] == "paper"
    for image in ("wide.png", "tall.jpg"):
        view = View(model, model.preprocess(read_rgb(folder / image, side=1024)))
        for method in methods:
            for source in sources:
                (name,) = [n for n in stored.files if image in n and n.endswith(f"|green|{method}|{source}")]
                expected = cam_methods.class_map(view.evidence(source, 1), method)[0]
                np.testing.assert_allclose(stored[name], expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("clamp", "meaning"), [("on", True), ("off", False), ("paper", None)])
def test_the_clamp_option_reaches_the_maps(clamp, meaning, run, folder):
    run("explain", "@/wide.png", "--model", "@/both.safetensors", "--out", "m.npz", "--class", "0", "--clamp", clamp)
    model, stored = DualBranch.load(folder / "both.safetensors"), np.load("m.npz")
    view = View(model, model.preprocess(read_rgb(folder / "wide.png", side=1024)))
    for source in ("softmax", "sigmoid"):
        expected = cam_methods.class_map(view.evidence(source, 0), "cam", meaning)[0].numpy()
        np.testing.assert_allclose(stored[f"wide.png|blue|cam|{source}"], expected, rtol=1e-5, atol=1e-6)


def test_two_pictures_of_one_name_both_arrive(run, folder, tmp_path):
    for n in (1, 2):
        (tmp_path / f"{n}").mkdir()
        Image.new("RGB", (32, 32), (99 * n, 0, 0)).save(tmp_path / f"{n}" / "a.png")
    code, _, _ = run("explain", "1/a.png", "2/a.png", "--model", "@/both.safetensors", "--out", "m.npz")
    assert code == 0
    assert len(np.load("m.npz").files) == 1 + 2 * 2
    assert run("explain", "1/a.png", "--model", "@/both.safetensors", "--out", "M.NPZ")[0] == 0


def test_the_default_columns_follow_the_model(run):
    run("explain", "@/wide.png", "--model", "@/softmax.safetensors", "--out", "a.npz")
    run("explain", "@/wide.png", "--model", "@/vit.safetensors", "--out", "b.npz")
    asked = lambda file: {tuple(n.split("|")[-2:]) for n in np.load(file).files if n != "protocol"}
    assert asked("a.npz") == {("cam", "softmax"), ("cam", "log-odds")}  # no branch yet
    assert asked("b.npz") == {("gradcam", "softmax"), ("gradcam", "sigmoid")}  # no CAM for this head


@pytest.mark.parametrize("method", [m for m in METHODS if not METHODS[m].slow])
def test_every_quick_method_can_be_asked_for(method, run):
    code, _, err = run("explain", "@/wide.png", "--model", "@/both.safetensors", "--method", method, "--out", "m.npz")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("scale", ["each", "shared", "signed"])
def test_every_scale_can_be_asked_for(scale, run, tmp_path):
    code, _, _ = run("explain", "@/wide.png", "--model", "@/both.safetensors", "--scale", scale, "--out", "m.png")
    assert code == 0
    assert (tmp_path / "m.png").stat().st_size > 10_000


def test_a_real_photograph(run):
    from importlib.resources import files

    pytest.importorskip("gradio")
    photo = files("gradio") / "media_assets" / "images" / "lion.jpg"
    code, out, _ = run("explain", str(photo), "--model", "@/both.safetensors", "--out", "lion.png")
    assert code == 0
    assert "lion.jpg" in out


def test_a_public_trunk_with_weights_of_ones_own(run, tmp_path):
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model(LIGHT).state_dict(), tmp_path / "w.safetensors")
    code, out, _ = run("explain", "@/wide.png", "--model", LIGHT, "--weights", "w.safetensors", "--class", "goldfish")
    assert code == 0
    assert "explained: goldfish" in out
    assert (tmp_path / "bsoftmax.png").exists()


# --- a folder of photographs in, a folder of files out ----------------------------------------------------------------


@pytest.fixture
def album(tmp_path):
    """Four photographs in two folders, two of one stem, one that is none, and what no person put there."""
    rng = np.random.default_rng(0)
    for name in ("album/a.png", "album/a.jpg", "album/trip/b.png", "album/.hidden/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "album" / "torn.jpg").write_bytes(b"\xff\xd8 no picture")
    (tmp_path / "album" / "notes.txt").write_text("not a picture")
    return tmp_path / "album"


def made(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_folder_gets_a_file_for_each_photograph(run, album, tmp_path):
    code, out, err = run("explain", "album", "--model", "@/both.safetensors", "--out", "maps/", "--format", "both")
    assert code == 0
    assert "Traceback" not in err
    names = ["a.jpg", "a.png", "trip/b"]  # two of one stem keep their endings
    assert made(tmp_path / "maps") == sorted(["options.json", *(f"{n}{e}" for n in names for e in (".npz", ".png"))])
    assert "counted out: torn.jpg (" in out
    assert "wrote the maps of 3 photographs into maps" in out
    run("explain", "album/trip/b.png", "--model", "@/both.safetensors", "--out", "one.npz")
    alone, among = np.load("one.npz"), np.load("maps/trip/b.npz")
    assert {n.split("|", 1)[1] for n in alone.files if "|" in n} == {
        n.split("|", 1)[1] for n in among.files if "|" in n
    }
    for name in among.files:
        if "|" in name:
            np.testing.assert_array_equal(among[name], alone["b.png|" + name.split("|", 1)[1]])


def test_a_second_run_does_only_what_is_missing(run, album, tmp_path, monkeypatch):
    words = ("explain", "album", "--model", "@/both.safetensors", "--out", "maps/", "--format", "npz")
    run(*words)
    before = (tmp_path / "maps" / "trip" / "b.npz").stat().st_mtime_ns
    (tmp_path / "maps" / "a.png.npz").unlink()
    looked = []
    from bsoftmax.cli import explain as command

    monkeypatch.setattr(command, "open_view", lambda m, p, k, real=command.open_view: looked.append(p) or real(m, p, k))
    code, out, _ = run(*words)
    assert code == 0
    assert "2 of 4 photographs are done already" in out
    assert [path.name for path in looked] == ["a.png", "torn.jpg"]
    assert (tmp_path / "maps" / "trip" / "b.npz").stat().st_mtime_ns == before
    code, _, err = run(*words, "--clamp", "on")
    assert code == 2
    assert "other options" in err


def test_a_stop_keeps_what_was_made(run, album, tmp_path, monkeypatch):
    from bsoftmax.cli import explain as command

    def interrupted(model, path, k, real=command.open_view):
        if path.name == "b.png":
            raise KeyboardInterrupt
        return real(model, path, k)

    monkeypatch.setattr(command, "open_view", interrupted)
    code, _, err = run("explain", "album", "--model", "@/both.safetensors", "--out", "maps/")
    assert code == 130
    assert "kept" in err
    assert made(tmp_path / "maps") == ["a.jpg.png", "a.png.png", "options.json"]


def test_a_figure_of_too_many_photographs_is_refused_before_it_is_drawn(run, tmp_path):
    (tmp_path / "many").mkdir()
    for n in range(61):
        (tmp_path / "many" / f"{n}.png").touch()
    code, _, err = run("explain", "many", "--model", "@/both.safetensors")
    assert code == 2
    assert "61" in err
    assert "--out" in err


def test_a_folder_may_be_one_figure_too(run, album, tmp_path):
    (album / "torn.jpg").unlink()
    code, _, _ = run("explain", "album", "--model", "@/both.safetensors", "--out", "all.npz")
    assert code == 0
    assert len(np.load("all.npz").files) == 1 + 3 * 2
