"""Any safetensors file is tensors with metadata, or one sentence; never another error."""

import json
import struct

import torch
from damaged import JSON, few, mutated, sentence
from hypothesis import example, given
from hypothesis import strategies as st

from bsoftmax.models import checkpoints
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.spec import Spec

META = {
    "trunk": "test_resnet", "classes": ["cat", "dog"], "layer": "layer4", "stride": 16,
    "preprocessing": {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "origin": {"trunk": "hub"}, "training": {}, "metrics": {},
}  # fmt: skip
TENSORS = {"softmax.weight": torch.arange(6.0).reshape(2, 3), "n": torch.tensor([1, 2])}
DTYPES = [
    "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "U16", "U32", "U64", "BOOL", "F8_E4M3", "F8_E5M2",
    "F8_E8M0", "F4", "F6_E2M3", "C64", "F8_E4M3FNUZ", "F99",
]  # fmt: skip


def written(folder):
    return checkpoints.write(folder / "a.safetensors", TENSORS, META)


def read_or_sentence(path):
    try:
        tensors, metadata = checkpoints.read(path)
    except CheckpointError as error:
        sentence(error)
        return None
    shapes = checkpoints.header(path).shapes
    assert shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert metadata["format"] == checkpoints.FORMAT
    try:
        Spec.from_metadata(metadata)
    except CheckpointError as error:
        sentence(error)
    return tensors


def test_what_nobody_changed_is_read(tmp_path):
    found = read_or_sentence(written(tmp_path))
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


@few
@given(data=st.data())
def test_a_damaged_file_is_tensors_or_a_sentence(data, tmp_path):
    valid = written(tmp_path).read_bytes()
    (tmp_path / "b.safetensors").write_bytes(data.draw(mutated(valid)))
    read_or_sentence(tmp_path / "b.safetensors")


ENTRY = st.fixed_dictionaries({
    "dtype": st.sampled_from(DTYPES) | JSON,
    "shape": st.lists(st.integers(0, 9), max_size=3) | st.just([2**40, 2**40]) | JSON,
    "data_offsets": st.tuples(st.integers(0, 60), st.integers(0, 60)).map(list) | JSON,
})  # fmt: skip


@few
@given(entries=st.dictionaries(st.text(max_size=8), ENTRY | JSON, max_size=2), size=st.integers(0, 48))
@example(entries={}, size=0)
def test_a_header_of_any_kind_is_tensors_or_a_sentence(entries, size, tmp_path):
    write_raw(tmp_path / "c.safetensors", entries, bytes(range(size)))
    read_or_sentence(tmp_path / "c.safetensors")


def write_raw(path, entries, content):
    text = {"format": json.dumps(checkpoints.FORMAT), **{key: json.dumps(value) for key, value in META.items()}}
    header = json.dumps({"__metadata__": text, **entries}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content)


def test_tensors_of_every_kind_are_read_or_a_sentence(tmp_path):
    """One tensor of 24 bytes, in every number format that safetensors knows."""
    bits = {"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F4": 4, "F6_E2M3": 6}
    for kind in DTYPES:
        width = bits.get(kind, 16 if kind in ("F16", "BF16", "I16", "U16") else 8)
        entry = {"x": {"dtype": kind, "shape": [24 * 8 // width], "data_offsets": [0, 24]}}
        write_raw(tmp_path / "d.safetensors", entry, bytes(24))
        found = read_or_sentence(tmp_path / "d.safetensors")
        assert found is None or kind != "F99"
        assert found is not None or kind not in ("F32", "F16", "BF16", "I64")


@few
@given(st.sampled_from(sorted(META)), JSON)
def test_metadata_of_any_kind_is_a_spec_or_a_sentence(key, value):
    try:
        spec = Spec.from_metadata({**META, key: value})
    except CheckpointError as error:
        sentence(error)
        return
    assert len(spec.classes) >= 2
    assert all(spec.classes)
