"""The commands that make models: what they write, what they say, and one sentence for whatever goes wrong."""

from __future__ import annotations

import json
import re
import signal

import pytest
import torch
from PIL import Image
from toys import coloured, refusal

from bsoftmax.cli import console, parser, pretrain, train
from bsoftmax.models import checkpoints
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.training import pretraining
from bsoftmax.training.pretraining import Recipe, Stage
from bsoftmax.utils import files

CLASSES = ("blue", "green", "red")
LIGHT = "test_resnet"
T = ("train", "@/data", "--trunk", "@/softmax.safetensors", "--out", "new.safetensors")

# --- train ------------------------------------------------------------------------------------------------------------


def test_train_writes_a_branch_and_leaves_the_frozen_part_alone(run, folder, tmp_path):
    before = DualBranch.load(folder / "softmax.safetensors")
    code, out, _ = run(*T, "--epochs", "3")
    assert code == 0
    after = DualBranch.load("new.safetensors")
    x = torch.randn(1, 3, 96, 96)
    assert after.frozen_hash() == before.frozen_hash()  # the classes are the model's: its softmax head is kept
    assert torch.equal(after(x)["softmax"], before(x)["softmax"])
    assert before.frozen_hash() in out
    assert files.file_hash("new.safetensors") in out
    training = after.spec.training
    assert training["command"][:2] == ["bsoftmax", "train"]
    assert training["sigmoid"]["config"]["epochs"] == 3
    assert training["data"]["train"]["images"] == 12
    assert training["data"]["val"]["images"] == 6
    assert len(training["data"]["train"]["sha256"]) == 64
    assert training["sigmoid"]["loss"] > 0
    assert training["frozen"]["before"] == training["frozen"]["after"] == before.frozen_hash()
    assert training["frozen"]["logits_equal"] is True
    shown = re.search(r"softmax ([\d.]+) %, branch ([\d.]+) %, (\d+) images", out)
    assert float(shown[1]) == pytest.approx(after.spec.metrics["val"]["softmax_top1"], abs=0.01)
    assert float(shown[2]) == pytest.approx(after.spec.metrics["val"]["sigmoid_top1"], abs=0.01)
    assert int(shown[3]) == 6


def test_train_is_repeatable_and_its_seed_matters(run):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(*T[:4], "--epochs", "2", "--views", "3", "--seed", seed, "--out", f"{name}.safetensors")
    a, b, c = (DualBranch.load(f"{name}.safetensors").sigmoid.weight for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_train_options_reach_the_training(run):
    code, _, _ = run(
        "train", "@/data", "--trunk", "@/both.safetensors", "--epochs", "1", "--lr", "0", "--init", "clone", "--half",
        "--out", "new.safetensors",
    )  # fmt: skip
    assert code == 0
    model = DualBranch.load("new.safetensors")
    assert torch.equal(model.sigmoid.weight, model.softmax.weight)  # cloned, and not moved by a learning rate of 0
    stored = checkpoints.read("new.safetensors")[0]
    assert stored["trunk.net.conv1.0.weight"].dtype == torch.float16


@pytest.mark.parametrize(
    ("words", "probe", "branch"),
    [
        ([], "auto", "auto"),
        (["--epochs", "3"], "auto", "sgd"),
        (["--probe-lr", "0.1"], "sgd", "auto"),
        (["--init", "clone"], "auto", "sgd"),
        (["--init", "gauge"], "auto", "auto"),
        (["--solver", "lbfgs"], "lbfgs", "lbfgs"),
        (["--solver", "sgd"], "sgd", "sgd"),
        (["--solver", "lbfgs", "--lr", "0.1"], None, "--lr says how SGD steps"),
        (["--solver", "lbfgs", "--probe-epochs", "9"], None, "--probe-epochs says how SGD steps"),
    ],
)
def test_naming_epochs_or_rates_means_sgd(words, probe, branch):
    options = parser().parse_args(["train", "data", "--out", "x.safetensors", *words])
    options.words = ["train", "data"]
    if probe is None:
        assert branch in refusal(lambda: train.training_options(options))
    else:
        made = train.training_options(options)
        assert (made.probe.solver, made.branch.solver) == (probe, branch)


def test_other_classes_get_a_softmax_head_of_their_own(run, folder):
    for split in ("train", "val"):
        for old, new in (("blue", "sky"), ("green", "leaf"), ("red", "rose")):
            (folder / "data" / split / old).rename(folder / "data" / split / new)
    try:
        code, out, _ = run(*T, "--epochs", "2", "--probe-epochs", "3")
    finally:
        for split in ("train", "val"):
            for old, new in (("blue", "sky"), ("green", "leaf"), ("red", "rose")):
                (folder / "data" / split / new).rename(folder / "data" / split / old)
    assert code == 0
    model = DualBranch.load("new.safetensors")
    assert model.classes == ("leaf", "rose", "sky")
    assert model.spec.training["softmax"]["config"]["epochs"] == 3
    assert "12 + 6 images of 3 classes" in out


def test_a_trained_branch_can_be_explained(run):
    run(*T, "--epochs", "1")
    code, _, _ = run("explain", "@/wide.png", "--model", "new.safetensors", "--source", "sigmoid", "--out", "m.npz")
    assert code == 0


def test_events_are_json_lines_and_end_with_the_files(run, tmp_path):
    code, out, _ = run(*T, "--epochs", "2", "--events", "--classes", "own", "--probe-epochs", "1")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [e["event"] for e in events]
    assert kinds[0] == "stage"
    assert kinds[-1] == "done"
    assert [e["stage"] for e in events if e["event"] == "stage"] == [
        "data", "features", "softmax", "branch", "measure", "save"
    ]  # fmt: skip
    assert [(e["stage"], e["epoch"]) for e in events if e["event"] == "epoch"] == [
        ("softmax", 1), ("branch", 1), ("branch", 2)
    ]  # fmt: skip
    last = {e["stage"]: e for e in events if e["event"] == "progress"}
    assert last["features"]["done"] == last["features"]["total"] == 12 * 2 + 6
    assert last["measure"]["done"] == last["measure"]["total"] == 2
    done = events[-1]
    for key in ("checkpoint", "card", "report"):
        assert (tmp_path / done[key]).is_file()
    assert len(json.loads((tmp_path / done["report"]).read_text())["images"]) == 6


def test_the_command_that_is_kept_names_no_place_of_this_machine(run):
    run(*T, "--epochs", "1", "--called", "flowers.zip", "--cache", "somewhere", "--nice", "1", "--stop-file=never")
    command = DualBranch.load("new.safetensors").spec.training["command"]
    assert command[:3] == ["bsoftmax", "train", "flowers.zip"]
    assert command[5:] == ["--epochs", "1", "--out", "new.safetensors"]


def test_a_data_set_may_be_called_anything(run):
    assert run(*T, "--epochs", "1", "--called=--out=x.zip")[0] == 0
    command = DualBranch.load("new.safetensors").spec.training["command"]
    assert command[:3] == ["bsoftmax", "train", "./--out=x.zip"]


def test_a_stop_file_keeps_what_was_learnt(run, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    asked = iter([False] * 40)  # as if the file appeared in the middle
    monkeypatch.setattr(console.os.path, "exists", lambda path, real=console.os.path.exists: (
        not next(asked, False) and next(asked, None) is None if path == "stop" else real(path)))  # fmt: skip
    code, out, _ = run(*T, "--epochs", "500", "--events", "--stop-file", "stop")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1]["stopped"] is True
    assert max(e["epoch"] for e in events if e["event"] == "epoch") < 500
    assert DualBranch.load("new.safetensors").sigmoid is not None


def test_ctrl_c_is_a_wish_to_stop_and_twice_an_order():
    before = signal.getsignal(signal.SIGINT)
    try:
        stop = console.stop_requested(None)
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_sample_set_can_be_drawn_and_trained_on(run):
    assert run("sample", "drawn", "--per-class", "4")[0] == 0
    code, out, _ = run("train", "drawn", *T[2:], "--epochs", "1", "--probe-epochs", "1")
    assert code == 0
    assert "of 6 classes" in out


# --- pretrain ---------------------------------------------------------------------------------------------------------


def test_pretrain_writes_a_model_that_train_can_go_on_with(run, monkeypatch, tmp_path):
    stages = (Stage(32, 32, 1, 0.05, 0.5), Stage(64, 16, 1, 0.01, 0.5))
    monkeypatch.setattr(pretrain, "Recipe", lambda seed: Recipe(LIGHT, stages, batch=6, seed=seed))
    quick = pretraining.pretrain
    monkeypatch.setattr(pretrain, "pretrain", lambda *a: quick(*a, workers=0))
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
    code, _, _ = run("train", "@/data", "--trunk", "base.safetensors", "--epochs", "1", "--out", "both.safetensors")
    assert code == 0


# --- what goes wrong --------------------------------------------------------------------------------------------------

BAD = {
    "no data": ("train", "@/absent", *T[2:]),
    "classes of its own kept": ("train", "@/other", *T[2:], "--classes", "kept"),
    "splits that differ": ("train", "@/differ", *T[2:]),
    "a model without an ending": (*T[:4], "--out", "new.pt"),
    "no such trunk": ("train", "@/data", "--trunk", "no_such_net", *T[4:]),
    "layers that nothing fills": ("train", "@/data", "--trunk", "vgg16_cam", *T[4:]),
    "no epochs": (*T, "--epochs", "0"),
    "no views": (*T, "--views", "0"),
    "learning rate NaN": (*T, "--lr", "nan"),
    "negative learning rate": (*T, "--lr", "-1"),
    "learning rate too high": (*T, "--lr", "1e38"),
    "all of it for validation": ("train", "@/data/train", *T[2:], "--share", "1"),
    "too few images to pretrain": ("pretrain", "@/data", "--out", "base.safetensors"),
    "no data to pretrain": ("pretrain", "@/absent", "--out", "base.safetensors"),
}


@pytest.fixture(scope="module")
def awkward(folder):
    """Folders of two classes each: named unlike the model's, and unlike in the two splits."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (folder / "other" / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / "other" / split / name / "1.png")
            (folder / "differ" / split / (name + split)).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / "differ" / split / (name + split) / "1.png")


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(bad, run, awkward, tmp_path):
    code, _, err = run(*BAD[bad])
    err = err.rsplit("\r", 1)[-1]  # what a progress bar drew before is wiped from the line
    assert code == 2
    assert re.fullmatch(r"bsoftmax: .+[.]\n", err)
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*.safetensors"))


def test_with_events_an_error_is_an_event_too(run, capsys):
    with pytest.raises(SystemExit) as caught:
        run("train", "@/absent", *T[2:], "--events")
    assert caught.value.code == 2
    *_, last = capsys.readouterr().out.splitlines()
    error = json.loads(last)
    assert error["event"] == "error"
    assert error["message"].endswith(".")


def test_a_disk_that_is_full_is_told_in_one_sentence(run, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bsoftmax.models.checkpoints.save_file", full)
    code, _, err = run(*T, "--epochs", "1")
    assert code == 2
    assert "The disk is full" in err.rsplit("\r", 1)[-1]
    assert not list(tmp_path.glob("new*"))


def test_a_disk_without_room_is_told_before_anything_is_computed(run, monkeypatch):
    monkeypatch.setattr("bsoftmax.training.job.shutil.disk_usage", lambda path: type("Usage", (), {"free": 100})())
    code, out, err = run(*T, "--epochs", "1")
    assert code == 2
    assert "--cache" in err
    assert "features take" in out


def test_unreadable_images_are_counted_out_and_named(run, tmp_path):
    root = coloured(tmp_path / "d", {"train": 4, "val": 2})
    broken = root / "train" / "red" / "1.png"
    broken.write_bytes(broken.read_bytes()[:-400])  # its header is whole, its pixels are not
    code, out, _ = run("train", "d", *T[2:], "--epochs", "1")
    assert code == 0
    assert re.search(r"counted out: .*red/1\.png \(.+\)", out)
    assert DualBranch.load("new.safetensors").spec.training["data"]["train"]["unreadable"] == 1
