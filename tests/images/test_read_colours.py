"""What becomes of transparency, deep colours, palettes and colour profiles when a picture is read."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pictures_made import RED, WHITE, encode, pixels, swapped_profile
from PIL import Image, ImageCms

from bsoftmax.images.read import read_rgb


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("side", [None, 4])
def test_hidden_colours_do_not_show(mode, side):
    image = Image.new(mode, (8, 8), (40, 0) if mode == "LA" else (200, 30, 40, 0))
    assert (pixels(encode(image, "PNG"), side) == 255).all()


def test_half_transparent_lies_on_white():
    got = pixels(encode(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))
    np.testing.assert_allclose(got, 255 * (1 - 128 / 255), atol=1)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_transparent_palette_entry_is_white(form):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 255, 0, 0])
    image.putpixel((0, 0), 0)
    got = pixels(encode(image, form, transparency=0))
    assert tuple(got[0, 0]) == WHITE
    assert tuple(got[3, 3]) == RED


def test_palette_with_an_alpha_for_each_entry():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((1, 0), 1)
    got = pixels(encode(image, "PNG", transparency=bytes([0, 255])))
    assert [tuple(p) for p in got[0]] == [WHITE, RED]


@pytest.mark.parametrize(("mode", "colour", "key"), [("L", 7, 7), ("RGB", (7, 8, 9), (7, 8, 9)), ("1", 0, 0)])
def test_transparent_colour_key_is_white(mode, colour, key):
    assert (pixels(encode(Image.new(mode, (3, 3), colour), "PNG", transparency=key)) == 255).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("side", [None, 8])
def test_sixteen_bit_grey_keeps_its_mean(form, side):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    got = pixels(encode(Image.fromarray(ramp), form), side)
    assert abs(got.mean() - ramp.mean() / 257) < 0.6
    if side is None:
        np.testing.assert_array_equal(got[..., 0], np.floor(ramp / 257 + 0.5).astype(np.uint8))


def test_dark_sixteen_bit_grey_stays_dark():
    assert pixels(encode(Image.fromarray(np.full((4, 4), 200, np.uint16)), "PNG")).max() == 1


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour(suffix, channels):
    bgra = np.array([257 * 10, 257 * 100, 257 * 200, 65535], np.uint16)[:channels]
    ok, data = cv2.imencode(suffix, np.broadcast_to(bgra, (5, 7, channels)).copy())
    assert ok
    assert (pixels(data.tobytes()) == [200, 100, 10]).all()


def test_sixteen_bit_pgm():
    data = b"P5 4 2 65535\n" + np.full(8, 32896, ">u2").tobytes()
    assert (pixels(data) == 128).all()


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([[0, 255]], np.int32), [0, 255]),
        (np.array([[0, 1]], np.int32), [0, 255]),
        (np.array([[0, 65535]], np.int32), [0, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], np.float32), [0, 100, 255]),
        (np.array([[-2.0, 0.0, 2.0]], np.float32), [0, 128, 255]),
        (np.array([[1000.0, np.nan, 2000.0, np.inf]], np.float32), [0, 0, 255, 255]),
        (np.array([[np.nan, np.nan]], np.float32), [0, 0]),
        (np.array([[3e5, 3e5]], np.float32), [0, 0]),
    ],
)
def test_deep_tiff(values, wanted):
    assert pixels(encode(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == wanted


def test_cmyk_without_a_profile():
    got = pixels(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    np.testing.assert_allclose(got.mean((0, 1)), RED, atol=4)


def lab_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize("profile", [b"not a profile", b"", lab_profile()], ids=["text", "empty", "Lab"])
@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_a_profile_that_does_not_fit_is_passed_over(profile, mode):
    white = {"RGB": WHITE, "CMYK": (0, 0, 0, 0), "L": 255}[mode]
    assert pixels(encode(Image.new(mode, (8, 8), white), "JPEG", icc_profile=profile)).min() >= 252


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("side", [None, 8])
def test_a_profile_is_applied_once_and_not_carried_on(mode, side):
    image = Image.new("RGB", (16, 16), RED).convert(mode)
    got = read_rgb(encode(image, "PNG", icc_profile=swapped_profile()), side)
    np.testing.assert_allclose(np.asarray(got).mean((0, 1)), (0, 255, 0), atol=3)
    assert got.info == {}


def test_alpha_survives_a_profile():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (pixels(encode(image, "PNG", icc_profile=swapped_profile())) == 255).all()


@pytest.mark.parametrize(("mode", "colour", "wanted"), [("1", 1, 255), ("1", 0, 0), ("L", 77, 77)])
def test_grey_kinds(mode, colour, wanted):
    assert (pixels(encode(Image.new(mode, (9, 5), colour), "PNG")) == wanted).all()


def test_palette_is_reduced_by_colour_not_by_index():
    image = Image.new("P", (64, 64), 200)
    image.putpalette([*([0] * 600), *RED])
    np.testing.assert_allclose(pixels(encode(image, "PNG"), 16).mean((0, 1)), RED)
