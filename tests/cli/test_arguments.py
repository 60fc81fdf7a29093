"""Classes by number or by name."""

from __future__ import annotations

import pytest
from toys import small_model


@pytest.mark.parametrize(
    ("said", "meant"), [("1", 1), ("tabby cat", 1), ("Tabby_Cat", 1), ("DOG", 0), ("tabby_cat", 1), ("2", 2), ("7", 3)]
)
def test_a_class_is_meant_by_number_or_by_name(said, meant):
    model = small_model(("dog", "tabby_cat", "Fox", "7"), branch=False)
    assert model.class_number(said) == meant


def test_an_unknown_class_names_the_nearest():
    model = small_model(("dog", "tabby_cat", "Fox"), branch=False)
    with pytest.raises(ValueError, match=r"'cat'.*tabby_cat"):
        model.class_number("cat")
