"""The commands a person types: what they print and write, and one sentence with exit code 2 for whatever goes wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from toys import small_model

from bsoftmax import METHODS, SOURCES
from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.view import View
from bsoftmax.images.read import read_rgb
from bsoftmax.models import zoo
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


# --- distort and diagnose ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["d.png", "d.pdf"])
def test_distort_writes_a_picture_and_its_numbers(out, run, tmp_path):
    code, text, _ = run("distort", "@/wide.png", "--model", "@/both.safetensors", "--flip", "100", "--out", out)
    assert code == 0
    assert {p.name for p in tmp_path.iterdir()} == {out, "d.json"}
    assert json.loads((tmp_path / "d.json").read_text())["max_dp"] < 1e-5  # softmax does not see it
    assert float(re.search(r"max \|dp\| (\S+)", text)[1]) < 1e-5


def test_diagnose_measures_both_heads(run):
    code, text, _ = run("diagnose", "@/both.safetensors", "--image", "@/wide.png")
    assert code == 0
    assert {line.split(":")[0] for line in text.splitlines()[:2]} == {"softmax", "sigmoid"}


# --- models -----------------------------------------------------------------------------------------------------------


def test_models_lists_bundled_ones_and_trunks(run, folder, monkeypatch):
    monkeypatch.setattr(zoo, "CHECKPOINTS", folder)
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert re.search(r"^both +bundled: test_resnet, 3 classes", out, re.M)
    for name in ("resnet10t", "resnet50", "vgg16", "vgg16_cam", "inception_v3"):
        assert re.search(rf"^{name} +\S", out, re.M)
    assert "fresh: train it" in out
    code, _, _ = run("explain", "@/wide.png", "--model", "both", "--out", "m.npz")
    assert code == 0


def test_models_names_weights_that_are_already_here(run, tmp_path):
    assert "local file" not in run("models")[1]
    (tmp_path / "resnet50.tv_in1k.safetensors").touch()
    assert re.search(r"^resnet50 .*local file .*resnet50\.tv_in1k\.safetensors", run("models")[1], re.M)


@pytest.fixture
def mixed(folder, tmp_path, monkeypatch):
    """One folder with a checkpoint of ours, weights of a timm trunk as timm saves them, and a damaged file."""
    import shutil

    import timm
    from safetensors.torch import save_file

    monkeypatch.setattr(zoo, "CHECKPOINTS", tmp_path)  # which is the folder of weights too, see `run`
    shutil.copy(folder / "both.safetensors", tmp_path / "mine.safetensors")
    net = timm.create_model("test_resnet")
    save_file(net.state_dict(), tmp_path / "test_resnet.safetensors", metadata={"format": "pt"})
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    return tmp_path


def test_checkpoints_and_weights_of_trunks_lie_side_by_side(run, mixed):
    """A file of weights in the folder once made `models`, `explain`, `diagnose` and the page end with its error."""
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert re.search(r"^mine +bundled: test_resnet, 3 classes", out, re.M)
    assert re.search(r"^test_resnet +generic cut; local file .*test_resnet\.safetensors", out, re.M)
    assert re.search(r"^broken.safetensors +cannot be opened: .*not a readable safetensors file", out, re.M)
    assert zoo.names()[0] == "mine"
    assert "test_resnet" in zoo.names()
    assert "broken" not in " ".join(zoo.names())
    for name in ("mine", "test_resnet"):
        assert run("explain", "@/wide.png", "--model", name, "--out", "m.npz")[0] == 0
        assert run("diagnose", name)[0] == 0
    code, _, err = run("explain", "@/wide.png", "--model", "test_resnet.safetensors", "--out", "n.npz")
    assert code == 2
    assert "was not written by bsoftmax" in err
    assert "--weights" in err


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


# --- what goes wrong --------------------------------------------------------------------------------------------------

E = ("explain", "@/wide.png", "--model", "@/both.safetensors")
BAD = {
    "no such model": ("explain", "@/wide.png", "--model", "no_such_net"),
    "no such checkpoint": ("explain", "@/wide.png", "--model", "@/absent.safetensors"),
    "a picture as model": ("explain", "@/wide.png", "--model", "@/wide.png"),
    "no such weights": ("explain", "@/wide.png", "--model", LIGHT, "--weights", "@/absent.safetensors"),
    "weights of another kind": ("explain", "@/wide.png", "--model", LIGHT, "--weights", "@/both.safetensors"),
    "no such picture": ("explain", "@/absent.png", "--model", "@/both.safetensors"),
    "a folder without pictures": ("explain", "@/empty", "--model", "@/both.safetensors"),
    "a checkpoint as picture": ("explain", "@/both.safetensors", "--model", "@/both.safetensors"),
    "no such class": (*E, "--class", "purple"),
    "class out of range": (*E, "--class", "3"),
    "negative class": (*E, "--class=-1"),
    "a superscript as class": (*E, "--class", "²"),
    "no branch": ("explain", "@/wide.png", "--model", "@/softmax.safetensors", "--source", "sigmoid"),
    "method that the head forbids": ("explain", "@/wide.png", "--model", "@/vit.safetensors", "--method", "cam"),
    "no such channel to distort": ("distort", *E[1:], "--channel", "9999", "--delta", "1"),
    "distortion into a kind unknown": ("distort", *E[1:], "--uniform", "1", "--out", "m.bmp"),
    "no model to diagnose": ("diagnose", "@/absent.safetensors"),
    "unknown kind of figure": (*E, "--out", "m.bmp"),
    "no folder to write to": (*E, "--out", "nowhere/m.png"),
    "no folder to write maps to": (*E, "--out", "nowhere/m.npz"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(bad, run, tmp_path):
    code, _, err = run(*BAD[bad])
    err = err.rsplit("\r", 1)[-1]  # what a progress bar drew before is wiped from the line
    assert code == 2
    assert re.fullmatch(r"bsoftmax: .+[.]\n", err)
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*.png")) + list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    "wrong",
    [(), ("explain",), ("explain", "a.png", "--method", "gradcamm"), ("train", "d"), ("dance",), (*E, "--source", "x")],
)
def test_a_command_line_that_does_not_parse_shows_its_usage(wrong, run, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*wrong)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("usage: ")
    assert "Traceback" not in err


def test_an_interrupted_command_ends_quietly(run, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "open_model", stop)
    code, _, err = run(*E)
    assert code == 130
    assert err.count("\n") == 1


def test_python_dash_m_is_the_command(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bsoftmax", "explain", "absent.png", "--model", str(folder / "both.safetensors")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("bsoftmax: There is no file 'absent.png'")
    assert "Traceback" not in done.stderr


# --- classes by name --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meant"), [("1", 1), ("tabby cat", 1), ("Tabby_Cat", 1), ("DOG", 0), ("tabby_cat", 1), ("2", 2), ("7", 3)]
)
def test_a_class_is_meant_by_number_or_by_name(said, meant):
    model = small_model(("dog", "tabby_cat", "Fox", "7"), branch=False)
    assert model.class_number(said) == meant


def test_an_unknown_class_names_the_nearest():
    model = small_model(("dog", "tabby_cat", "Fox"), branch=False)
    with pytest.raises(ValueError, match=r"'cat'.*tabby_cat"):
        model.class_number("cat")
