"""The figure: what is in it and where it lies."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from figures_made import MIXED, ODD, PHOTO, POSITIVE, row, strings
from matplotlib.colors import to_rgba
from PIL import Image

from bsoftmax.images.figures import BLANK, FOUND, TRUTH, Row, figure
from bsoftmax.images.page_layout import line_height, text_width, wrap


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


@pytest.mark.parametrize("name", ODD)
def test_odd_names_appear_as_they_are(name):
    fig = figure([row(POSITIVE, label=name, titles=[name])], caption=name)
    assert strings(fig).count(name) == 3
    assert all(not t.get_parse_math() and not t.get_usetex() for t in fig.texts)


def test_figure_leaves_its_input_alone():
    image, S = PHOTO.copy(), MIXED.copy()
    figure([row(S, image=image)], tau=0.2)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(PHOTO))
    np.testing.assert_array_equal(S, MIXED)
    assert image.size == (80, 60)


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
