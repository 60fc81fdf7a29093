"""The files taken home: whole, alike every time, and readable by others."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from figures_made import MIXED, ODD, PHOTO, POSITIVE, RNG, row
from PIL import Image

from bsoftmax.images.export import save_figure, save_maps
from bsoftmax.images.figures import Panel, Row, figure


def test_odd_names_are_drawn(tmp_path):
    names = [*ODD, "two\nlines", "\0\x1b[31m", "\udcff", "x" * 5000, " ", ""]
    rows = [Row(PHOTO, name, (Panel(name, name, POSITIVE),)) for name in names]
    for suffix in (".png", ".pdf"):
        assert save_figure(figure(rows, caption=" ".join(names)), tmp_path / f"a{suffix}").stat().st_size > 1000


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_scripts_without_a_font_do_not_stop_the_figure(tmp_path):
    for suffix in (".png", ".pdf"):
        save_figure(figure([row(POSITIVE, label="雪豹 🐆 नमस्ते")]), tmp_path / f"a{suffix}")


def test_png_is_whole_and_has_300_dpi(tmp_path):
    fig = figure([row(POSITIVE, MIXED)])
    path = save_figure(fig, tmp_path / "Figure.PNG")
    with Image.open(path) as image:
        image.load()
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert image.size == tuple(np.int64(fig.get_size_inches() * 300))
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_pdf_is_whole_and_embeds_truetype(tmp_path):
    data = save_figure(figure([row(POSITIVE, MIXED)], tau=0.2), tmp_path / "figure.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in data
    assert b"/Type3" not in data
    assert b"/CIDFontType2" in data or b"/TrueType" in data
    width, height = (float(v) for v in re.search(rb"/MediaBox \[\s*0 0 ([\d.]+) ([\d.]+)", data).groups())
    assert width == pytest.approx(3.35 * 72)
    assert height > 72


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_figure_gives_the_same_file(suffix, tmp_path):
    files = [save_figure(figure([row(POSITIVE, MIXED)], tau=0.2), tmp_path / f"{n}{suffix}").read_bytes() for n in "ab"]
    assert files[0] == files[1]


@pytest.mark.parametrize("name", ["a.eps", "a", "a.png.exe", ".png", "a.npz"])
def test_other_endings_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf"):
        save_figure(figure([row(POSITIVE)]), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        save_figure(figure([row(POSITIVE)]), tmp_path / "nowhere" / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".npz"])
def test_a_failed_write_leaves_what_was_there(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_maps(path, {"a": POSITIVE}, {}) if suffix == ".npz" else save_figure(figure([row(POSITIVE)]), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"before"


def test_files_can_be_read_by_others(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    path = save_figure(figure([row(POSITIVE)]), tmp_path / "a.png")
    assert path.stat().st_mode == plain.stat().st_mode
    assert save_figure(figure([row(MIXED)]), path) == path


def test_threads_draw_and_save_the_same(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)

    def work(n):
        return save_figure(
            figure([row(POSITIVE, MIXED)], tau=0.2), tmp_path / f"{n}.{('png', 'pdf')[n % 2]}"
        ).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(work, range(6)))
    assert len(set(files)) == 2
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported(tmp_path, forks):
    code = (
        "import sys, numpy as np; from PIL import Image; from bsoftmax.images.figures import *\n"
        "f = figure([Row(Image.new('RGB', (9, 9)), 'x', (Panel('a', 'b', np.eye(3)),))], tau=.2)\n"
        "save_figure(f, sys.argv[1] + '/a.pdf'); save_figure(f, sys.argv[1] + '/a.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([*forks, "-c", code, str(tmp_path)], check=True, timeout=120)


def test_maps_come_back_signed_and_unscaled(tmp_path):
    names = ["lion|softmax", "file", "allow_pickle", "naïve 雪豹", "a/b", "x.npy", "$x$", ""]
    maps = {name: RNG.normal(size=(7, 5)) for name in names}
    meta = {"class": "naïve 雪豹", "tau": 0.2, "layers": ["a", None]}
    path = save_maps(tmp_path / "maps.npz", maps, meta)
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive.files) == sorted([*names, "protocol"])
        for name in names:
            assert archive[name].dtype == np.float32
            np.testing.assert_array_equal(archive[name], maps[name].astype(np.float32))
        assert json.loads(str(archive["protocol"])) == meta
    assert [p.name for p in tmp_path.iterdir()] == ["maps.npz"]


@pytest.mark.parametrize(
    ("name", "maps", "meta", "match"),
    [
        ("a.npy", {}, {}, r"\.npz"),
        ("a.npz", {"protocol": POSITIVE}, {}, "protocol"),
        ("a.npz", {"a": np.array([[np.nan]])}, {}, "finite"),
        ("a.npz", {"a": "text"}, {}, "numbers"),
        ("a.npz", {"a": POSITIVE}, {"model": object()}, "JSON"),
        ("a.npz", {"a": POSITIVE}, {"tau": float("nan")}, "JSON"),
        ("nowhere/a.npz", {"a": POSITIVE}, {}, "no folder"),
    ],
)
def test_maps_that_cannot_be_kept_are_refused(name, maps, meta, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        save_maps(tmp_path / name, maps, meta)
    assert list(tmp_path.iterdir()) == []
