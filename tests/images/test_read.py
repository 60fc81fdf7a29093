"""Every kind of picture a person may bring, made here byte by byte; and everything that must be turned away."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures_made import RED, WHITE, encode, pixels, png, swapped_profile
from PIL import Image, ImageFile

from bsoftmax.images.read import MAX_PIXELS, SUFFIXES, ImageError, read_rgb

ORIENTATION = 0x0112


def refusal(source):
    with pytest.raises(ImageError) as caught:
        read_rgb(source)
    message = str(caught.value)
    assert message.endswith(".")
    assert ". " not in message
    assert "\n" not in message
    return message


def corners():
    """6x4: red, green, blue and white corners on black; no two orientations of it look alike."""
    image = Image.new("RGB", (6, 4))
    for place, colour in (((0, 0), RED), ((5, 0), (0, 255, 0)), ((0, 3), (0, 0, 255)), ((5, 3), WHITE)):
        image.putpixel(place, colour)
    return image


# What the EXIF standard says each value stores, undone with NumPy: row 0 / column 0 is the visual ...
UPRIGHT = {
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.transpose(1, 0, 2),  # left, top
    6: lambda a: np.rot90(a, -1),  # right, top
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda a: np.rot90(a, 1),  # left, bottom
}


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation(value, form):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    data = encode(corners(), form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    np.testing.assert_array_equal(pixels(data), UPRIGHT[value](np.asarray(corners())))


@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_exif_orientation_of_a_reduced_jpeg(value):
    image = Image.new("RGB", (1600, 800), "black")
    image.paste(RED, (0, 0, 800, 800))
    exif = Image.Exif()
    exif[ORIENTATION] = value
    got = pixels(encode(image, "JPEG", exif=exif), side=100)
    wanted = UPRIGHT[value](np.asarray(image))
    assert got.shape[:2] == (wanted.shape[0] // 16, wanted.shape[1] // 16)
    for y in (10, -10):
        for x in (10, -10):
            np.testing.assert_allclose(got[y, x], wanted[y * 16, x * 16], atol=20)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_broken_exif_does_not_refuse_the_picture(exif):
    np.testing.assert_allclose(
        pixels(encode(Image.new("RGB", (8, 8), RED), "JPEG", exif=exif)).mean((0, 1)), RED, atol=3
    )


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_unknown_orientation_is_upright(value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    np.testing.assert_array_equal(pixels(encode(corners(), "PNG", exif=exif)), np.asarray(corners()))


def test_exif_does_not_leave_with_the_picture():
    exif = Image.Exif()
    exif[0x013B] = "someone"
    got = read_rgb(encode(corners(), "JPEG", exif=exif))
    assert not got.getexif()
    assert b"someone" not in encode(got, "JPEG") + encode(got, "PNG") + encode(got, "WEBP")


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_of_several_frames(form):
    options = {"lossless": True} if form == "WEBP" else {}
    later = [Image.new("RGB", (32, 16), c) for c in ("blue", "lime")]
    data = encode(Image.new("RGB", (32, 16), RED), form, save_all=True, append_images=later, **options)
    got = read_rgb(data)
    assert got.size == (32, 16)
    np.testing.assert_allclose(np.asarray(got).mean((0, 1)), RED, atol=3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (13, 7)])
def test_every_format_at_odd_sizes(form, size, tmp_path):
    data = encode(Image.new("RGB", size, RED), form)
    path = tmp_path / "name without suffix"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        got = read_rgb(source)
        assert (got.size, got.mode) == (size, "RGB")
        np.testing.assert_allclose(np.asarray(got).mean((0, 1)), RED, atol=4)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((1, 4000), (1, 1024)), ((4000, 1), (1024, 1)), ((300, 200), (300, 200)), ((2048, 1024), (1024, 512))],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_side_keeps_the_aspect_and_never_enlarges(size, wanted, form):
    assert read_rgb(encode(Image.new("RGB", size), form), side=1024).size == wanted


def test_twenty_megapixels_are_decoded_at_half_their_size(monkeypatch):
    filtered, thumbnail = [], Image.Image.thumbnail
    monkeypatch.setattr(
        Image.Image, "thumbnail", lambda self, *a, **k: filtered.append(self.size) or thumbnail(self, *a, **k)
    )
    ramp = np.linspace(0, 255, 5480, dtype=np.uint8)[None, :, None]
    data = encode(Image.fromarray(np.broadcast_to(ramp, (3650, 5480, 3)).copy()), "JPEG")
    got = read_rgb(data, side=1024)
    assert got.size == (1024, 682)
    assert filtered == [(2740, 1825)]
    np.testing.assert_allclose(np.asarray(got)[300, ::100, 0], np.linspace(0, 255, 1024)[::100], atol=4)
    assert read_rgb(data).size == (5480, 3650)


def test_forty_megapixels_are_the_limit():
    row = b"\0" + bytes(8000 // 8)
    assert read_rgb(png(8000, 5000, row * 5000, bits=1, kind=0), side=64).size == (64, 40)
    assert "40 megapixels" in refusal(png(8000, 5001, row * 5001, bits=1, kind=0))
    assert MAX_PIXELS == 8000 * 5000


@pytest.mark.parametrize(
    "data",
    [
        png(60000, 60000),
        png(13000, 13000, bits=1, kind=0),
        png(2**31 - 1, 2**31 - 1),
        png(13000, 13000, (b"\0" + bytes(1625)) * 13000, 1, 0),
    ],
    ids=["3600 Mpx header", "169 Mpx header", "largest header", "169 Mpx in full"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_before_decoding(data, monkeypatch):
    assert len(data) < 100_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("nothing may be decoded"))
    tracemalloc.start()
    message = refusal(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "megapixels" in message
    assert peak < 5e6


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(form, part):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, form)
    refusal(data[: int(len(data) * part)])


def test_damaged_middle_is_refused():
    data = bytearray(
        encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "PNG")
    )
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    refusal(bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff\xd8\xff",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"%PDF-1.7",
        b"PK\x03\x04",
        bytes(5000),
    ],
    ids=["empty", "text", "stub", "svg", "eps", "pdf", "zip", "zeros"],
)
def test_what_is_no_picture_is_refused(data, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    assert refusal(data).startswith("This image is")
    message = refusal(path)
    assert message.startswith("'photo.jpg' is")
    assert str(tmp_path) not in message


@pytest.mark.parametrize("form", ["ICO", "JPEG2000", "TGA", "PCX"])
def test_formats_outside_the_list_are_refused(form):
    refusal(encode(Image.new("RGB", (16, 16)), form))


def test_missing_file_and_folder(tmp_path):
    assert refusal(tmp_path / "nowhere" / "x.png") == "There is no file 'x.png': check the path."
    assert refusal(tmp_path) == f"{tmp_path.name!r} is a folder: choose a picture in it."
    assert refusal("/") == "This image is a folder: choose a picture in it."


@pytest.mark.parametrize(
    "name",
    ["C:\\Users\\someone\\photo.png", "\\\\server\\share\\photo.png", "/srv/someone/photo.png", "someone/\0/photo.png"],
)
def test_messages_show_no_folders(name):
    assert refusal(name) == "There is no file 'photo.png': check the path."


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png", "two\nlines.png", "\udcff.png", ""])
def test_impossible_names_are_refused_with_one_sentence(name):
    refusal(name)


@pytest.mark.parametrize(
    "name", ["C_ copy (1).PNG", "naïve 图片 🐆.jpg", "%s {0} $x$ <b>.png", "a\\b.png", ".hidden", "-rf"]
)
def test_odd_names_are_read(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(encode(corners(), "PNG"))
    assert read_rgb(path).size == (6, 4)


def test_source_file_is_closed(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(corners(), "PNG"))
    image = read_rgb(path)
    path.unlink()
    assert image.getpixel((0, 0)) == RED
    assert image.copy().size == (6, 4)


def test_many_threads_at_once_leave_warnings_alone():
    import warnings

    before = list(warnings.filters)
    sources = [encode(corners(), "PNG", icc_profile=swapped_profile()), encode(corners(), "GIF"), b"broken"] * 20

    def attempt(data):
        try:
            return read_rgb(data).size
        except ImageError:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, sources)) == [(6, 4), (6, 4), None] * 20
    assert warnings.filters == before


def test_suffixes_are_lower_case_with_a_dot():
    assert all(s.startswith(".") and s == s.lower() for s in SUFFIXES)
    assert {".jpg", ".jpeg", ".png", ".webp"} <= SUFFIXES
