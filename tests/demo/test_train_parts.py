"""What the Train tab is made of: settings, limits, desks, own models, events and reports in, sentences out."""

import itertools
import json
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")

import gradio as gr
import torch
from safetensors.torch import save_file
from toys import refusal, small_model

from bsoftmax.cli import main
from bsoftmax.data.limits import LIMITS
from bsoftmax.models import checkpoints
from demo.app.layout import build_app
from demo.compare.user_models import UserModelHandlers
from demo.components.canvas import STATIC
from demo.server import policy, push, user_models
from demo.server.session import Session
from demo.server.user_models import UserModels
from demo.train.progress import Progress
from demo.train.results import Results
from demo.train.settings import LABELS, RANGES, Settings
from demo.workspace import workspaces
from demo.workspace.workspaces import Workspaces

LION = gr.get_image("lion.jpg")


def ask(owner="anna"):
    return SimpleNamespace(session_hash=owner)


# ---- settings ----------------------------------------------------------------------------------------------------


def test_untouched_settings_are_the_command_lines_own():
    parsed = main._parser().parse_args(["train", "DATA", "--out", "x.safetensors"])
    for name in LABELS:
        assert getattr(parsed, name) == getattr(Settings(), name), name
    assert Settings().options() == []


def test_only_what_was_changed_is_said_on_the_command_line():
    changed = Settings.read("resnet50", 4.0, 12, "0.25", 0, "clone", "finetune", 0.5, 7)
    words = changed.options()
    parsed = main._parser().parse_args(["train", "DATA", "--out", "x.safetensors", *words])
    assert all(getattr(parsed, name) == getattr(changed, name) for name in LABELS)
    assert Settings(epochs=5).options() == ["--epochs", "5"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("trunk", "unicorn", "There is no trunk 'unicorn'"),
        ("trunk", "../../x.safetensors", "There is no trunk"),
        ("trunk", "vgg16_cam", "fine-tune"),
        ("trunk", "vit_giant_patch14_224", "at most 400 million"),
        ("views", 0, "Views of an image must be 1 to 16, got 0"),
        ("epochs", 100000, "Epochs must be 1 to 300"),
        ("lr", float("nan"), "Learning rate must be"),
        ("share", None, "empty or not a number"),
        ("seed", "x", "empty or not a number"),
        ("init", "--out=/etc/x", "no start"),
        ("stage1", "x", "first stage 'x'"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(name, value, says):
    values = {key: getattr(Settings(), key) for key in LABELS} | {name: value}
    assert says in refusal(lambda: Settings.read(*values.values()))


def test_every_number_has_a_range():
    assert {name for name in LABELS if isinstance(getattr(Settings(), name), (int, float))} == RANGES.keys()


# ---- what this server allows -------------------------------------------------------------------------------------


def test_training_can_be_limited_or_switched_off(monkeypatch):
    assert policy.allowed() == LIMITS
    monkeypatch.setenv(policy.VARIABLE, "500")
    assert policy.allowed().images == 500
    monkeypatch.setenv(policy.VARIABLE, "maybe")
    assert "'maybe'" in refusal(policy.allowed)
    monkeypatch.setenv(policy.VARIABLE, " OFF ")
    assert policy.allowed() is None
    app = build_app(Session())
    labels = {getattr(block, "label", None) for block in app.blocks.values()}
    assert "Train" not in labels
    assert not {fn.api_name for fn in app.fns.values()} & {"train", "bring_zip", "bring_folder", "add_class"}


@pytest.mark.parametrize(
    ("environment", "local"),
    [
        ({}, True),
        ({"GRADIO_SERVER_NAME": "127.0.0.1"}, True),
        ({"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        ({"SPACE_ID": "a/b"}, False),
        ({"GRADIO_SHARE": "True"}, False),
    ],
)
def test_folders_of_this_machine_are_offered_only_to_this_machine(monkeypatch, environment, local):
    for name in ("GRADIO_SERVER_NAME", "SPACE_ID", "GRADIO_SHARE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert policy.is_local() == local
    app = build_app(Session())
    assert ("bring_folder" in {fn.api_name for fn in app.fns.values()}) == local


# ---- desks -------------------------------------------------------------------------------------------------------


@pytest.fixture
def room():
    room = Workspaces()
    yield room
    room.close()


def test_the_oldest_idle_desk_makes_room_and_a_busy_one_stays(room):
    for n in range(workspaces.MOST):
        (room.of(f"{n}").folder / "file").touch()
    room.enlist("0")
    folders = {f"{n}": room.of(f"{n}").folder for n in range(workspaces.MOST)}
    room.of("new")
    gone = [owner for owner, folder in folders.items() if not folder.exists()]
    assert gone == ["1"]
    assert room.of("0").folder == folders["0"]


def test_when_every_desk_is_busy_the_next_person_is_told(room):
    for n in range(workspaces.MOST):
        room.enlist(f"{n}")
    assert "Every place for training is taken" in refusal(lambda: room.of("new"))


def test_a_desk_that_nobody_uses_is_cleared(room):
    old = room.of("anna")
    old.used -= workspaces.HOURS * 3600 + 1
    room.of("ben")
    assert not old.folder.exists()
    assert room.of("anna").folder != old.folder


# ---- own models --------------------------------------------------------------------------------------------------


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def models(clock):
    models = UserModels(removed=lambda token: models.gone.append(token), clock=lambda: clock.now)
    models.gone = []
    return models


def test_tokens_cannot_be_guessed_and_models_are_listed_for_their_owner(models):
    first, second = models.add("anna", "a", object()), models.add("ben", "a", object())
    assert first.token != second.token
    assert len(first.token) > 20
    assert models.of("anna") == [first]
    assert models.get(second.token) is second  # whoever has the token
    models.forget("anna")
    assert models.gone == [first.token]
    assert "no longer on the server" in refusal(lambda: models.get(first.token))


def test_the_least_recently_used_model_leaves_first(models):
    kept = [models.add("anna", str(n), object()) for n in range(user_models.MOST)]
    models.get(kept[0].token)
    models.add("anna", "new", object())
    assert models.gone == [kept[1].token]


def test_models_leave_after_some_hours(models, clock):
    owned = models.add("anna", "a", object())
    clock.now = user_models.HOURS * 3600 - 1
    models.get(owned.token)
    clock.now *= 2
    models.get(owned.token)
    clock.now += user_models.HOURS * 3600 + 1
    refusal(lambda: models.get(owned.token))
    assert models.gone == [owned.token]


def test_the_model_trained_last_is_not_the_one_looked_at_last(models):
    first = models.add("anna", "a", object(), [("x", "x")])
    last = models.add("anna", "b", object(), [("x", "x")])
    models.add("anna", "opened", object())
    models.get(first.token)
    assert models.trained("anna") is last
    refusal(lambda: models.trained("ben"))


# ---- a checkpoint brought back -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_model(("<b>bold</b>", "green")).save(tmp_path_factory.mktemp("own") / "mine.safetensors")


def test_a_checkpoint_opens_for_one_browser(checkpoint):
    handlers = UserModelHandlers(Session())
    update = handlers.open_checkpoint(str(checkpoint), LION, "cam", ask())
    assert update["canvas"].info["model"] == "mine · test_resnet"
    assert {c["source"] for c in update["canvas"].info["columns"]} >= {"softmax", "sigmoid"}
    again = handlers.open_checkpoint(str(checkpoint), None, "cam", ask())
    assert [name for name, _ in again["model"].choices][-2:] == ["mine", "mine (2)"]
    assert "mine" not in [name for name, _ in handlers.menu("ben").choices]


def spoiled(kind, checkpoint, path):
    data = checkpoint.read_bytes()
    if kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "pickle":
        torch.save({"softmax.weight": torch.zeros(2)}, path)
    elif kind == "foreign":
        save_file({"weight": torch.zeros(2)}, path)
    else:
        model = small_model(("a", "b"))
        change = {"nan": lambda w: w.fill_(float("nan")), "shape": lambda w: None}[kind]
        change(model.softmax.weight.data)
        model.save(path)
        if kind == "shape":
            path.write_bytes(path.read_bytes().replace(b"test_resnet", b"resnet10t  "))
    return path


@pytest.mark.parametrize("kind", ["cut", "pickle", "foreign", "nan", "shape"])
def test_a_bad_checkpoint_is_a_sentence(checkpoint, tmp_path, kind):
    handlers = UserModelHandlers(Session())
    path = spoiled(kind, checkpoint, tmp_path / "x.safetensors")
    with pytest.raises(gr.Error) as caught:
        handlers.open_checkpoint(str(path), LION, "cam", ask())
    assert caught.value.message.endswith(".")
    assert len(caught.value.message) < 500
    assert handlers.session.own.of("anna") == []


def test_a_link_cannot_name_an_own_model(checkpoint):
    handlers = UserModelHandlers(Session())
    token = handlers.open_checkpoint(str(checkpoint), None, "cam", ask())["opened"]
    with pytest.raises(gr.Error, match="link cannot open"):
        handlers.open_link(SimpleNamespace(query_params={"model": token}))


@pytest.mark.browser
def test_the_address_of_an_own_model_says_nothing_of_it(page):
    script = (STATIC / "components/link.js").read_text(encoding="utf-8")
    call = "([search, info]) => { SCRIPT; return Link.write(search, {channels: []}, false, info); }"
    info = {"model_name": None, "class": "boat", "method": "cam", "example": None}
    made = page.evaluate(call.replace("SCRIPT", script), ["?model=wild20&class=lion&x=1", info])
    assert made == "?x=1&method=cam"


# ---- events and reports ------------------------------------------------------------------------------------------


def events(classes=("a", "b", "c", "d", "e")):
    yield {"event": "stage", "stage": "features", "title": "Features"}
    yield {"event": "data", "train": 8, "val": 2, "classes": list(classes), "skipped": [], "split": "", "layout": ""}
    yield {"event": "progress", "stage": "features", "done": 3, "total": 12}
    for stage, epoch in itertools.product(("softmax", "branch"), (1, 2)):
        yield {
            "event": "epoch", "stage": stage, "epoch": epoch, "epochs": 2, "loss": 1 / epoch, "accuracy": 1.0,
            "val_accuracy": 10.0 * epoch if stage == "softmax" else None, "recalled": [50, None, 30, 20, 12],
        }  # fmt: skip


def test_events_become_a_bar_and_curves():
    progress = Progress()
    told = list(events())
    assert progress.take(told[:3]) is False
    (now, bar) = progress.blocks()
    assert (now["text"], bar["done"], bar["total"]) == ("Features …", 3, 12)
    assert progress.take(told[3:]) is True
    assert progress.losses().values.tolist() == [
        [1, 1.0, "softmax"], [2, 0.5, "softmax"], [1, 1.0, "sigmoid"], [2, 0.5, "sigmoid"],
    ]  # fmt: skip
    assert progress.accuracies()["percent"].dropna().tolist() == [10.0, 20.0]
    found = progress.recalled()
    assert found[found["class"] == "mean"]["percent"].tolist() == [28, 28]
    assert found[found["class"] == "worst class"]["percent"].tolist() == [12, 12]


def test_both_lines_are_named_from_the_first_epoch_on():
    """A plot keeps the names it was first drawn with: a head that comes later would have no line."""
    progress = Progress()
    assert len(progress.losses()) == 0
    progress.take(list(events())[:4])
    for lines in (progress.losses(), progress.accuracies()):
        assert set(lines["head"]) == {"softmax", "sigmoid"}
        assert len(lines.dropna()) == 1


def test_epochs_do_not_move_a_bar_that_counts_pictures():
    """Fine-tuning tells of both: the bar would jump back after every epoch."""
    progress = Progress()
    progress.take([{"event": "stage", "stage": "softmax", "title": "Tuning"}])
    progress.take([{"event": "progress", "stage": "softmax", "done": 30, "total": 40}])
    progress.take([next(e for e in events() if e["event"] == "epoch")])
    assert (progress.done, progress.total) == (30, 40)


def test_a_run_that_was_stopped_says_so():
    progress = Progress()
    progress.take(list(events()))
    progress.take([{"event": "done", "seconds": 3, "stopped": True}])
    assert progress.blocks()[0]["text"] == "Done in 3 s. It was stopped early and kept."


def answers(rows, classes=("cat", "dog")):
    keys = ("label", "softmax", "sigmoid", "p", "s")
    images = [{"name": f"{n}", "path": f"{n}", **dict(zip(keys, row))} for n, row in enumerate(rows)]
    return Results({"classes": list(classes), "images": images, "confusion": {}})


ROWS = [(0, 0, 0, 0.9, 0.9), (0, 1, 0, 0.6, 0.7), (1, 1, 0, 0.9, 0.9), (1, 1, 1, 0.8, 0.5)]
VAL = {"images": 4, "softmax_top1": 75.0, "sigmoid_top1": 75.0}


def test_a_report_becomes_sentences_and_tables():
    results = answers(ROWS)
    said, softmax, sigmoid = results.blocks(VAL)
    assert said["text"] == "On 4 validation images the softmax head is right in 75.0 %, the sigmoid branch in 75.0 %."
    assert softmax["rows"] == [["cat", 1, 1], ["dog", 0, 2]]
    assert sigmoid["rows"] == [["cat", 2, 0], ["dog", 1, 1]]
    assert softmax["heat"] == [[0.5, 0.5], [0, 1]]
    assert [image["name"] for image in results.disagreements()] == ["2", "1"]  # the surest first
    assert results.said(results.images[1]) == "cat: softmax dog, sigmoid cat"
    assert [image["name"] for image in results.examples(3)] == ["0", "2", "1"]  # a cat, a dog, the next cat


def test_the_least_found_classes_come_first():
    results = answers(ROWS)
    results.recalled = {"softmax": [50.0, 100.0], "sigmoid": [100.0, 49.6]}
    _, found, *_ = results.blocks(VAL)
    assert found["head"] == ["class", "images", "softmax right, %", "sigmoid above 0.5, %"]
    assert found["rows"] == [["dog", 2, 100, 50], ["cat", 2, 50, 100]]
    results.recalled = {"softmax": [None, 100.0]}
    assert results.blocks(VAL)[1]["rows"] == [["dog", 2, 100]]  # a class without images has no share


def test_long_class_names_head_their_columns_by_number():
    _, softmax, _ = answers(ROWS, ("black-footed albatross", "dog")).blocks(VAL)
    assert softmax["head"] == ["class", "1", "2"]
    assert [row[0] for row in softmax["rows"]] == ["1. black-footed albatross", "2. dog"]


def test_many_classes_become_pairs_and_no_branch_is_said():
    results = answers([(0, 5, 0, 1, 1), (0, 5, 5, 1, 1), (7, 6, 7, 1, 1)], [f"c{n}" for n in range(30)])
    (pairs,) = results.blocks(VAL)[1:]
    assert pairs["rows"] == [["c0", "c5", 2, 1], ["c7", "c6", 1, 0]]
    alone = answers([(0, 1, None, 0.5, None)])
    assert alone.disagreements() == []
    said, _ = alone.blocks({"images": 1, "softmax_top1": 0.0, "sigmoid_top1": None})
    assert "no branch" in said["text"]
    json.dumps(pairs)


# ---- the Hub -----------------------------------------------------------------------------------------------------


def test_the_hubs_refusal_never_quotes_the_token(monkeypatch):
    model = small_model(("a", "b"))
    sent = []
    monkeypatch.setattr(push, "_reach", lambda: None)
    monkeypatch.setattr(type(model), "push_to_hub", lambda self, name, token: sent.append((name, token)))
    assert push.push(model, " me/mine ", " hf_secret ").endswith("/me/mine")
    assert sent == [("me/mine", "hf_secret")]

    def refuse(self, name, token):
        raise RuntimeError(f"401 for {token}")

    monkeypatch.setattr(type(model), "push_to_hub", refuse)
    for repository, token in (("me/mine", "hf_secret"), ("mine", "hf_secret"), ("me/../x y", "hf_secret"), ("a/b", "")):
        assert "hf_secret" not in refusal(lambda r=repository, t=token: push.push(model, r, t))


def test_a_brought_checkpoint_of_a_giant_is_refused_before_it_is_built(tmp_path):
    path = small_model(("a", "b")).save(tmp_path / "m.safetensors")
    tensors, meta = checkpoints.read(path)
    checkpoints.write(path, tensors, {**meta, "trunk": "vit_giant_patch14_clip_224"})
    assert "million parameters" in refusal(lambda: user_models.opened(path))
