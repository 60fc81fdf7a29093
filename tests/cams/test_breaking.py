"""Where a box begins to break: the first value on a slider's grid, found again by the distortions of the library."""

import numpy as np
import torch
from toys import images, toy

from bsoftmax.cams.breaking import backdrop, breaking, broken_at, sliders
from bsoftmax.cams.distortions import box_iou
from bsoftmax.cams.effects import box_of_map, distort
from bsoftmax.cams.methods import class_map
from bsoftmax.cams.view import View


def test_the_first_broken_value_is_broken_and_none_before_it():
    view = View(toy(double=False), images(1, double=False))
    S = class_map(view.evidence("softmax", 2), "cam", False)[0]
    found = broken_at(view, 2, "cam")
    for name, slider in sliders(view, 2, S).items():
        values = list(slider.values)
        cut = values.index(found[name]) if np.isfinite(found[name]) else len(values)
        for n in {0, max(cut - 1, 0), min(cut, len(values) - 1)}:
            after = distort(view, 2, "cam", slider.distortion(values[n])).after["softmax", False]
            broken = box_iou(box_of_map(S), box_of_map(after)) <= 0.5
            assert broken == (n == cut) or n > cut, (name, n, cut)


def test_the_backdrop_is_bright_where_the_map_is_not():
    F = torch.zeros(3, 2, 2)
    F[0, 0, 0], F[1, 1, 1], F[2] = 9, 5, 4
    assert backdrop(F, torch.tensor([[3.0, 1.0], [2.0, 0.0]])) == 1


def test_the_median_is_over_images_and_half_must_break(monkeypatch):
    view = View(toy(), images(1))
    each = iter([{"flip": 2.0, "delta": np.inf}, {"flip": 8.0, "delta": 1.0}, {"flip": 6.0, "delta": np.inf}])
    monkeypatch.setattr("bsoftmax.cams.breaking.broken_at", lambda *_: next(each))
    assert breaking([view] * 3, "cam") == {"images": 3, "flip": 6.0}
