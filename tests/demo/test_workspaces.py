"""What this server allows, and who gets a workspace when all are taken."""

import pytest
from toys import refusal

from bsoftmax.data.limits import LIMITS
from demo.app.layout import build_app
from demo.server import permissions
from demo.server.session import Session
from demo.workspace import workspaces
from demo.workspace.workspaces import Workspaces

# ---- what this server allows -------------------------------------------------------------------------------------


def test_training_can_be_limited_or_switched_off(monkeypatch):
    assert permissions.data_limits() == LIMITS
    monkeypatch.setenv(permissions.VARIABLE, "500")
    assert permissions.data_limits().images == 500
    monkeypatch.setenv(permissions.VARIABLE, "maybe")
    assert "'maybe'" in refusal(permissions.data_limits)
    monkeypatch.setenv(permissions.VARIABLE, " OFF ")
    assert permissions.data_limits() is None
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
    assert permissions.is_local() == local
    app = build_app(Session())
    assert ("bring_folder" in {fn.api_name for fn in app.fns.values()}) == local


# ---- desks -------------------------------------------------------------------------------------------------------


@pytest.fixture
def room():
    room = Workspaces()
    yield room
    room.close()


def test_the_oldest_idle_desk_makes_room_and_a_busy_one_stays(room):
    for n in range(workspaces.MAX_WORKSPACES):
        (room.of(f"{n}").folder / "file").touch()
    room.enqueue("0")
    folders = {f"{n}": room.of(f"{n}").folder for n in range(workspaces.MAX_WORKSPACES)}
    room.of("new")
    gone = [owner for owner, folder in folders.items() if not folder.exists()]
    assert gone == ["1"]
    assert room.of("0").folder == folders["0"]


def test_when_every_desk_is_busy_the_next_person_is_told(room):
    for n in range(workspaces.MAX_WORKSPACES):
        room.enqueue(f"{n}")
    assert "Every place for training is taken" in refusal(lambda: room.of("new"))


def test_a_desk_that_nobody_uses_is_cleared(room):
    old = room.of("anna")
    old.used -= workspaces.MAX_IDLE_HOURS * 3600 + 1
    room.of("ben")
    assert not old.folder.exists()
    assert room.of("anna").folder != old.folder
