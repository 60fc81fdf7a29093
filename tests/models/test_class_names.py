"""Classes meant by another of ImageNet's names, held against timm's own list."""

from __future__ import annotations

from collections import defaultdict

import pytest
from timm.data.imagenet_info import ImageNetInfo
from toys import refusal

from bsoftmax.models.backbones import class_names
from bsoftmax.models.class_names import find_class, synonyms

IMAGENET = class_names(1000, native=True)
INFO = ImageNetInfo()
SAID = [[name.strip() for name in INFO.index_to_description(k).split(",")] for k in range(1000)]


def test_a_class_and_its_synonyms_are_all_that_timm_calls_it():
    for k, others in enumerate(synonyms(IMAGENET)):
        assert {*others} - {IMAGENET[k]} == {*SAID[k]} - {IMAGENET[k]}
        assert IMAGENET[k] not in others


def test_every_name_means_a_class_that_has_it_or_is_said_to_mean_several():
    """The classes of a name, by the list alone: the one called so, else those that have it among their names."""
    having = defaultdict(set)
    for k, names in enumerate(SAID):
        for name in names:
            having[name.lower()].add(k)
    called = {name.lower(): {k} for k, name in enumerate(IMAGENET)}
    several = 0
    for name, places in {**having, **called}.items():
        if len(places) == 1:
            assert {find_class(IMAGENET, name)} == places
        else:
            several += 1
            said = refusal(lambda name=name: find_class(IMAGENET, name))
            assert all(IMAGENET[k] in said for k in places)
    assert several > 5


@pytest.mark.parametrize(("said", "meant"), [("puma", "cougar"), ("Felis_Concolor", "cougar"), ("taxi", "cab")])
def test_a_synonym_means_its_class(said, meant):
    assert IMAGENET[find_class(IMAGENET, said)] == meant


def test_a_synonym_of_two_classes_names_both_and_is_clear_where_there_is_one():
    said = refusal(lambda: find_class(IMAGENET, "panther"))
    assert "2 classes" in said
    assert "cougar" in said
    assert "jaguar" in said
    assert find_class(("cougar", "lion"), "panther") == 0


def test_a_part_of_a_synonym_suggests_its_class():
    assert "cougar" in refusal(lambda: find_class(IMAGENET, "mountain lio"))


def test_a_class_that_imagenet_lacks_takes_the_synonyms_of_all():
    assert synonyms(("jaguar", "golf_ball")) != ((), ())
    assert synonyms(("jaguar", "mustang convertible")) == ((), ())
    assert "'panther'" in refusal(lambda: find_class(("jaguar", "mustang convertible"), "panther"))
