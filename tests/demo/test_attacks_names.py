"""Names like options, folders that are not there, and a cleaner of temporary files, in the page's workspaces."""

import shutil
from types import SimpleNamespace

import gradio as gr
import pytest
from demo_made import ask, zip_of_colours

from bsoftmax.cli import parser
from bsoftmax.cli.console import repeatable
from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS
from demo.evaluate.plan import EvalSettings
from demo.server.session import Session
from demo.train.handlers import TrainHandlers
from demo.workspace import datasets
from demo.workspace.workspaces import Workspaces


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return zip_of_colours(tmp_path_factory.mktemp("named"), 2, "red")


@pytest.fixture
def workspaces():
    workspaces = Workspaces()
    yield workspaces
    workspaces.close()


NAMES = ("--help.zip", "-h.zip", "--events.zip", "--out=x.zip", "--.zip", "-.zip", "hf:a.zip", "@file.zip", "plain.zip",
         "a b.zip", "'.zip", "$(x).zip", "--called=y.zip")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_zip_named_like_an_option_is_read_as_a_file_by_the_child(name, made, workspaces, tmp_path, monkeypatch):
    shutil.copy(made, tmp_path / name)
    workspace = workspaces.of("anna")
    datasets.load_data(workspace, tmp_path / name, LIMITS)
    for words in (["train", workspace.source, "--out", "m.safetensors"], ["evaluate", workspace.source]):
        options = parser().parse_args(words)
        options.words = words
        assert options.data == workspace.source
        again = parser().parse_args(list(repeatable(options))[1:])  # the command that the page shows
        assert again.data == workspace.source
    monkeypatch.chdir(workspace.data_folder)
    assert len(read_data(workspace.source, tmp_path / "work").classes) == 3
    assert name[1:3] in workspace.source


@pytest.mark.parametrize("split", ["--help", "-h", "--out=/etc/x", "val"])
def test_a_part_named_like_an_option_is_a_part(split):
    words = EvalSettings(split=split).options()
    assert parser().parse_args(["evaluate", "data", *words]).split == split


FOLDERS = ("~nosuchuser/x", "~nosuchuser", "/nowhere/at/all", "n" * 900, "a\0b", "\ud800", "", "   ", None, 7, ["x"])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: repr(f)[:16])
def test_a_folder_that_cannot_be_is_a_sentence(folder, workspaces):
    handlers = TrainHandlers(Session(), workspaces, LIMITS)
    with pytest.raises(gr.Error) as caught:
        handlers.bring_folder(folder, ask(), gr.Progress())
    said = caught.value.message
    assert said.endswith(".")
    assert len(said) <= 400
    assert not any(word in said for word in ("Errno", "stumbled", "embedded", "codec", "RuntimeError", "\n"))


@pytest.mark.parametrize("gone", ["root", "folder"])
def test_after_a_cleaner_of_temporary_files_the_next_zip_works(gone, made, workspaces):
    handlers = TrainHandlers(Session(), workspaces, LIMITS)
    workspace = handlers.workspace(ask())
    shutil.rmtree(workspaces.root if gone == "root" else workspace.folder)
    handlers.bring_zip(str(made), ask(), gr.Progress())
    handlers.bring_zip(str(made), ask("ben"), gr.Progress())
    assert workspaces.of("ben").data.classes == ("blue", "green", "red")


@pytest.mark.parametrize("call", ["bring_zip", "add_class", "enqueue", "stop", "discard", "remove_classes", "plan"])
def test_a_call_without_a_session_makes_no_workspace(call, made, workspaces):
    handlers, nobody = TrainHandlers(Session(), workspaces, LIMITS), SimpleNamespace(session_hash=None)
    arguments = {
        "bring_zip": (str(made), nobody, gr.Progress()), "add_class": ("a", [], nobody, gr.Progress()),
        "plan": (nobody, "wild20", 2, 30, 0.5, 0.0005, "fresh", "probe", 0.2, 0),
    }.get(call, (nobody,))  # fmt: skip
    with pytest.raises(gr.Error, match="belongs to no session"):
        getattr(handlers, call)(*arguments)
    assert not list(workspaces.root.iterdir())
