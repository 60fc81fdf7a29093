"""What a visitor leaves behind: nothing, whether the tab is closed, the server ended, or the server killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from demo_made import LION, zip_of_colours
from gradio.context import LocalContext
from paths import ROOT
from starlette.requests import Request

from bsoftmax.images.read import read_rgb
from demo.components import files
from demo.server.ownership import MAX_AGE, SWEEP, Ownership, current_session
from demo.server.run_folder import PREFIX, RunFolder


@pytest.fixture
def owned():
    clock, gone = [0.0], []
    ownership = Ownership(gone.append, lambda: clock[0])
    return ownership, gone, clock


def test_a_call_of_a_component_belongs_to_no_session():
    token = LocalContext.request.set(Request({"type": "http", "headers": []}))  # as Gradio sets it there
    assert current_session() == ""
    LocalContext.request.reset(token)


def test_what_two_use_stays_until_both_have_left(owned):
    ownership, gone, _ = owned
    ownership.use("a", "anna")
    ownership.use("a", "ben")
    ownership.use("b", "anna")
    ownership.leave("anna")
    assert gone == ["b"]
    ownership.leave("ben")
    assert gone == ["b", "a"]


def test_what_programs_without_a_session_use_does_not_go_with_a_visitor(owned):
    ownership, gone, _ = owned
    ownership.use("program's", "")
    ownership.use("hers", "anna")
    ownership.leave("anna")
    assert gone == ["hers"]


@pytest.mark.parametrize("order", [("anna", None), (None, "anna")])
def test_the_pages_own_things_stay(owned, order):
    ownership, gone, clock = owned
    for owner in order:
        ownership.use("example", owner)
    ownership.leave("anna")
    clock[0] = MAX_AGE * 2
    ownership.sweep()
    assert gone == []


@pytest.mark.parametrize("owner", ["anna", ""])  # a browser that was never heard of again; a program without a session
def test_what_nobody_touches_goes_at_its_age(owned, owner):
    ownership, gone, clock = owned
    ownership.use("a", owner)
    clock[0] = MAX_AGE - 1
    ownership.use("b", owner)
    clock[0] = MAX_AGE + SWEEP + 1
    ownership.use("c", owner)  # any use looks for what is old
    assert gone == ["a"]


def test_files_outside_of_the_cache_are_never_removed(tmp_path):
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(b"x")
    files.used(str(mine))
    files.FILES.leave("anna")
    assert str(mine) not in files.FILES._uses
    assert mine.exists()


@pytest.mark.browser
def test_a_closed_tab_leaves_no_file_and_no_features(browse, app, session, tmp_path):
    """The photograph, what was drawn from it, the zip and the thumbnails: their addresses answer no more."""
    others = set(files.FILES._uses)
    left = lambda: [use for name, use in files.FILES._uses.items() if name not in others and not use.permanent]
    photo = tmp_path / "mine.png"
    read_rgb(LION, 300).rotate(3).save(photo)
    page = browse(app.local_url, "#compare [data-ready]")
    fetched = []
    page.on("response", lambda answer: fetched.append(answer.url) if "/file=" in answer.url else None)
    page.set_input_files("#photo input[type=file]", photo)
    page.wait_for_function("document.querySelector('#compare').innerText.includes('lion')")
    page.wait_for_function("document.querySelector('#photo img')?.src.includes('mine')")
    page.get_by_role("tab", name="Train").click()
    page.set_input_files("#sources input[type=file]", zip_of_colours(tmp_path, 4, "red"))
    page.wait_for_selector("#preview table")
    page.wait_for_timeout(500)
    mine = left()
    analyses = len(session._analyses._values)
    assert len(mine) >= 5
    page.close()
    for _ in range(200):
        if not left():
            break
        time.sleep(0.1)
    assert not left()
    assert len(session._analyses._values) < analyses
    own = [url for url in fetched if "mine" in url or "maps" in url]
    assert own
    answers = {url: httpx.get(url).status_code for url in own}
    assert not [url for url, status in answers.items() if status == 200 and "mine" in url]


SERVER = f"""
import sys, tempfile, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from demo.server.run_folder import write_into_one_folder
folder = write_into_one_folder()
Path(tempfile.mkdtemp()).joinpath("data").write_text("x")
print(folder.path, flush=True)
time.sleep(60)
"""


def served(parent):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(parent)}
    )
    folder = Path(process.stdout.readline().strip())
    assert folder.parent == parent
    assert len(list(folder.rglob("data"))) == 1
    return process, folder


def test_a_folder_that_is_just_being_made_is_left_alone(tmp_path):
    young = tmp_path / f"{PREFIX}young"
    young.mkdir()  # its lock is not there yet
    RunFolder(tmp_path).close()
    assert list(tmp_path.iterdir()) == [young]
    assert list(young.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_server_that_is_ended_or_killed_leaves_nothing(tmp_path):
    living, kept = served(tmp_path)
    ended, first = served(tmp_path)
    ended.send_signal(signal.SIGTERM)
    assert ended.wait(20) == 128 + signal.SIGTERM
    assert not first.exists()
    killed, second = served(tmp_path)
    killed.kill()
    killed.wait(20)
    assert second.exists()
    RunFolder(tmp_path).close()  # the next start
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    living.kill()
    living.wait(20)
    assert kept.name.startswith(PREFIX)
