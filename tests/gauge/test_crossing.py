"""Where one curve falls below another, by hand, and how a bootstrap's rounds become an interval."""

import numpy as np
import pytest

from bsoftmax.gauge.crossing import crossing, first_below

SIZES = (0.0, 1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("gap", "expected"),
    [((1, 1, -1, -1), 1.5), ((2, 1, 0.5, -0.5), 3.0), ((1, 1, 1, 1), np.inf), ((-1, 1, 1, 1), 0.0),
     ((1, -1, 1, -1), 0.5), ((0, 0, -1, -1), 1.0), ((0, 0, 0, 0), np.inf), ((0, -2, -2, -2), 0.0)],
)  # fmt: skip
def test_the_first_size_below_zero(gap, expected):
    assert first_below(SIZES, np.array(gap, dtype=float)[:, None])[0] == pytest.approx(expected)


def test_bounds_are_those_of_the_rounds_and_may_have_no_end():
    ends = np.linspace(-1, -0.1, 1000)
    rounds = np.stack([np.ones(1000), np.ones(1000), np.ones(1000), ends])
    rounds[3, :100] = 1.0  # a tenth of the rounds never crosses
    found = crossing(SIZES, np.array([1, 1, 1, -0.5]), np.array([[0, 2], [0, 2], [0, 2], [-1, 1]]), rounds, True)
    each = sorted(2 + 2 / (1 - end) for end in ends[100:])
    assert found.value == pytest.approx(2 + 2 / 1.5)
    assert found.low == pytest.approx(each[25])
    assert found.high == np.inf
    assert found.never == pytest.approx(0.1)
    assert found.certain == np.inf  # no interval leaves out 0
    assert found.json()["high"] is None


def test_lower_is_better_turns_the_sign():
    gap = np.array([-1.0, -1.0, 1.0, 1.0])
    rounds = np.repeat(gap[:, None], 50, 1)
    assert crossing(SIZES, gap, gap[:, None] + [-0.5, 0.5], rounds, False).json() == {
        "value": 1.5, "low": 1.5, "high": 1.5, "certain": 2.0, "never": 0.0
    }  # fmt: skip
