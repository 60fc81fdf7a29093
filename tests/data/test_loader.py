"""Views of an image depend on its place alone; batches are decoded ahead, unreadable pictures told and not raised."""

from __future__ import annotations

import threading

import pytest
import torch
from toys import coloured

from bsoftmax.data import loader
from bsoftmax.data.loader import decoded, view_of
from bsoftmax.data.sets import read_class_folders
from bsoftmax.images.read import read_rgb, square


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (4, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_first_view_is_the_image_and_the_second_its_mirror(pixels):
    assert torch.equal(view_of(pixels, 0, range(4), 0), pixels)
    assert torch.equal(view_of(pixels, 1, range(4), 0), pixels[..., range(19, -1, -1)])


def test_a_view_depends_on_seed_place_and_number_alone(pixels):
    together = view_of(pixels, 2, [7, 8, 9, 10], 0)
    for n in range(4):
        assert torch.equal(view_of(pixels[n : n + 1], 2, [7 + n], 0)[0], together[n])
    for view, places, seed in ((3, [7, 8, 9, 10], 0), (2, [17, 18, 19, 20], 0), (2, [7, 8, 9, 10], 1)):
        assert not torch.equal(view_of(pixels, view, places, seed), together)
    large = torch.randint(0, 256, (1, 3, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    alike = view_of(large.expand(6, -1, -1, -1), 2, range(6), 0)
    assert len({row.numpy().tobytes() for row in alike}) == 6


def test_crops_show_half_to_all_of_the_area_and_some_are_mirrored():
    """On a ramp from left to right the spread of a crop tells its width, the sign of its slope the mirroring."""
    ramp = torch.arange(100).expand(64, 3, 100, 100).to(torch.uint8)
    crops = view_of(ramp, 2, range(64), 0).float().mean((1, 2))
    slopes = crops[:, -1] - crops[:, 0]
    widths = slopes.abs() + 1
    assert 66 < widths.min() < 76
    assert 90 < widths.max() <= 101
    assert 15 < (slopes < 0).sum() < 49
    assert (crops.min(1).values.round().unique().numel()) > 10  # they begin in different places


@pytest.fixture
def folders(tmp_path):
    return read_class_folders(coloured(tmp_path / "data", {"train": 3}) / "train")


@pytest.mark.parametrize("sizes", [[9], [4, 5], [1] * 9])
def test_batches_hold_the_images_asked_for(sizes, folders):
    order, spans = [8, 0, 3, 1, 7, 2, 6, 5, 4], []
    for size in sizes:
        spans.append(order[sum(map(len, spans)) :][:size])
    given = list(decoded(folders, spans, 24))
    assert [len(rows) for rows, _ in given] == sizes
    assert all(bad == {} for _, bad in given)
    for n, row in zip(order, torch.cat([rows for rows, _ in given])):
        expected = torch.tensor(square(read_rgb(folders.paths[n]), 24)).permute(2, 0, 1)
        assert torch.equal(row, expected)


def test_an_empty_batch_is_an_empty_batch(folders):
    (rows, bad), (one, _) = decoded(folders, [[], [3]], 24)
    assert (rows.shape, rows.dtype, bad) == ((0, 3, 24, 24), torch.uint8, {})
    assert len(one) == 1


def test_a_picture_that_cannot_be_read_is_black_and_told(folders):
    folders.paths[4].write_bytes(b"not a picture")
    ((rows, bad),) = decoded(folders, [[3, 4]], 24)
    assert list(bad) == [4]
    assert folders.paths[4].name in bad[4]
    assert not rows[1].any()
    assert rows[0].any()


def test_the_next_batch_is_decoded_while_one_is_used(folders, monkeypatch):
    """The second batch is read although nobody has asked for it, and the third is not."""
    seen, event = [], threading.Event()

    def noting(path):
        seen.append(path)
        if len(seen) >= 6:
            event.set()
        return read_rgb(path)

    monkeypatch.setattr(loader, "read_rgb", noting)
    batches = decoded(folders, [range(3), range(3, 6), range(6, 9)], 24)
    next(batches)
    assert event.wait(10)
    assert len(seen) == 6
    batches.close()
