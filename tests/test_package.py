"""The wheel: built as pip builds it, it carries the page and the bundled models and works from any folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from paths import ROOT

import bsoftmax

FILES = subprocess.run(
    ["git", "ls-files", "bsoftmax", "demo", "checkpoints"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, cwd=folder)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_has_every_file_of_the_packages_and_the_bundled_models(wheel):
    wanted = {re.sub("^checkpoints/", "bsoftmax/checkpoints/", name) for name in FILES if (ROOT / name).exists()}
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == wanted
    for name in ("imagenet", "wild20"):
        kept = wheel.read(f"bsoftmax/checkpoints/{name}.safetensors")
        assert kept == (ROOT / "checkpoints" / f"{name}.safetensors").read_bytes()


def test_one_version_is_named_everywhere(wheel):
    assert wheel.filename.endswith(f"bsoftmax-{bsoftmax.__version__}-py3-none-any.whl")
    assert f"\nversion: {bsoftmax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M).group(1) == bsoftmax.__version__


def test_what_the_page_needs_is_installed_with_it(wheel):
    metadata = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    asked = set(re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", wheel.read(metadata).decode(), re.M))
    listed = re.findall(r"^([\w-]+)", (ROOT / "requirements.txt").read_text().replace("_", "-"), re.M)
    assert asked == set(listed)


def test_an_unpacked_copy_works_from_any_folder_and_finds_checkpoints_there(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    (tmp_path / "work" / "checkpoints").mkdir(parents=True)
    shutil.copy(ROOT / "checkpoints" / "wild20.safetensors", tmp_path / "work" / "checkpoints" / "mine.safetensors")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "BSOFTMAX"))}
    done = subprocess.run(
        [sys.executable, "-m", "bsoftmax", "models"], cwd=tmp_path / "work", capture_output=True, text=True,
        check=False, env={**environment, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^(\w+) +bundled: .*?, (\d+) classes", done.stdout, re.M) == [
        ("imagenet", "1000"), ("wild20", "20"), ("mine", "20")
    ]  # fmt: skip


def test_the_container_copies_what_the_page_needs_and_runs_it_as_a_user():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1] if name[:2] != "--"}
    assert {"app.py", "bsoftmax", "demo", "checkpoints", "requirements.txt", "packages.txt"} <= copied
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == copied
    assert all((ROOT / name).exists() for name in copied)
    assert lines.index("USER user") < lines.index('CMD ["python", "app.py"]')
    assert "/health" in next(line for line in lines if "urlopen" in line)
