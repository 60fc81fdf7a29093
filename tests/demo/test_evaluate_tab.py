"""The Evaluate tab without a browser: what would be measured, an evaluation followed, whose it is."""

import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from demo_made import LION, MARKUP, ask, blocks, said
from PIL import Image
from toys import coloured, small_model

from bsoftmax.data.limits import LIMITS
from demo.evaluate import plan
from demo.evaluate.handlers import EvaluateHandlers
from demo.evaluate.plan import EvalSettings
from demo.server.session import Session
from demo.train.handlers import TrainHandlers
from demo.workspace.workspaces import Workspaces

ASKED = (["localization", "fidelity"], 200, [], "", "", "standard", 0)
TRAINING = ("wild20", 2, 30, 0.5, 5e-4, "fresh", "probe", 0.25, 3, "auto")


@pytest.fixture
def tab(child):
    child.setattr(plan, "passes_of", lambda name, model: 10.0)
    child.setattr("demo.train.plan.passes_a_second", lambda trunk: 10.0)
    handlers = EvaluateHandlers(Session(), Workspaces(), LIMITS)
    yield handlers
    handlers.workspaces.close()
    assert not handlers.workspaces.root.exists()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A zip of three colours, 8 pictures each; every picture of one has a box, half of another a mask."""
    root = coloured(tmp_path_factory.mktemp("made"), {"all": 8})
    path = root / "colours.zip"
    with zipfile.ZipFile(path, "w") as archive:
        boxes = ["path,x0,y0,x1,y1"]
        for n, file in enumerate(sorted((root / "all").rglob("*.png"))):
            folder = {"red": MARKUP}.get(file.parent.name, file.parent.name)
            archive.write(file, f"{folder}/{file.name}")
            if file.parent.name == "blue":
                boxes.append(f"blue/{file.name},1,1,5,5")
            elif file.parent.name == "green" and n % 2:
                Image.fromarray(np.full(Image.open(file).size[::-1], 255, np.uint8)).save(root / "mask.png")
                archive.write(root / "mask.png", f"masks/green/{file.name}")
        archive.writestr("boxes.csv", "\n".join(boxes))
    return path


def own(tab, owner="anna"):
    """A model of the zip's classes, as somebody's own."""
    return tab.session.user_models.add(owner, "colours", small_model((MARKUP, "blue", "green"))).token


def brought(tab, made, model="wild20", owner="anna", asked=ASKED):
    tab.bring_zip(str(made), ask(owner))
    return tab.plan(ask(owner), model, *asked)


def followed(tab, model="wild20", owner="anna", asked=ASKED, each=lambda update: None):
    tab.enqueue(ask(owner))
    told = []
    for update in tab.evaluate(ask(owner), model, *asked):
        told.append(update)
        each(update)
    return told


# ---- before ------------------------------------------------------------------------------------------------------


def test_the_plan_says_what_is_there_and_what_will_be_measured(tab, made):
    update = brought(tab, made, own(tab))
    assert said(update).startswith(
        "24 images, of all. Model: colours, both heads. Of all 24, 8 have boxes and 4 have masks"
    )
    (measured,) = blocks(update, kind="list")
    assert measured["items"] == ["Localisation, explaining the true class", "Fidelity, explaining the predicted class"]
    assert blocks(update, kind="more")[0]["items"] == [f"{MARKUP}: 8", "blue: 8", "green: 8"]
    assert (update["go"].interactive, update["split"].value, len(update["samples"].value)) == (True, "all", 3)
    some = brought(tab, made, own(tab), asked=(["fidelity"], 9, ["cam"], "all", "", "standard", 0))
    assert said(some).startswith("9 of 24 images, every class in proportion, of all.")
    # one pass an image, and one for every map: four sources, each clamped or not
    assert "at most 81 passes of the network at 10 a second, for 8 different maps (8 columns)" in said(some)


def test_the_plan_says_what_cannot_be_measured(tab, made):
    update = brought(tab, made)  # wild20 knows none of these classes
    assert "Localisation of the true class cannot be measured" in said(update)
    assert update["go"].interactive
    places = (["localization"], *ASKED[1:])
    update = tab.plan(ask(), "wild20", *places)
    assert not update["go"].interactive
    assert blocks(update, kind="list")[0]["items"] == ["Nothing."]
    predicted = (["localization"], 200, [], "all", "predicted", "standard", 0)
    assert tab.plan(ask(), "wild20", *predicted)["go"].interactive


def test_the_plan_without_places_and_without_images(tab, tmp_path):
    assert "Bring images" in said(tab.plan(ask(), "wild20", *ASKED))
    root = coloured(tmp_path, {"train": 3, "val": 2})
    tab.bring_folder(str(root), ask())
    update = tab.plan(ask(), "wild20", *ASKED)
    assert "without boxes and without masks" in said(update)
    assert "Localisation is left out" in said(update)
    assert (update["split"].value, update["split"].choices) == ("val", [("train", "train"), ("val", "val")])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (([], *ASKED[1:]), "at least one"),
        ((["speed"], *ASKED[1:]), "no 'speed'"),
        ((ASKED[0], None, *ASKED[2:]), "a number for limit, got None"),
        ((ASKED[0], "many", *ASKED[2:]), "a number for limit, got 'many'"),
        ((ASKED[0], 0, *ASKED[2:]), "1 to 1,000,000"),
        ((*ASKED[:2], ["nocam"], *ASKED[3:]), "no 'nocam'"),
        ((*ASKED[:4], "mine", *ASKED[5:]), "no 'mine'"),
    ],
)
def test_settings_that_cannot_be_are_sentences(tab, made, asked, says):
    with pytest.raises(gr.Error, match=says) as caught:
        brought(tab, made, asked=asked)
    assert caught.value.message.endswith(".")


def test_settings_are_the_command_lines_words():
    assert EvalSettings().options() == ["--limit", "200", "--batch", "8"]
    asked = EvalSettings.read(["fidelity"], 9, ["cam", "eigencam"], "val", "true", "official", 4)
    assert asked.options() == [
        "--limit", "9", "--methods", "cam,eigencam", "--metrics", "fidelity", "--split", "val", "--explain", "true",
        "--protocol", "official", "--seed", "4", "--batch", "8",
    ]  # fmt: skip


# ---- an evaluation -----------------------------------------------------------------------------------------------


def test_an_evaluation_ends_in_a_table_files_and_pictures(tab, made):
    model = own(tab)
    brought(tab, made, model)
    told = followed(tab, model)
    assert any(blocks(u, "status", "bar") for u in told)
    (partial,) = next(t for u in told if "status" in u if (t := blocks(u, "status", "table")))
    assert partial["rows"][0][0] == "CAM, Softmax head, unclamped"
    last = told[-1]
    assert last["group"].choices == [(g, g) for g in ("Localisation", "Fidelity", "Signs and sparsity")]
    assert "no source and no clamp differs in GT-known Loc" in said(last, "measured")
    assert Path(last["results.md"].value["path"]).name == "results.md"
    with zipfile.ZipFile(last["evaluation.zip"].value["path"]) as archive:
        assert {"results.md", "results.json", "table1.tex", "forest.png"} <= set(archive.namelist())
    assert (Path(last["forest"].value["path"]).name, last["forest"].visible) == ("forest.png", True)
    assert "The paper's step (branch clamped, softmax not): no difference." in said(last, "summary")
    assert last["command"] == "bsoftmax evaluate colours.zip"
    assert ["model, name", "colours.safetensors"] in blocks(last, "protocol", "table")[0]["rows"]
    assert model not in json.dumps([b for u in told for key in ("status", "summary", "measured", "protocol") if key in u
                                    for b in blocks(u, key)])  # fmt: skip
    assert not list(tab.workspaces.root.rglob("run/*"))
    assert (last["go"].interactive, last["stop"].visible) == (True, False)


def test_one_metric_at_a_time_and_the_pictures_open_in_compare(tab, made):
    model = own(tab)
    brought(tab, made, model)
    followed(tab, model)
    update = tab.show_metric("Fidelity", "gt_loc", "gradcam", "cam/log-odds/on", ask())
    assert (update["metric"].value, update["whose"].value) == ("average_drop", "gradcam/log-odds/on")
    assert "against softmax unclamped" in said(update, "measured")
    assert [len(update[which].value) for which in ("best", "worst")] == [1, 1]
    assert not update["curves"].visible  # boxes belong to localisation
    assert tab.show_metric("Localisation", "", "cam", "", ask())["box_accuracy"].visible
    tab.show_metric("Fidelity", "", "cam", "", ask())
    opened = tab.open_best(ask(), SimpleNamespace(index=0))
    assert (opened["model"].value, opened["opened"], opened["method"].value) == (model, model, "cam")
    assert Path(opened["picked"]).is_file()
    for owner, call in (("ben", lambda: tab.show_metric("Fidelity", "", "cam", "", ask("ben"))),
                        ("ben", lambda: tab.open_best(ask("ben"), SimpleNamespace(index=0)))):  # fmt: skip
        assert tab.workspaces.of(owner, "evaluate").outcome is None
        with pytest.raises(gr.Error, match="evaluate again"):
            call()


@pytest.mark.parametrize(("end", "says"), [("error", "name them alike"), ("crash", r"evaluation broke off .*code 7")])
def test_a_failure_is_a_sentence_and_the_page_is_ready(tab, made, monkeypatch, end, says):
    monkeypatch.setenv("FAKE_JOB", end)
    brought(tab, made)
    told = []
    tab.enqueue(ask())
    with pytest.raises(gr.Error, match=says):
        told.extend(_kept(tab.evaluate(ask(), "wild20", *ASKED), told))
    assert blocks(told[-1], "status")[0]["tone"] == "error"
    assert told[-1]["go"].interactive
    assert not tab.workspace(ask()).busy


def _kept(steps, told):
    """Steps of a generator, kept in a list even when a later one raises."""
    for step in steps:
        told.append(step)
    return ()


def test_stop_keeps_and_discard_does_not(tab, made, monkeypatch):
    monkeypatch.setenv("FAKE_JOB", "slow")
    brought(tab, made)
    told = followed(tab, each=lambda u: tab.stop(ask()) if "status" in u and blocks(u, "status", "table") else None)
    assert "Stopped early: 23 of 24 images" in said(told[-1], "summary")
    assert any("Stopping" in said(u, "status") or "stopped early" in said(u, "status") for u in told[:-1])
    told = followed(tab, each=lambda u: tab.discard(ask()) if "status" in u and blocks(u, "status", "table") else None)
    assert "measured" not in told[-1]
    assert "Discarded" in said(told[-1], "status")
    assert not list(tab.workspaces.root.rglob("run/*"))
    assert tab.workspace(ask()).data is not None


def test_a_closed_tab_ends_it_and_removes_everything(tab, made, monkeypatch):
    monkeypatch.setenv("FAKE_JOB", "slow")
    brought(tab, made)
    tab.enqueue(ask())
    steps = tab.evaluate(ask(), "wild20", *ASKED)
    next(steps)
    workspace = tab.workspace(ask())
    assert workspace.running
    steps.close()
    assert not workspace.running
    tab.workspaces.remove("anna")
    assert not workspace.folder.exists()


# ---- what was trained on -----------------------------------------------------------------------------------------


def test_one_click_measures_a_training_on_its_own_validation_images(tab, made):
    train = TrainHandlers(tab.session, tab.workspaces, LIMITS)
    with pytest.raises(gr.Error, match="train first"):
        tab.bring_trained(LION, "cam", ask())
    train.bring_zip(str(made), ask())
    train.enqueue(ask())
    token = list(train.train(ask(), *TRAINING))[-1]["result"].model
    update = tab.bring_trained(LION, "cam", ask())
    assert (update["model"].value, update["opened"]) == (token, token)
    update = tab.plan(ask(), token, *ASKED)
    assert said(update).startswith("6 images, of val.")  # a quarter of each class
    seen = {name.split("/")[0] for name in tab.workspace(ask()).data.splits["all"].names}
    assert len(seen) == 3
    shutil.rmtree(tab.workspaces.of("anna").folder)  # what the other tab does with its images is no matter here
    last = followed(tab, token)[-1]
    assert last["command"] == "bsoftmax evaluate colours.zip"
    assert tab.workspace(ask()).outcome.evaluation.found["n"] == 6
    with pytest.raises(gr.Error, match="train first"):
        tab.bring_trained(LION, "cam", ask("ben"))


def test_trainings_and_evaluations_wait_for_each_other(tab, made):
    train = TrainHandlers(tab.session, tab.workspaces, LIMITS)
    for handlers, owner in ((train, "anna"), (tab, "anna"), (tab, "ben")):
        handlers.bring_zip(str(made), ask(owner))
        handlers.enqueue(ask(owner))
    told = [said(h.wait(ask(o)), "status") for h, o in ((train, "anna"), (tab, "anna"), (tab, "ben"))]
    assert told == ["Starting …", "Waiting: 1 job ahead of yours.", "Waiting: 2 jobs ahead of yours."]
    with pytest.raises(gr.Error, match="One evaluation is under way"):
        tab.enqueue(ask("ben"))
