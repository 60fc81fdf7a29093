"""README says what is there: it is the Space's configuration, the list of methods, and the two commands CI runs."""

import re

from paths import ROOT

from bsoftmax import METHODS, SOURCES
from bsoftmax.cli.main import parser
from bsoftmax.models.backbones import BACKBONES

README = (ROOT / "README.md").read_text(encoding="utf-8")
FRONT = README.split("---")[1]


def test_the_space_runs_the_pinned_gradio():
    pinned = re.search(r"^gradio==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M).group(1)
    assert f"sdk_version: {pinned}\n" in FRONT
    assert f"gradio=={pinned}" in (ROOT / "pyproject.toml").read_text()
    for line in ("sdk: gradio", "app_file: app.py", "license: apache-2.0", "python_version:", "tags:"):
        assert line in FRONT
    thumbnail = re.search(r"^thumbnail: https://huggingface.co/spaces/\w+/bsoftmax/resolve/main/(\S+)$", FRONT, re.M)
    assert (ROOT / thumbnail.group(1)).is_file()
    assert len(re.search(r"short_description: (.*)", FRONT).group(1)) <= 60  # the Hub's limit


def test_every_registry_entry_is_named():
    for key in [*METHODS, *SOURCES, *(name for name in BACKBONES if name != "resnet10t")]:
        assert f"`{key}`" in README, key


def test_every_command_is_named():
    commands = next(a for a in parser()._actions if a.choices and "explain" in a.choices).choices
    for name in commands:
        assert f"bsoftmax {name}" in README, name


def test_the_two_commands_are_those_of_ci():
    assert "python -m pip install -r requirements.txt && python app.py" in README
    assert "python -m pip install -r requirements-dev.txt && python -m pytest" in README
    gate = (ROOT / ".ci" / "run").read_text()
    assert "pip install --quiet --no-compile -r requirements-dev.txt" in gate
    assert "python -m pytest --cov" in gate
    for tool in ("ruff check", "ruff format --check", "mypy"):
        assert f"\n{tool}" in gate
    asked = re.search(r"^fail_under = (\d+)$", (ROOT / "pyproject.toml").read_text(), re.M).group(1)
    assert f"{asked} % of the branches (`python -m pytest --cov`)" in README


def test_every_file_it_names_is_there():
    for path in re.findall(r"`([\w./-]+\.(?:py|md|txt))`", README):
        assert list(ROOT.glob(path)) or list((ROOT / "bsoftmax").glob(path)), path


def test_nothing_large_is_tracked():
    import subprocess

    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    assert all((ROOT / f.decode()).stat().st_size < 10_000_000 for f in files if f and (ROOT / f.decode()).exists())
