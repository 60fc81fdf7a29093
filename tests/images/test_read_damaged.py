"""Any bytes are an image of the size that its header says, or one sentence; never another error."""

import numpy as np
import pytest
from damaged import few, mutated, sentence
from hypothesis import example, given
from hypothesis import strategies as st
from pictures_made import encode, pixels
from PIL import Image

from bsoftmax.images.read import ImageError, check_header, read_rgb

PICTURE = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
OPTIONS = {"PNG": {}, "JPEG": {"quality": 95}, "GIF": {}, "TIFF": {}, "BMP": {}, "WEBP": {}, "PPM": {}}


def encoded(form):
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"exif": exif} if form in ("JPEG", "PNG", "TIFF", "WEBP") else {}
    return encode(Image.fromarray(PICTURE), form, **OPTIONS[form], **more)


VALID = {form: encoded(form) for form in OPTIONS}


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_what_nobody_changed_is_the_picture(form):
    turned = np.rot90(PICTURE, 3) if form in ("PNG", "TIFF") else PICTURE
    np.testing.assert_array_equal(pixels(VALID[form]), turned)


def read_or_sentence(data):
    try:
        size = check_header(data)
    except ImageError as error:
        sentence(error)
        size = None
    try:
        image = read_rgb(data)
    except ImageError as error:
        sentence(error)
        return
    assert image.mode == "RGB"
    assert not image.info
    assert size is not None, "what can be read has a header"
    assert image.size == size
    small = read_rgb(data, side=5)
    assert max(small.size) <= 5


@few
@given(st.sampled_from(sorted(VALID)).flatmap(lambda form: mutated(VALID[form])))
def test_a_damaged_picture_is_a_picture_or_a_sentence(data):
    read_or_sentence(data)


@few
@given(st.sampled_from([data[:n] for data in VALID.values() for n in (0, 4, 12, 26)]), st.binary(max_size=80))
@example(b"", b"")
def test_any_bytes_behind_a_known_beginning_are_too(start, rest):
    read_or_sentence(start + rest)
