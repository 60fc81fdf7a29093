"""The Train tab without a browser: images brought, a training followed (a stand-in for the child), whose it is."""

import json
import zipfile
from pathlib import Path

import gradio as gr
import pytest
from demo_made import LION, MARKUP, ask, blocks, zip_of_colours
from toys import coloured

from bsoftmax.data.limits import LIMITS
from demo.compare.handlers import Handlers
from demo.server.session import Session
from demo.train.handlers import TrainHandlers
from demo.workspace.workspaces import Workspaces

DEFAULTS = ("wild20", 2, 30, 0.5, 5e-4, "fresh", "probe", 0.2, 0, "auto")


@pytest.fixture
def tab(child):
    child.setattr("demo.train.plan.passes_a_second", lambda trunk: 10.0)
    handlers = TrainHandlers(Session(), Workspaces(), LIMITS)
    yield handlers
    handlers.workspaces.close()
    assert not handlers.workspaces.root.exists()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zip of three classes told apart by colour, 10 pictures each, one class named as markup."""
    return zip_of_colours(tmp_path_factory.mktemp("made"), 10, MARKUP, [("blue/notes.png", b"no picture")])


def brought(tab, made, owner="anna"):
    tab.bring_zip(str(made), ask(owner))
    return tab.plan(ask(owner), *DEFAULTS)


def followed(tab, owner="anna", settings=DEFAULTS, each=lambda update: None):
    """All that a training tells; `each` may act on what it sees."""
    tab.enqueue(ask(owner))
    told = []
    for update in tab.train(ask(owner), *settings):
        told.append(update)
        each(update)
    return told


def status(update):
    return " ".join(b["text"] for b in blocks(update, "status", "text"))


def leftovers(tab):
    return list(tab.workspaces.root.rglob("run/*"))


# ---- images ------------------------------------------------------------------------------------------------------


def test_a_zip_is_shown_before_anything_is_trained_on_it(tab, made):
    update = brought(tab, made)
    (table,) = blocks(update, kind="table")
    assert table["rows"] == [[MARKUP, 8, 2], ["blue", 8, 2], ["green", 8, 2]]
    (skipped,) = blocks(update, kind="more")
    assert [item.split(":")[0] for item in skipped["items"]] == ["blue/notes.png"]
    words = [b["text"] for b in blocks(update, kind="text")]
    assert words[0] == "30 images of 3 classes."
    assert "54 passes of the trunk at 10 a second, then both heads to their optimum" in words[2]  # 2 x 24 + 6
    words = [b["text"] for b in blocks(tab.plan(ask(), *DEFAULTS[:-1], "sgd"), kind="text")]
    assert "54 passes of the trunk at 10 a second, then 30 epochs" in words[2]
    assert len(update["samples"].value) == 3
    assert update["go"].interactive


def test_classes_can_be_brought_one_by_one(tab, tmp_path):
    coloured(tmp_path, {"all": 4})
    files = {k: [str(p) for p in sorted((tmp_path / "all" / k).iterdir())] for k in ("red", "green")}
    update = tab.add_class(MARKUP, files["red"], ask())
    assert "Add at least one more class" in update["preview"].blocks[0]["text"]
    tab.add_class("a/../b\x00", files["green"], ask())
    (table,) = blocks(tab.plan(ask(), *DEFAULTS), kind="table")
    assert {row[0] for row in table["rows"]} == {MARKUP, "a .. b"}
    for name, chosen, says in ((MARKUP, files["red"], "already"), ("", files["red"], "a name"), ("x", [], "Choose")):
        with pytest.raises(gr.Error, match=says):
            tab.add_class(name, chosen, ask())
    tab.remove_classes(ask())
    assert "Add at least" in tab.add_class(MARKUP, files["red"], ask())["preview"].blocks[0]["text"]


def test_bad_data_is_a_sentence_and_what_was_there_stays(tab, made, tmp_path):
    brought(tab, made)
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.write(LION, "lions/1.jpg")
    before = sorted(tab.workspaces.root.rglob("*"))
    for name in ("no.zip", "one.zip", "absent.zip"):
        with pytest.raises(gr.Error) as caught:
            tab.bring_zip(str(tmp_path / name), ask())
        assert caught.value.message.endswith(".")
    with pytest.raises(gr.Error, match="first"):
        tab.bring_zip(None, ask())
    assert sorted(tab.workspaces.root.rglob("*")) == before
    assert blocks(tab.plan(ask(), *DEFAULTS), kind="table")


def test_the_sample_set_is_one_click(tab, monkeypatch, made):
    calls = []
    monkeypatch.setattr(
        "demo.workspace.data_handlers.sample_zip",
        lambda path: calls.append(path) or path.write_bytes(made.read_bytes()),
    )
    for owner in ("anna", "ben"):
        tab.bring_sample(ask(owner))
        assert blocks(tab.plan(ask(owner), *DEFAULTS), kind="table")
    assert len(calls) == 1


def test_a_folder_is_read_where_it_lies(tab, tmp_path):
    coloured(tmp_path, {"train": 4, "val": 2})
    tab.bring_folder(f" {tmp_path} ", ask())
    assert blocks(tab.plan(ask(), *DEFAULTS), kind="table")[0]["rows"][0] == ["blue", 4, 2]
    assert not list(tab.workspaces.root.rglob("*.png"))


# ---- a training --------------------------------------------------------------------------------------------------


def test_a_training_ends_in_a_model_of_ones_own(tab, made):
    brought(tab, made)
    told = followed(tab)
    assert any(blocks(u, "status", "bar") for u in told)
    curves = [u for u in told if "loss" in u][-1]
    assert sorted(set(curves["loss"]["head"])) == ["sigmoid", "softmax"]
    assert len(curves["loss"]) == 10
    last = told[-1]
    assert status(told[-2]).startswith("Done in")
    assert "100.0 %" in last["result"].blocks[0]["text"]
    assert "75.0 %" in last["result"].blocks[0]["text"]
    assert len(blocks(last, "result", "table")) == 2
    token = last["result"].model
    value = Handlers(tab.session).explain(LION, token, "green", "cam")
    assert value.info["model"].startswith("colours ")
    assert value.info["model_name"] is None  # no link may name it
    assert token not in json.dumps({k: v for k, v in value.info.items() if k != "photo_token"})
    assert last["command"] == "bsoftmax train colours.zip --out colours.safetensors"
    assert (last["go"].interactive, last["stop"].visible) == (True, False)
    assert leftovers(tab) == []


def test_nobody_else_sees_a_model_but_whoever_has_its_token_may_use_it(tab, made):
    brought(tab, made)
    token = followed(tab)[-1]["result"].model
    assert token in [value for _, value in tab.menu("anna").choices]
    assert token not in [value for _, value in tab.menu("ben").choices]
    assert tab.session.model(token).classes == tab.session.user_models.get(token).model.classes
    with pytest.raises(gr.Error, match="no longer on the server"):
        tab.show_trained("cam", ask("ben"))
    seen = tab.show_trained("cam", ask("anna"))
    assert (seen["model"].value, seen["opened"]) == (token, token)
    assert Path(seen["picked"]).is_file()
    tab.session.user_models.remove("anna")
    with pytest.raises(gr.Error, match="no longer on the server"):
        Handlers(tab.session).explain(LION, token, "0", "cam")
    with pytest.raises(ValueError, match="no longer on the server"):
        tab.session.cached_analysis(seen["canvas"].info["photo_token"])


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("error", "There is no trunk 'unicorn'"),
        ("crash", r"broke off without a word \(exit code 7\)"),
        ("kill", "most likely for want of memory"),
    ],
)
def test_a_training_that_fails_says_so_and_leaves_the_page_ready(tab, made, monkeypatch, end, says, caplog):
    monkeypatch.setenv("FAKE_JOB", end)
    brought(tab, made)
    told = []
    tab.enqueue(ask())
    with pytest.raises(gr.Error, match=says):
        told.extend(iter(_kept(tab.train(ask(), *DEFAULTS), told)))
    assert blocks(told[-1], "status")[0]["tone"] == "error"
    assert told[-1]["go"].interactive
    assert leftovers(tab) == []
    assert not tab.workspaces.of("anna").busy
    assert ("a library's last words" in caplog.text) == (end == "crash")
    assert "last words" not in status(told[-1])


def _kept(steps, told):
    """Steps of a generator, kept in a list even when a later one raises."""
    for step in steps:
        told.append(step)
    return ()


def test_stop_keeps_what_was_learnt(tab, made, monkeypatch):
    monkeypatch.setenv("FAKE_JOB", "slow")
    brought(tab, made)
    told = followed(tab, each=lambda update: tab.stop(ask()) if "loss" in update else None)
    assert any("Stopping" in status(u) for u in told[:-1]) or "stopped early" in status(told[-2])
    assert told[-1]["result"].model


def test_discard_throws_it_away_but_not_the_images(tab, made, monkeypatch):
    monkeypatch.setenv("FAKE_JOB", "slow")
    brought(tab, made)
    children = []

    def each(update):
        if "loss" in update:
            children.append(tab.workspaces.of("anna").job)
            assert "Discarded" in status(tab.discard(ask()))

    told = followed(tab, each=each)
    assert "result" not in told[-1]
    assert not children[0].running
    assert leftovers(tab) == []
    assert tab.session.user_models.of("anna") == []
    assert blocks(tab.plan(ask(), *DEFAULTS), kind="table")


def test_a_closed_tab_ends_the_training_and_removes_everything(tab, made, monkeypatch):
    monkeypatch.setenv("FAKE_JOB", "slow")
    brought(tab, made)
    tab.enqueue(ask())
    steps = tab.train(ask(), *DEFAULTS)
    next(steps)
    workspace = tab.workspaces.of("anna")
    steps.close()  # what gradio does when nobody listens any more
    assert not workspace.running
    assert leftovers(tab) == []
    tab.workspaces.remove("anna")
    assert not workspace.folder.exists()


def test_a_silent_child_does_not_keep_the_page_waiting(tab, made, monkeypatch):
    monkeypatch.setenv("FAKE_JOB", "silent")
    brought(tab, made)
    steps = tab.train(ask(), *DEFAULTS)
    for _ in range(4):  # the child says nothing at all
        assert status(next(steps)) == "Starting …"
    steps.close()
    assert not tab.workspaces.of("anna").running


def test_the_second_waits_and_is_told_how_many_are_ahead(tab, made):
    for owner in ("anna", "ben", "cleo"):
        brought(tab, made, owner)
        tab.enqueue(ask(owner))
    assert [status(tab.wait(ask(owner))) for owner in ("anna", "ben", "cleo")] == [
        "Starting …", "Waiting: 1 job ahead of yours.", "Waiting: 2 jobs ahead of yours.",
    ]  # fmt: skip
    tab.discard(ask("anna"))
    assert "1 job ahead" in status(tab.wait(ask("cleo")))
    with pytest.raises(gr.Error, match="under way already"):
        tab.enqueue(ask("ben"))
    with pytest.raises(gr.Error, match="under way"):
        tab.bring_zip(str(made), ask("ben"))
    with pytest.raises(gr.Error, match="Bring images first"):
        tab.enqueue(ask("dora"))


def test_a_training_of_removed_images_is_a_sentence(tab):
    with pytest.raises(gr.Error, match="bring them again"):
        list(tab.train(ask(), *DEFAULTS))
