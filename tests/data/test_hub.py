"""Data sets of the Hub, with a stand-in for the package that loads them."""

import sys
import types

import pytest
from archives_made import png, put
from toys import refusal

from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS, Limits
from bsoftmax.data.sets import DataError


def skipped(data):
    return {s.name: s.reason for s in data.skipped}


class ClassLabel:
    def __init__(self, names):
        self.names = names


class Value:
    pass


class FakeRows:
    def __init__(self, rows, features):
        self.rows, self.features = rows, features

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, n):
        return self.rows[n]

    def cast_column(self, name, feature):
        assert (name, feature.decode) == ("photo", False)
        return self


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the package `datasets`: what its load_dataset gives, and how often it was asked."""
    fake = types.ModuleType("datasets")

    class Image:
        def __init__(self, decode=True):
            self.decode = decode

    fake.Image, fake.calls = Image, []
    features = {"id": Value(), "photo": Image(), "species": ClassLabel(["cat", "<b>dog"])}
    stored = put(tmp_path, {"stored.png": png(seed=5)}) / "stored.png"
    rows = [{"id": n, "photo": {"bytes": png(seed=n), "path": "x.png"}, "species": n % 2} for n in range(4)]
    rows += [{"photo": {"bytes": None, "path": str(stored)}, "species": 1}, {"photo": None, "species": 0}]
    rows += [{"photo": {"bytes": b"x", "path": None}, "species": 0}, {"photo": rows[0]["photo"], "species": -1}]
    fake.found = {"train": FakeRows(rows, features), "validation": FakeRows(rows[:2], features)}
    fake.load_dataset = lambda name, config: fake.calls.append((name, config)) or fake.found
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_a_set_of_the_hub_is_written_once_as_files(hub, tmp_path):
    data, again = (read_data("hf:zoo/cats:small", tmp_path / "work", LIMITS) for _ in range(2))
    assert hub.calls == [("zoo/cats", "small")]
    assert data == again
    assert data.classes == ("cat", "<b>dog")
    assert {k: s.counts() for k, s in data.splits.items()} == {"train": [2, 3], "val": [1, 1]}
    assert [p.read_bytes() for p in data.splits["train"].paths] == [png(seed=n) for n in (0, 1, 2, 3, 5)]
    assert all(p.suffix == ".png" and p.parent == data.splits["val"].root for p in data.splits["val"].paths)
    reasons = skipped(data)
    assert reasons["train/00000005"] == "its picture is missing"
    assert reasons["train/00000006"].startswith("it is damaged")
    assert reasons["train/00000007"] == "it has no class"


def test_a_single_split_is_the_whole_set(hub, tmp_path):
    hub.found = {"train": hub.found["train"]}
    assert list(read_data("hf:zoo/cats", tmp_path).splits) == ["all"]
    assert hub.calls == [("zoo/cats", None)]


def test_what_the_hub_does_not_give_is_a_sentence_and_leaves_nothing(hub, tmp_path, monkeypatch):
    work = tmp_path / "work"
    assert "at most 5 images" in refusal(lambda: read_data("hf:zoo/cats", work, Limits(images=5)), DataError)
    hub.found["train"].features.pop("species")
    assert "no column of class labels: its columns are 'id, photo'" in refusal(
        lambda: read_data("hf:zoo/cats", work), DataError
    )
    hub.load_dataset = lambda *a: (_ for _ in ()).throw(ConnectionError("no network.\nmore"))
    message = refusal(lambda: read_data("hf:zoo/cats", work), DataError)
    assert message == "'hf:zoo/cats' cannot be loaded from the Hub (ConnectionError: no network)."
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install datasets" in refusal(lambda: read_data("hf:zoo/cats", work), DataError)
    assert not work.exists() or not list(work.iterdir())
