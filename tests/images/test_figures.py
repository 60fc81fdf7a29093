"""The figure and the files taken home: what is in them, where it lies, and that they are whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from bsoftmax.images.export import save_figure, save_maps
from bsoftmax.images.figures import BLANK, FOUND, TRUTH, Panel, Row, figure
from bsoftmax.images.page_layout import line_height, text_width, wrap

RNG = np.random.default_rng(3)
PHOTO = Image.fromarray(RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8))
POSITIVE, MIXED = np.eye(7), np.linspace(-2, 5, 49).reshape(7, 7)


def row(*maps, image=PHOTO, label="lion", titles=("softmax", "sigmoid", "log-odds", "more", "most"), **more):
    return Row(image, label, tuple(Panel(t, f"under {n}", S) for n, (t, S) in enumerate(zip(titles, maps))), **more)


def strings(fig):
    return [t.get_text() for t in fig.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def pictures(fig):
    """Axes that hold a picture, without the colour bar's."""
    return [a for a in fig.axes if a.get_images() and a.get_images()[0].get_array().ndim == 3]


def boxes(axes, colour):
    found = [p for p in axes.patches if p.get_edgecolor() == to_rgba(colour)]
    return [(p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in found]


def inches(axes):
    return axes.get_position().size * axes.figure.get_size_inches()


def test_a_row_is_the_input_and_its_maps():
    fig = figure([row(POSITIVE, MIXED), row(MIXED, POSITIVE, label="tiger")])
    first, *maps = pictures(fig)[:3]
    np.testing.assert_array_equal(first.get_images()[0].get_array(), np.asarray(PHOTO))
    assert len(pictures(fig)) == 6
    assert not any(np.array_equal(a.get_images()[0].get_array(), np.asarray(PHOTO)) for a in maps)
    said = strings(fig)
    assert [said.count(s) for s in ("input", "softmax", "sigmoid", "lion", "tiger", "under 0")] == [1, 1, 1, 1, 1, 2]


def test_titles_are_repeated_when_they_change():
    said = strings(figure([row(POSITIVE), row(POSITIVE, titles=["CAM"])]))
    assert (said.count("input"), said.count("softmax"), said.count("CAM")) == (2, 1, 1)


@pytest.mark.parametrize(("maps", "width"), [(1, 3.35), (3, 3.35), (4, 6.9), (5, 6.9)])
def test_width_is_that_of_a_column(maps, width):
    fig = figure([row(*[POSITIVE] * maps)])
    assert fig.get_figwidth() == width
    assert len(pictures(fig)) == 1 + maps


@pytest.mark.parametrize("size", [(80, 60), (60, 80), (300, 100), (100, 900), (1, 4000), (4000, 1), (1, 1)])
def test_panels_are_equal_and_keep_the_aspect(size):
    fig = figure([row(POSITIVE, MIXED, image=Image.new("RGB", size)), row(POSITIVE, MIXED)], tau=0.2)
    shapes = np.array([inches(a) for a in pictures(fig)[:3]])
    np.testing.assert_allclose(shapes, shapes[[0, 0, 0]])
    np.testing.assert_allclose(shapes[:, 1] / shapes[:, 0], size[1] / size[0])
    for axes in fig.axes:
        box = axes.get_position()
        assert 0 <= box.x0 < box.x1 <= 1
        assert 0 <= box.y0 < box.y1 <= 1


def test_columns_line_up_between_rows():
    fig = figure([row(POSITIVE, MIXED), row(POSITIVE, MIXED, image=Image.new("RGB", (30, 90)))])
    middles = np.array([(a.get_position().x0 + a.get_position().x1) / 2 for a in pictures(fig)]).reshape(2, 3)
    np.testing.assert_allclose(middles[0], middles[1])


def test_panels_do_not_overlap():
    fig = figure([row(POSITIVE, MIXED, POSITIVE), row(POSITIVE, MIXED)], tau=0.2, caption="words " * 60)
    places = [a.get_position() for a in pictures(fig)]
    for n, a in enumerate(places):
        for b in places[n + 1 :]:
            assert a.x1 < b.x0 or b.x1 < a.x0 or a.y0 > b.y1


@pytest.mark.parametrize("tau", [None, 0.2])
def test_every_text_lies_on_the_page(tau):
    long = "sulphur-crested cockatoo, Kakatoe galerita, Cacatua galerita " * 5
    fig = figure(
        [row(MIXED, MIXED, label=long, titles=[long, "x" * 400], truth=((0, 0, 9, 9),))], tau=tau, caption=long * 9
    )
    renderer = fig.canvas.get_renderer()
    for text in fig.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= fig.bbox.x1
        assert box.y1 <= fig.bbox.y1


@pytest.mark.parametrize("factor", [1, 12345, 1.2345e-12])
def test_legend_texts_do_not_collide(factor):
    for scale in ("each", "shared", "signed"):
        fig = figure([row(MIXED * factor, truth=((0, 0, 9, 9),))], scale=scale, tau=0.123)
        renderer = fig.canvas.get_renderer()
        shown = [t for t in fig.texts if t.get_position()[1] < 0.12]
        extents = sorted((t.get_window_extent(renderer) for t in shown if t.get_text()), key=lambda b: b.x0)
        for a, b in pairwise(extents):
            assert a.x1 < b.x0 or a.y0 > b.y1 or b.y0 > a.y1


@pytest.mark.parametrize("size", [(900, 300), (300, 900), (64, 64)])
def test_a_hot_cell_lands_on_its_place(size):
    cells = np.zeros((14, 14))
    cells[3, 10] = 1
    fig = figure([row(cells, image=Image.new("RGB", size))], cmap="gray", opacity=1, tau=0.5)
    axes = pictures(fig)[1]
    shown = np.asarray(axes.get_images()[0].get_array())[..., 0]
    y, x = np.unravel_index(shown.argmax(), shown.shape)
    h, w = shown.shape
    assert w / h == pytest.approx(size[0] / size[1], rel=0.02)
    assert abs(x + 0.5 - 10.5 / 14 * w) <= 0.03 * w
    assert abs(y + 0.5 - 3.5 / 14 * h) <= 0.03 * h
    (box,) = boxes(axes, FOUND)
    inside = shown > int(0.5 * shown.max())
    ys, xs = np.nonzero(inside)
    expected = np.array([xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5])
    cell = np.tile([w / 224, h / 224], 2)  # boxes are found on the map of 224 x 224 and land on its edges
    assert (np.abs(box - expected) <= np.maximum(cell, 1)).all()


def test_boxes_are_drawn_only_when_asked_for():
    assert not any(boxes(a, FOUND) for a in pictures(figure([row(POSITIVE, MIXED)])))
    fig = figure([row(POSITIVE, MIXED)], tau=0.25)
    assert [len(boxes(a, FOUND)) for a in pictures(fig)] == [0, 1, 1]
    assert "above 25 % of max" in strings(fig)


@pytest.mark.parametrize("scale", ["each", "shared", "signed"])
def test_boxes_do_not_depend_on_the_scale(scale):
    wanted = [boxes(a, FOUND) for a in pictures(figure([row(POSITIVE, MIXED * 9)], tau=0.3))]
    assert [boxes(a, FOUND) for a in pictures(figure([row(POSITIVE, MIXED * 9)], tau=0.3, scale=scale))] == wanted


def test_true_boxes_are_scaled_with_the_picture_and_clipped_to_it():
    image = Image.new("RGB", (1440, 720))
    fig = figure([row(POSITIVE, image=image, truth=((0, 0, 719, 719), (1000, 500, 5000, 5000)))])
    for axes in pictures(fig):
        assert boxes(axes, TRUTH) == [(-0.5, -0.5, 359.5, 359.5), (499.5, 249.5, 719.5, 359.5)]
    assert "truth" in strings(fig)


@pytest.mark.parametrize(
    ("factor", "end"), [(12345, "6.17e4"), (1e-12, "5e\N{MINUS SIGN}12"), (200, "1e3"), (20, "100")]
)
def test_numbers_on_the_colour_bar(factor, end):
    assert end in strings(figure([row(MIXED * factor)], scale="shared"))
    assert f"+{end}" in strings(figure([row(MIXED * factor)], scale="signed"))


@pytest.mark.parametrize("scale", ["each", "shared", "signed"])
def test_a_blank_map_says_why(scale):
    fig = figure([row(-POSITIVE - 1, POSITIVE), row(np.zeros((3, 3)), MIXED)], scale=scale, tau=0.2)
    said = [" ".join(s.split()) for s in strings(fig)]
    assert said.count(BLANK) == 2
    assert [len(boxes(a, FOUND)) for a in pictures(fig)] == [0, 0, 1, 0, 0, 1]


def test_a_blank_map_alone_stays_dark_whatever_its_ripples():
    fig = figure([row(np.pad([[-5.0]], 3))], opacity=1, cmap="gray")  # bicubic would overshoot above zero here
    assert (np.asarray(pictures(fig)[1].get_images()[0].get_array()) == 0).all()


def test_ends_of_the_colour_bar():
    rows = [row(MIXED, -3 * MIXED)]
    assert {"each map", "min", "max"} <= set(strings(figure(rows)))
    assert {"one scale", "0", "6"} <= set(strings(figure(rows, scale="shared")))
    assert {"one scale", "\N{MINUS SIGN}15", "0", "+15"} <= set(strings(figure(rows, scale="signed")))


def test_signed_takes_a_diverging_map():
    (bar,) = [a for a in figure([row(MIXED)], scale="signed").axes if a.get_images() and a not in pictures(a.figure)]
    assert bar.get_images()[0].get_cmap().name == "RdBu_r"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"scale": "log"}, "scale"),
        ({"cmap": "nope"}, "colour map"),
        ({"opacity": 2}, "opacity"),
        ({"tau": 3}, "tau"),
        ({"rows": []}, "at least one"),
        ({"rows": [Row(PHOTO, "x", ())]}, "at least one"),
        ({"rows": [row(np.ones((1, 7, 7)))]}, "P, Q"),
        ({"rows": [row(np.full((7, 7), np.nan))]}, "finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, match):
    arguments = {"rows": [row(POSITIVE)], **change}
    with pytest.raises(ValueError, match=match):
        figure(arguments.pop("rows"), **arguments)


ODD = ["$x$", "a_b", "100 %", "<b>", r"\alpha", "$\\frac{", "^", "naïve", "ключ", "{}", "&amp;", "#", "~", "-5"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_appear_as_they_are(name):
    fig = figure([row(POSITIVE, label=name, titles=[name])], caption=name)
    assert strings(fig).count(name) == 3
    assert all(not t.get_parse_math() and not t.get_usetex() for t in fig.texts)


def test_odd_names_are_drawn(tmp_path):
    names = [*ODD, "two\nlines", "\0\x1b[31m", "\udcff", "x" * 5000, " ", ""]
    rows = [Row(PHOTO, name, (Panel(name, name, POSITIVE),)) for name in names]
    for suffix in (".png", ".pdf"):
        assert save_figure(figure(rows, caption=" ".join(names)), tmp_path / f"a{suffix}").stat().st_size > 1000


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_scripts_without_a_font_do_not_stop_the_figure(tmp_path):
    for suffix in (".png", ".pdf"):
        save_figure(figure([row(POSITIVE, label="雪豹 🐆 नमस्ते")]), tmp_path / f"a{suffix}")


def test_figure_leaves_its_input_alone():
    image, S = PHOTO.copy(), MIXED.copy()
    figure([row(S, image=image)], tau=0.2)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(PHOTO))
    np.testing.assert_array_equal(S, MIXED)
    assert image.size == (80, 60)


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


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_same_figure_gives_the_same_file(suffix, tmp_path):
    files = [save_figure(figure([row(POSITIVE, MIXED)], tau=0.2), tmp_path / f"{n}{suffix}").read_bytes() for n in "ab"]
    assert files[0] == files[1]


@pytest.mark.parametrize("name", ["a.svg", "a", "a.png.exe", ".png", "a.npz"])
def test_other_endings_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"\.png or \.pdf"):
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


def test_pyplot_is_never_imported(tmp_path):
    code = (
        "import sys, numpy as np; from PIL import Image; from bsoftmax.images.figures import *\n"
        "f = figure([Row(Image.new('RGB', (9, 9)), 'x', (Panel('a', 'b', np.eye(3)),))], tau=.2)\n"
        "save_figure(f, sys.argv[1] + '/a.pdf'); save_figure(f, sys.argv[1] + '/a.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)


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


def test_wrap_keeps_every_letter_that_fits():
    assert wrap("Yellow_headed_Blackbird", 0.8, 7, 3) == ["Yellow_headed_", "Blackbird"]
    assert wrap("one", 1, 7, 2) == ["one"]
    assert wrap("  ", 1, 7, 2) == wrap("", 1, 7, 2) == []
    for most in (1, 2, 3):
        lines = wrap("sulphur-crested cockatoo, Kakatoe galerita, " * 4, 0.9, 7, most)
        assert len(lines) == most
        assert lines[-1].endswith("…")
        assert all(text_width(line, 7) <= 0.9 for line in lines)
    assert line_height(7.2) == pytest.approx(0.125)
