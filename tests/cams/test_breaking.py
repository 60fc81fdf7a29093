"""Where a box begins to break: the first value on a slider's grid, found again by the distortions of the library."""

import numpy as np
import torch
from toys import images, toy

from bsoftmax.cams.breaking import backdrop, breaking, broken_at, sliders
from bsoftmax.cams.distortions import box_iou
from bsoftmax.cams.effects import box_of_map, distort
from bsoftmax.cams.methods import class_map
from bsoftmax.cams.view import View
from bsoftmax.models.spec import SLIDERS


def cam_box(view, k, clamp=False):
    return box_of_map(class_map(view.evidence("softmax", k), "cam", clamp)[0])


def test_the_first_broken_value_is_broken_and_none_before_it():
    starts = []
    for k in range(3):
        view = View(toy(double=False), images(1, double=False))
        S = class_map(view.evidence("softmax", k), "cam", False)[0]
        starts.append((box_of_map(S), cam_box(view, k, True)))
        found = broken_at(view, k, "cam")
        for name, slider in sliders(view, k, S).items():
            values = list(slider.values)
            cut = values.index(found[name]) if np.isfinite(found[name]) else len(values)
            for n in {0, max(cut - 1, 0), min(cut, len(values) - 1)}:
                after = distort(view, k, "cam", slider.distortion(values[n])).after["softmax", False]
                broken = box_iou(box_of_map(S), box_of_map(after)) <= 0.5
                assert broken == (n == cut) or n > cut, (name, n, cut)
    assert any(plain != clamped for plain, clamped in starts)  # else the clamp could be either


def test_half_an_overlap_is_broken(monkeypatch):
    boxes = iter([(0, 0, 0, 1)] + [(0, 0, 0, 0)] * 3)
    monkeypatch.setattr("bsoftmax.cams.breaking.box_of_map", lambda S: next(boxes))
    view = View(toy(double=False), images(1, double=False))
    found = broken_at(view, 0, "cam")
    assert found == {name: slider.values[0] for name, slider in sliders(view, 0, view.F[0, 0]).items()}


def test_the_values_of_a_slider_are_percents_or_shares_of_the_rows_root_mean_square():
    view = View(toy(double=False), images(1, double=False))
    found = sliders(view, 1, view.F[0, 0])
    assert tuple(found) == SLIDERS
    assert list(found["flip"].values) == list(range(2, 101, 2))
    w = view.model.softmax.weight[1].tolist()
    rms = (sum(x * x for x in w) / len(w)) ** 0.5
    for name in ("uniform", "delta"):
        steps = [rms / 16 * 2 ** (n / 3) for n in range(31)]  # to 64 times, three steps to a doubling
        np.testing.assert_allclose(found[name].values, steps, rtol=1e-6)


def test_the_backdrop_is_bright_where_the_map_is_not():
    S = torch.tensor([[3.0, 1.0, 2.0, 0.0, 4.0]])  # 1 and 0 are below the median, 2 is not
    F = torch.zeros(4, 1, 5)
    F[0, 0, 0], F[1, 0, 1] = 9, 5  # on the object; behind it, at one of two
    F[2] = 4  # everywhere
    F[3, 0, 2] = 20  # at the median
    assert backdrop(F, S) == 1
    F[2, 0, [1, 3]] = 6  # 6 behind, 4 on the object: 2 more, less than the 2.5 of channel 1
    assert backdrop(F, S) == 1
    F[0, 0, [1, 3]] = 8  # 8 behind it, 3 on the object in the mean, 9 in the sum
    assert backdrop(F, S) == 0


def test_of_an_even_map_the_brightest_channel_is_taken():
    F = torch.zeros(3, 2, 4)
    F[0, 0, 0], F[1, 1], F[2, :, 3] = 7, 2, 3  # means 7/8, 1, 3/4
    assert backdrop(F, torch.ones(2, 4)) == 1


def test_the_median_is_over_images_and_half_must_break(monkeypatch):
    view = View(toy(), images(1))
    each = iter([{"flip": 2.0, "delta": np.inf}, {"flip": 8.0, "delta": 1.0}, {"flip": 6.0, "delta": np.inf}])
    monkeypatch.setattr("bsoftmax.cams.breaking.broken_at", lambda *_: next(each))
    assert breaking([view] * 3, "cam") == {"images": 3, "flip": 6.0}


def test_one_image_is_enough_and_none_is_nothing():
    assert breaking([View(toy(double=False), images(1, double=False))], "gradcam")["images"] == 1
    assert breaking([], "cam") == {"images": 0}
