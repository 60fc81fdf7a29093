"""What this server allows, and who gets a workspace when all are taken."""

import pytest
from toys import refusal

from bsoftmax.data.limits import LIMITS
from demo.app.layout import build_app
from demo.server import permissions
from demo.workspace import workspaces
from demo.workspace.workspaces import Workspaces

# ---- what this server allows -------------------------------------------------------------------------------------


def test_training_can_be_limited_or_switched_off(session, monkeypatch):
    assert permissions.data_limits() == LIMITS
    monkeypatch.setenv(permissions.VARIABLE, "500")
    assert permissions.data_limits().images == 500
    monkeypatch.setenv(permissions.VARIABLE, "maybe")
    assert "'maybe'" in refusal(permissions.data_limits)
    monkeypatch.setenv(permissions.VARIABLE, " OFF ")
    assert permissions.data_limits() is None
    app = build_app(session)
    labels = {getattr(block, "label", None) for block in app.blocks.values()}
    assert "Train" not in labels
    assert not {fn.api_name for fn in app.fns.values()} & {
        "train",
        "page_train",
        "page_bring_zip",
        "page_bring_folder",
        "page_add_class",
    }


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
def test_folders_of_this_machine_are_offered_only_to_this_machine(session, monkeypatch, environment, local):
    for name in ("GRADIO_SERVER_NAME", "SPACE_ID", "GRADIO_SHARE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert permissions.is_local() == local
    app = build_app(session)
    assert ("page_bring_folder" in {fn.api_name for fn in app.fns.values()}) == local


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860"])
def test_folders_are_read_for_this_machines_own_names(host):
    permissions.check_host(host)


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:7860", "127.0.0.1.evil.example", "127.0.0.1@evil"])
def test_folders_are_not_read_for_a_name_that_was_bound_to_this_machine(host):
    assert "127.0.0.1" in refusal(lambda: permissions.check_host(host))


@pytest.mark.parametrize(
    ("trunk", "variable", "public", "allowed"),
    [
        ("resnet50", "", True, True), ("imagenet", "", True, True), ("resnet18.a1_in1k", "", True, False),
        ("resnet18.a1_in1k", "", False, True), ("resnet18.a1_in1k", "resnet26, resnet18.a1_in1k", True, True),
        ("resnet18.a1_in1k", "any", True, True), ("<b>x", "", True, False),
    ],
)  # fmt: skip
def test_strangers_do_not_choose_what_a_server_downloads(monkeypatch, trunk, variable, public, allowed):
    monkeypatch.setenv(permissions.TRUNKS, variable)
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0" if public else "127.0.0.1")
    monkeypatch.delenv("SPACE_ID", raising=False)
    if allowed:
        permissions.check_download(trunk)
    else:
        assert "does not download" in refusal(lambda: permissions.check_download(trunk))


# ---- workspaces --------------------------------------------------------------------------------------------------


@pytest.fixture
def all_of_them():
    made = Workspaces(most_bytes=1000)
    yield made
    made.close()


def with_data(workspace, size=10):
    """A workspace with a file of data."""
    folder = workspace.new_data_folder()
    (folder / "data.zip").write_bytes(b"x" * size)
    workspace.set_data(folder, "data.zip", data=object())
    return folder


def test_asking_makes_no_folder_and_takes_nobodys(all_of_them):
    mine = with_data(all_of_them.of("anna"))
    for n in range(100):
        assert all_of_them.of(f"{n}").empty
    assert len(list(all_of_them.root.iterdir())) == 1
    assert (mine / "data.zip").exists()


def test_empty_workspaces_are_not_kept_without_end(all_of_them, monkeypatch):
    monkeypatch.setattr(workspaces, "MOST_EMPTY", 10)
    mine = with_data(all_of_them.of("anna"))
    for n in range(50):
        all_of_them.of(f"{n}")
    assert len(all_of_them._workspaces) <= 12
    assert (mine / "data.zip").exists()


def test_a_place_in_the_queue_is_lost_by_silence(all_of_them, monkeypatch):
    for name in ("silent", "anna"):
        all_of_them.enqueue(name)
    assert all_of_them.ahead("anna") == 1
    all_of_them.of("silent").seen -= workspaces.SILENT_SECONDS + 1
    assert all_of_them.ahead("anna") == 0
    assert not all_of_them.of("silent").busy
    assert [w is all_of_them.of("anna") for w in all_of_them.waiting()] == [True]


def test_asking_for_the_place_keeps_it(all_of_them):
    all_of_them.enqueue("anna")
    all_of_them.of("anna").seen -= workspaces.SILENT_SECONDS - 1
    all_of_them.ahead("anna")
    all_of_them.of("anna").seen -= 2
    assert all_of_them.of("anna").waits


def test_when_many_wait_the_next_person_is_told(all_of_them):
    for n in range(workspaces.MOST_WAITING):
        all_of_them.enqueue(f"{n}")
    assert "12 jobs wait already" in refusal(lambda: all_of_them.enqueue("new"))
    for n in range(workspaces.MOST_WAITING):
        all_of_them.of(f"{n}").seen = 0  # nobody asks any more
    all_of_them.enqueue("new")
    assert all_of_them.ahead("new") == 0


def test_a_full_disk_is_told_and_costs_nobody_their_images(all_of_them):
    first = with_data(all_of_them.of("anna"), 600)
    all_of_them.check_space()
    with_data(all_of_them.of("ben"), 600)
    assert "full of images" in refusal(all_of_them.check_space)
    assert (first / "data.zip").exists()
    all_of_them.remove("ben")
    all_of_them.check_space()


def test_a_workspace_that_nobody_uses_is_cleared(all_of_them):
    old = all_of_them.of("anna")
    folder = with_data(old)
    old.used -= workspaces.MAX_IDLE_HOURS * 3600 + 1
    all_of_them.of("ben")
    assert not folder.exists()
    assert all_of_them.of("anna") is not old
