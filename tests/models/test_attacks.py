"""Checkpoints of strangers: what their metadata may say, and what may be allocated before they are refused."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys

import pytest
import torch
from paths import ROOT
from saved_models import CLASSES
from toys import refusal, small_model

from bsoftmax.models import checkpoints
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.dual_branch import DualBranch

PRE = {"size": 160, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
LONG = "c" * 10_000_000


def pre(**change):
    return {"preprocessing": {**PRE, **change}}


METADATA = {
    "trunk a list": {"trunk": ["test_resnet"]},
    "trunk a table": {"trunk": {"name": "test_resnet"}},
    "trunk a number": {"trunk": 7},
    "trunk null": {"trunk": None},
    "trunk true": {"trunk": True},
    "trunk empty": {"trunk": ""},
    "trunk of 10 MB": {"trunk": LONG},
    "trunk with markup": {"trunk": "<img src=//x>"},
    "trunk of the Hub": {"trunk": "hf-hub:somebody/something"},
    "trunk of a folder": {"trunk": "local-dir:/etc"},
    "trunk of a lone surrogate": {"trunk": "\ud800"},
    "classes null": {"classes": None},
    "classes a text": {"classes": "cat"},
    "classes a table": {"classes": {"a": 1, "b": 2}},
    "classes of numbers": {"classes": [1, 2, 3]},
    "classes nested": {"classes": [["a"], ["b"], ["c"]]},
    "classes null each": {"classes": [None, None, None]},
    "one class": {"classes": ["a"]},
    "100,000 classes": {"classes": [str(n) for n in range(100_000)]},
    "a class of 10 MB": {"classes": ["a", "b", LONG]},
    "a class of lone surrogates": {"classes": ["a", "b", "\udcff\ud800"]},
    "a class without a name": {"classes": ["a", "b", ""]},
    "preprocessing null": {"preprocessing": None},
    "preprocessing a list": {"preprocessing": [160]},
    "size infinite": pre(size=float("inf")),
    "size NaN": pre(size=float("nan")),
    "size a text": pre(size="160"),
    "size true": pre(size=True),
    "size null": pre(size=None),
    "size a fraction": pre(size=160.5),
    "size negative": pre(size=-160),
    "mean NaN": pre(mean=[0.5, float("nan"), 0.5]),
    "mean infinite": pre(mean=[0.5, float("inf"), 0.5]),
    "mean 1e308": pre(mean=[1e308] * 3),
    "mean nested": pre(mean=[[0.5], [0.5], [0.5]]),
    "mean of 10,000": pre(mean=[0.5] * 10_000),
    "mean of two": pre(mean=[0.5, 0.5]),
    "mean a number": pre(mean=0.5),
    "mean a text": pre(mean="abc"),
    "mean null": pre(mean=None),
    "std NaN": pre(std=[float("nan")] * 3),
    "std 1e308": pre(std=[1e308] * 3),
    "std 0": pre(std=[0, 1, 1]),
    "std negative": pre(std=[-1, 1, 1]),
    "std tiny": pre(std=[1e-300, 1, 1]),
    "std of texts": pre(std=["1", "1", "1"]),
    "std true": pre(std=[True, True, True]),
    "stride -1": {"stride": -1},
    "stride 0": {"stride": 0},
    "stride a text": {"stride": "x"},
    "stride 10^12": {"stride": 10**12},
    "stride a fraction": {"stride": 1.5},
    "stride a list": {"stride": [16]},
    "stride true": {"stride": True},
    "layer a list": {"layer": ["a"]},
    "layer of 10 MB": {"layer": LONG},
    "origin of numbers": {"origin": {"trunk": 3}},
    "origin a list": {"origin": [["trunk", "hub"]]},
    "origin of many": {"origin": {str(n): "file" for n in range(1000)}},
    "training a list": {"training": [1]},
    "metrics a text": {"metrics": "good"},
    "no trunk of that name": {"trunk": "resnetti"},
    "a trunk of another shape": {"trunk": "test_convnext"},
    "a trunk of 1,000 million": {"trunk": "vit_giant_patch14_clip_224"},
    "format of 10 MB": {"format": LONG},
    "format with markup": {"format": "<img src=//x>"},
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = small_model(CLASSES).save(tmp_path_factory.mktemp("sound") / "m.safetensors")
    return checkpoints.read(path)


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_cannot_be_is_one_sentence(name, sound, tmp_path):
    tensors, meta = sound
    path = checkpoints.write(tmp_path / "m.safetensors", tensors, {**meta, **METADATA[name]})
    said = refusal(lambda: DualBranch.load(path))
    assert len(said) <= 400
    assert "c" * 81 not in said
    assert not any(word in said for word in ("Traceback", "object has no", "NoneType", "unhashable", "must be str"))
    said.encode()


def test_the_same_metadata_unchanged_opens(sound, tmp_path):
    tensors, meta = sound
    assert DualBranch.load(checkpoints.write(tmp_path / "m.safetensors", tensors, meta)).classes == CLASSES


RAW = {
    "brackets that never close": "[" * 100_000,
    "brackets that close": "[" * 100_000 + "]" * 100_000,
    "a number of 5,000 digits": "9" * 5000,
    "not a JSON value": "undefined",
    "nothing": "",
}


@pytest.mark.parametrize("name", RAW)
def test_metadata_that_is_no_json_is_one_sentence(name, sound, tmp_path):
    from safetensors.torch import save_file

    text = {key: json.dumps(value) for key, value in sound[1].items()} | {"format": '"bsoftmax/1"'}
    save_file(sound[0], tmp_path / "m.safetensors", metadata=text | {"metrics": RAW[name]})
    assert "not a readable safetensors file" in refusal(lambda: DualBranch.load(tmp_path / "m.safetensors"))


def test_a_description_of_many_megabytes_is_not_read(tmp_path):
    text = json.dumps({"__metadata__": {"format": "x" * 17_000_000}}).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    assert "a description of 17 MB" in refusal(lambda: DualBranch.load(tmp_path / "m.safetensors"), CheckpointError)


# ---- memory ------------------------------------------------------------------------------------------------------

MEASURE = """
import gc, resource, sys
from demo.server.user_models import load_checkpoint
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
load_checkpoint(sys.argv[1])
before = peak()
for path in sys.argv[2:]:
    try:
        load_checkpoint(path)
    except ValueError:
        continue
    raise SystemExit(f"{path} was accepted")
gc.collect()
import torch
held = sum(t.numel() * t.element_size() for t in gc.get_objects() if type(t) is torch.nn.Parameter and not t.is_meta)
print(peak() - before, held / 2**20)
"""


def test_a_small_file_that_asks_for_a_huge_network_takes_no_memory(sound, tmp_path):
    """Before, the first took 4.2 GB and the memory stayed."""
    tensors, meta = sound
    many = [f"class {n}" for n in range(24_000)]
    rows = {"softmax.weight": torch.zeros(24_000, 1, dtype=torch.half), "softmax.bias": torch.zeros(24_000)}
    asks = {
        "vgg16": {"trunk": "vgg16", "classes": [str(n) for n in range(100_000)]},
        "vgg": {"trunk": "vgg16", "classes": many},
        "rows": {"trunk": "vgg16", "classes": many, "origin": {"trunk": "hub", "softmax": "file"}},
        "giant": {"trunk": "vit_giant_patch14_clip_224"},
        "heads": {"origin": {"trunk": "bundled:wild20", "softmax": "file"}, "classes": many},
    }
    paths = [checkpoints.write(tmp_path / "sound.safetensors", tensors, meta)]
    for name, ask in asks.items():
        stored = tensors if name in ("vgg16", "vgg", "giant") else rows
        paths.append(checkpoints.write(tmp_path / f"{name}.safetensors", stored, {**meta, **ask}))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    grown, held = map(float, done.stdout.split())
    assert grown < 150  # MB
    assert held < 20


# ---- writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 1, 4096, 100_000])
def test_a_checkpoint_that_finds_no_room_is_one_sentence_and_the_old_file_stays(room, tmp_path):
    path = checkpoints.write(tmp_path / "m.safetensors", {"a": torch.ones(100_000)}, {"n": 1})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        said = refusal(lambda: checkpoints.write(path, {"a": torch.zeros(10**6)}, {"n": 2}), CheckpointError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "could not be written" in said
    assert "os error" not in said
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
