"""The commands a person types: what they print and write, and one sentence with exit code 2 for whatever goes wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from toys import coloured, small_model

from bsoftmax import METHODS, SOURCES, cams, checkpoints, commands, zoo
from bsoftmax.cli import main
from bsoftmax.images import read_rgb
from bsoftmax.model import DualBranch
from bsoftmax.pretrain import Recipe, Stage
from bsoftmax.view import View

CLASSES = ("blue", "green", "red")
LIGHT = "test_resnet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of three colours with its branch, one without, photographs, and class folders."""
    root = tmp_path_factory.mktemp("cli")
    small_model(CLASSES).save(root / "both.safetensors")
    small_model(CLASSES, branch=False).save(root / "softmax.safetensors")
    small_model(CLASSES, "test_vit").save(root / "vit.safetensors")
    coloured(root / "data", {"train": 4, "val": 2})
    rng = np.random.default_rng(0)
    for name, shape in (("wide.png", (60, 120, 3)), ("tall.jpg", (130, 70, 3))):
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(root / name)
    return root


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capsys):
    """Runs a command line in an empty folder with @ standing for the prepared one: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path))

    def run(*arguments):
        code = main([str(a).replace("@", str(folder)) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


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
                expected = cams.class_map(view.evidence(source, 1), method)[0]
                np.testing.assert_allclose(stored[name], expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("clamp", "meaning"), [("on", True), ("off", False), ("paper", None)])
def test_the_clamp_option_reaches_the_maps(clamp, meaning, run, folder):
    run("explain", "@/wide.png", "--model", "@/both.safetensors", "--out", "m.npz", "--class", "0", "--clamp", clamp)
    model, stored = DualBranch.load(folder / "both.safetensors"), np.load("m.npz")
    view = View(model, model.preprocess(read_rgb(folder / "wide.png", side=1024)))
    for source in ("softmax", "sigmoid"):
        expected = cams.class_map(view.evidence(source, 0), "cam", meaning)[0].numpy()
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


# --- train ------------------------------------------------------------------------------------------------------------


def test_train_writes_a_branch_and_leaves_the_frozen_part_alone(run, folder, tmp_path):
    before = DualBranch.load(folder / "softmax.safetensors")
    code, out, _ = run(
        "train", "@/data", "--model", "@/softmax.safetensors", "--epochs", "3", "--out", "new.safetensors"
    )
    assert code == 0
    after = DualBranch.load("new.safetensors")
    x = torch.randn(1, 3, 96, 96)
    assert after.frozen_hash() == before.frozen_hash()
    assert torch.equal(after(x)["softmax"], before(x)["softmax"])
    assert before.frozen_hash() in out
    assert checkpoints.file_hash("new.safetensors") in out
    made = after.spec.training["sigmoid"]
    assert made["command"].startswith("bsoftmax train")
    assert made["config"]["epochs"] == 3
    assert made["data"]["train"]["images"] == 12
    assert made["data"]["val"]["images"] == 6
    assert len(made["data"]["train"]["sha256"]) == 64
    assert made["loss"] > 0
    shown = re.search(r"softmax ([\d.]+) %, branch ([\d.]+) %, (\d+) images", out)
    assert float(shown[1]) == pytest.approx(after.spec.metrics["val"]["softmax_top1"], abs=0.01)
    assert float(shown[2]) == pytest.approx(after.spec.metrics["val"]["sigmoid_top1"], abs=0.01)
    assert int(shown[3]) == 6


def test_train_is_repeatable_and_its_seed_matters(run):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run("train", "@/data", "--model", "@/softmax.safetensors", "--epochs", "2", "--views", "3", "--seed", seed,
            "--out", f"{name}.safetensors")  # fmt: skip
    a, b, c = (DualBranch.load(f"{name}.safetensors").sigmoid.weight for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_train_options_reach_the_training(run):
    code, _, _ = run(
        "train", "@/data", "--model", "@/both.safetensors", "--epochs", "1", "--lr", "0", "--init", "clone", "--half",
        "--out", "new.safetensors",
    )  # fmt: skip
    assert code == 0
    model = DualBranch.load("new.safetensors")
    assert torch.equal(model.sigmoid.weight, model.softmax.weight)  # cloned, and not moved by a learning rate of 0
    stored = checkpoints.read("new.safetensors")[0]
    assert stored["trunk.net.conv1.0.weight"].dtype == torch.float16


def test_a_trained_branch_can_be_explained(run):
    run("train", "@/data", "--model", "@/softmax.safetensors", "--epochs", "1", "--out", "new.safetensors")
    code, _, _ = run("explain", "@/wide.png", "--model", "new.safetensors", "--source", "sigmoid", "--out", "m.npz")
    assert code == 0


# --- pretrain ---------------------------------------------------------------------------------------------------------


def test_pretrain_writes_a_model_that_train_can_go_on_with(run, monkeypatch, tmp_path):
    stages = (Stage(32, 32, 1, 0.05, 0.5), Stage(64, 16, 1, 0.01, 0.5))
    monkeypatch.setattr(commands, "Recipe", lambda seed: Recipe(LIGHT, stages, batch=6, seed=seed))
    quick = commands.pretrain
    monkeypatch.setattr(commands, "pretrain", lambda *a: quick(*a, workers=0))
    code, out, _ = run("pretrain", "@/data", "--device", "cpu", "--out", "base.safetensors")
    assert code == 0
    assert "wrote base.safetensors" in out
    model = DualBranch.load("base.safetensors")
    assert model.classes == CLASSES
    assert model.sigmoid is None
    assert model.spec.training["trunk"]["recipe"]["trunk"] == LIGHT
    assert model.spec.stride == 16
    assert checkpoints.read("base.safetensors")[0]["trunk.net.conv1.0.weight"].dtype == torch.float16
    tensors, meta = checkpoints.read("base.state")
    assert meta["epochs_done"] == 2
    ema = tensors["ema.trunk.net.conv1.0.weight"].half().float()
    assert torch.equal(model.state_dict()["trunk.net.conv1.0.weight"], ema)
    code, _, _ = run("train", "@/data", "--model", "base.safetensors", "--epochs", "1", "--out", "both.safetensors")
    assert code == 0


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


# --- what goes wrong --------------------------------------------------------------------------------------------------

E = ("explain", "@/wide.png", "--model", "@/both.safetensors")
T = ("train", "@/data", "--model", "@/softmax.safetensors", "--out", "new.safetensors")
BAD = {
    "no such model": ("explain", "@/wide.png", "--model", "no_such_net"),
    "no such checkpoint": ("explain", "@/wide.png", "--model", "@/absent.safetensors"),
    "a picture as model": ("explain", "@/wide.png", "--model", "@/wide.png"),
    "no such weights": ("explain", "@/wide.png", "--model", LIGHT, "--weights", "@/absent.safetensors"),
    "weights of another kind": ("explain", "@/wide.png", "--model", LIGHT, "--weights", "@/both.safetensors"),
    "no such picture": ("explain", "@/absent.png", "--model", "@/both.safetensors"),
    "a folder as picture": ("explain", "@/data", "--model", "@/both.safetensors"),
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
    "no data": ("train", "@/absent", *T[2:]),
    "data without splits": ("train", "@/data/train", *T[2:]),
    "data of other classes": ("train", "@/other", *T[2:]),
    "splits that differ": ("train", "@/differ", *T[2:]),
    "no epochs": (*T, "--epochs", "0"),
    "no views": (*T, "--views", "0"),
    "learning rate NaN": (*T, "--lr", "nan"),
    "negative learning rate": (*T, "--lr", "-1"),
    "learning rate too high": (*T, "--lr", "1e38"),
    "too few images to pretrain": ("pretrain", "@/data", "--out", "base.safetensors"),
    "no data to pretrain": ("pretrain", "@/absent", "--out", "base.safetensors"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(bad, run, folder, tmp_path):
    if not (folder / "other").exists():
        for split in ("train", "val"):
            for name in ("cat", "dog"):
                (folder / "other" / split / name).mkdir(parents=True)
                Image.new("RGB", (8, 8)).save(folder / "other" / split / name / "1.png")
                (folder / "differ" / split / (name + split)).mkdir(parents=True)
                Image.new("RGB", (8, 8)).save(folder / "differ" / split / (name + split) / "1.png")
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


def test_a_disk_that_is_full_is_told_in_one_sentence(run, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bsoftmax.checkpoints.save_file", full)
    code, _, err = run(*T, "--epochs", "1")
    assert code == 2
    assert "No space left on device" in err.rsplit("\r", 1)[-1]


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
