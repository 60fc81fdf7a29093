"""Every named step against its definition, and where pixels land."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import reference_render as slow
import torch
from PIL import Image

from bsoftmax.images import render

RNG = np.random.default_rng(7)
S = RNG.normal(size=(2, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("mode", render.MODES)
@pytest.mark.parametrize("size", [(10, 8), (11, 23), (5, 4), (3, 3), (1, 9), (16, 4)])
def test_upsample_is_the_definition(mode, size):
    got = render.upsample(torch.tensor(S), size, mode)
    assert got.shape == (2, *size)
    for b in range(2):
        np.testing.assert_allclose(got[b], getattr(slow, mode)(S[b].astype(float), size), atol=2e-6)


def test_upsample_keeps_constants_and_means():
    assert (render.upsample(torch.full((1, 7, 7), 0.1), (50, 31)) == torch.tensor(0.1)).all()
    assert (render.minmax(render.upsample(np.full((14, 14), -7.3), (448, 448))) == 0).all()
    np.testing.assert_allclose(render.upsample(S, (10, 8), "nearest").mean((1, 2)), S.mean((1, 2)), atol=1e-6)


def test_upsample_of_one_cell_and_of_one_pixel():
    assert (render.upsample(np.full((1, 1), 2.0), (3, 5)) == 2).all()
    assert render.upsample(S[0], (1, 1)).shape == (1, 1)


@pytest.mark.parametrize(
    ("size", "mode"), [((0, 5), "bicubic"), ((5, -1), "nearest"), ((5, 5), "lanczos"), ((5, 5), "area")]
)
def test_upsample_refuses(size, mode):
    with pytest.raises(ValueError, match="Expected"):
        render.upsample(torch.tensor(S), size, mode)


STEPS = [
    lambda T: render.upsample(T, (9, 9)),
    render.rectify,
    render.minmax,
    lambda T: render.signed(T, 1.0),
    lambda T: render.shared([T]),
    lambda T: render.scaled([T]),
    render.is_blank,
    lambda T: render.box_at(T, 0.2),
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_what_is_not_finite_is_refused(step, bad, kind):
    T = np.ones((4, 4), np.float32)
    T[1, 2] = bad
    with pytest.raises(ValueError, match="finite"):
        step(kind(T))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (2, 0, 0)])
def test_what_is_no_map_is_refused(step, shape):
    with pytest.raises(ValueError, match="Expected"):
        step(np.ones(shape, np.float32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_steps_work_in_float32(dtype):
    T = torch.tensor([[0, 1], [2, 4]], dtype=dtype)
    for step in (render.minmax, render.rectify, lambda T: render.upsample(T, (4, 4)), lambda T: render.signed(T, 4)):
        assert step(T).dtype == torch.float32
    assert render.minmax(T.float().numpy()).dtype == np.float32


def test_steps_leave_their_input_alone():
    before = S.copy()
    for kind in (np.asarray, torch.as_tensor):
        for step in (
            render.rectify,
            render.minmax,
            lambda T: render.signed(T, 1),
            lambda T: render.upsample(T, (5, 4)),
        ):
            step(kind(S))
    for scale in render.SCALES:
        render.scaled(list(S), scale)
    np.testing.assert_array_equal(S, before)


def test_steps_take_views_that_torch_does_not():
    flipped = S[:, ::-1]
    flipped.flags.writeable = False
    np.testing.assert_array_equal(render.rectify(flipped), np.maximum(flipped, 0))
    np.testing.assert_array_equal(render.minmax(flipped), render.minmax(S)[:, ::-1])


def test_minmax_is_for_each_map_by_itself():
    got = render.minmax(S)
    for b in range(2):
        np.testing.assert_allclose(got[b], (S[b] - S[b].min()) / (S[b].max() - S[b].min()), rtol=1e-6)
        assert (got[b].min(), got[b].max()) == (0, 1)


@pytest.mark.parametrize("value", [0.0, -3.0, 7.5, 1e-30, 1e30])
def test_a_constant_map_becomes_zeros(value):
    assert (render.minmax(np.full((3, 3), value)) == 0).all()


def test_signed_is_symmetric_and_keeps_zero():
    got = render.signed(np.array([[-4.0, -1.0, 0.0, 1.0, 9.0]]), 2.0)
    np.testing.assert_array_equal(got, [[-1, -0.5, 0, 0.5, 1]])
    assert (render.signed(S, 0) == 0).all()
    for limit in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="limit"):
            render.signed(S, limit)


def test_shared_is_one_range_over_all_shapes():
    assert render.shared([np.array([[1.0, -2.0]]), torch.tensor([[5.0], [0.0]])]) == (-2.0, 5.0)
    with pytest.raises(ValueError, match="at least one"):
        render.shared([])


A, B = np.array([[-4.0, 0.0], [1.0, 2.0]]), np.array([[-1.0, -8.0], [-2.0, 0.0]])


def test_scale_each():
    a, b = render.scaled([A, B], "each")
    np.testing.assert_allclose(a.values, [[0, 0], [0.5, 1]])
    assert (a.vmin, a.vmax, b.vmin, b.vmax) == (0, 2, 0, 0)
    assert (b.values == 0).all()
    positive = render.scaled([np.array([[1.0, 3.0]])], "each")[0]
    assert (positive.values.tolist(), positive.vmin, positive.vmax) == ([[0, 1]], 1, 3)


def test_scale_shared():
    a, b, c = render.scaled([A, B, np.array([[4.0]])], "shared")
    np.testing.assert_allclose(a.values, [[0, 0], [0.25, 0.5]])
    assert (b.values.max(), c.values.min()) == (0, 1)
    assert {(x.vmin, x.vmax) for x in (a, b, c)} == {(0, 4)}
    (only,) = render.scaled([B], "shared")
    assert (only.values == 0).all()
    assert (only.vmin, only.vmax) == (0, 0)


def test_scale_signed():
    a, b = render.scaled([A, B], "signed")
    np.testing.assert_allclose(a.values, (A + 8) / 16)
    np.testing.assert_allclose(b.values, (B + 8) / 16)
    assert (a.vmin, a.vmax) == (-8, 8)
    (zero,) = render.scaled([np.zeros((2, 2))], "signed")
    assert (zero.values == 0.5).all()


@pytest.mark.parametrize("scale", render.SCALES)
def test_every_scale_gives_what_the_colour_map_needs(scale):
    maps = [RNG.normal(size=(7, 7)) * 10.0**e for e in (-20, 0, 20)]
    for item in render.scaled(maps, scale):
        assert item.values.min() >= 0
        assert item.values.max() <= 1
        assert item.vmin <= item.vmax


def test_scaled_refuses_other_names_and_nothing():
    with pytest.raises(ValueError, match="each, shared, signed"):
        render.scaled([A], "log")
    with pytest.raises(ValueError, match="at least one"):
        render.scaled([], "each")


def test_is_blank():
    assert render.is_blank(B)
    assert render.is_blank(np.zeros((2, 2)))
    assert not render.is_blank(A)


@pytest.mark.parametrize("name", render.COLOURMAPS)
def test_colour_is_matplotlibs(name):
    values = np.array([[0, 0.25, 0.5, 0.999, 1, -3, 7]], np.float32)
    got = render.colour(values, name)
    assert (got.shape, got.dtype) == ((1, 7, 3), np.uint8)
    table = matplotlib.colormaps[name]
    wanted = [[round(255 * c) for c in table(min(int(v * 256), 255))[:3]] for v in np.clip(values[0], 0, 1)]
    np.testing.assert_allclose(got[0].astype(int), wanted, atol=1)


def test_the_first_colour_map_is_the_default():
    np.testing.assert_array_equal(render.colour(A), render.colour(A, render.COLOURMAPS[0]))


def test_zero_is_the_pale_middle_of_the_diverging_map():
    middle = render.colour(render.scaled([A], "signed")[0].values, "RdBu_r")[0, 1].astype(int)
    assert middle.min() > 240
    against, support = render.colour(np.array([0.0, 1.0]), "RdBu_r").astype(int)
    assert against[2] > against[0]
    assert support[0] > support[2]


def test_colour_refuses():
    with pytest.raises(ValueError, match="turbo"):
        render.colour(A, "rainbow_of_mine")
    with pytest.raises(ValueError, match="finite"):
        render.colour(np.array([np.nan]))


def picture(width, height, colour=(0, 0, 0)):
    return Image.new("RGB", (width, height), colour)


def test_overlay_blends_linearly():
    photo = Image.fromarray(RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    heat = render.colour(np.full((6, 9), 0.7), "viridis").astype(float)
    for opacity in (0.0, 0.3, 1.0):
        got = np.asarray(render.overlay(photo, np.full((2, 2), 0.7), "viridis", opacity)).astype(float)
        np.testing.assert_allclose(got, (1 - opacity) * np.asarray(photo) + opacity * heat, atol=1)


def test_overlay_keeps_the_picture_and_its_size():
    photo = Image.new("RGBA", (31, 17), (1, 2, 3, 255))
    got = render.overlay(photo, np.zeros((14, 14)))
    assert (got.mode, got.size) == ("RGB", (31, 17))
    assert (photo.mode, photo.getpixel((0, 0))) == ("RGBA", (1, 2, 3, 255))


@pytest.mark.parametrize("opacity", [-0.1, 1.1, np.nan])
def test_overlay_refuses(opacity):
    with pytest.raises(ValueError, match="opacity"):
        render.overlay(picture(4, 4), A, opacity=opacity)


def test_numbers_are_interpolated_before_they_are_coloured():
    """Between 0 (dark blue) and 1 (dark red) of turbo lies green; mixing the two colours would give purple."""
    got = np.asarray(render.overlay(picture(101, 1), np.array([[0.0, 1.0]]), "turbo", 1.0))[0, 50].astype(int)
    assert got[1] > 200
    assert got[1] > got[0] + 50


@pytest.mark.parametrize(("row", "column"), [(3, 10), (0, 0), (13, 13), (7, 1)])
@pytest.mark.parametrize("size", [(900, 300), (300, 900), (448, 448), (97, 31)])
def test_a_hot_cell_lands_on_its_place_of_the_whole_picture(row, column, size):
    cells = np.zeros((14, 14))
    cells[row, column] = 1
    got = np.asarray(render.overlay(picture(*size), cells, "gray", 1.0))[..., 0].astype(float)
    ys, xs = np.mgrid[: size[1], : size[0]] + 0.5
    bright = got * (got > 128)
    cell = size[0] / 14, size[1] / 14
    centre = (xs * bright).sum() / bright.sum(), (ys * bright).sum() / bright.sum()
    assert abs(centre[0] - (column + 0.5) * cell[0]) < 0.2 * cell[0] + 0.5
    assert abs(centre[1] - (row + 0.5) * cell[1]) < 0.2 * cell[1] + 0.5
    x0, y0, x1, y1 = render.box_at(render.upsample(cells, (size[1], size[0]), "nearest"), 0.5)
    assert abs(x0 - column * cell[0]) <= 1
    assert abs(x1 + 1 - (column + 1) * cell[0]) <= 1
    assert abs(y0 - row * cell[1]) <= 1
    assert abs(y1 + 1 - (row + 1) * cell[1]) <= 1


def drawn(*rows):
    return np.array([[int(c) / 9 for c in row] for row in rows])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (drawn("00000", "09990", "09990", "09990", "00000"), (1, 1, 3, 3)),
        (drawn("99999", "99999"), (0, 0, 4, 1)),
        (drawn("00000", "00900", "00000"), (2, 1, 2, 1)),  # one pixel: no area, and still a box
        (drawn("00000", "09999", "00000"), (1, 1, 4, 1)),  # a line
        (drawn("90000", "00000", "00099", "00099"), (3, 2, 4, 3)),
        (drawn("99999", "90009", "90909", "90009", "99999"), (0, 0, 4, 4)),  # a ring; what lies in its hole is inside
        (drawn("99099", "99099"), (0, 0, 1, 1)),  # a tie goes to the left
        (drawn("99", "99", "00", "99", "99"), (0, 0, 1, 1)),  # and to the top
        (drawn("900000", "000000", "009999"), (2, 2, 5, 2)),  # no area either: the longer one
        (drawn("900", "090", "009"), (0, 0, 2, 2)),  # touching corners are one region
        (np.zeros((4, 4)), None),
        (np.full((4, 4), 0.003), None),  # floor(255 * 0.003) = 0
        (np.ones((1, 1)), (0, 0, 0, 0)),
    ],
)
def test_boxes_drawn_by_hand(values, wanted):
    assert render.box_at(values, 0.2) == wanted
    assert render.box_at(torch.tensor(values), 0.2) == wanted


def test_the_threshold_is_strict_and_on_integer_levels():
    values = np.array([[1.0, 51 / 255 + 1e-4, 52 / 255 + 1e-4, 0]])  # levels 255, 51, 52, 0; int(0.2 * 255) = 51
    assert render.box_at(values, 0.2) == (0, 0, 0, 0)
    assert render.box_at(values[:, [0, 2, 1, 3]], 0.2) == (0, 0, 1, 0)
    assert render.box_at(values, 0) == (0, 0, 2, 0)
    assert render.box_at(values, 1) is None


def test_the_threshold_follows_the_maximum():
    smooth = slow.bicubic(np.pad([[1.0]], 2), (40, 60))
    for factor in (1.0, 0.5):
        for tau in (0.05, 0.2, 0.5, 0.9):
            values = np.clip(factor * smooth, 0, 1)
            assert render.box_at(values, tau) == slow.region_box(values, tau)


@pytest.mark.parametrize("tau", [-0.01, 1.01, np.nan])
def test_box_refuses_thresholds(tau):
    with pytest.raises(ValueError, match="tau"):
        render.box_at(np.ones((2, 2)), tau)


def test_box_refuses_a_batch():
    with pytest.raises(ValueError, match="one map"):
        render.box_at(np.ones((2, 2, 2)), 0.2)


def test_box_is_a_tuple_of_plain_numbers():
    assert all(type(v) is int for v in render.box_at(np.ones((2, 2)), 0.2))
