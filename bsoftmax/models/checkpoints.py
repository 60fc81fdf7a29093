"""Checkpoint files: safetensors with JSON metadata, written atomically, read without unpickling.

The tensors that a header lists are compared with those that the network needs before any of them is made.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..utils.files import atomic_path
from ..utils.text import quoted, shortened

FORMAT = "bsoftmax/1"
COUNTERS = "num_batches_tracked"  # of BatchNorm, unused in eval mode
HEADS = ("softmax", "sigmoid")
MOST_PARAMETERS = 3e9  # of a network; the largest of timm's has 2.5e9
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
MAX_HEADER = 16_000_000  # bytes: 25,000 classes of 500 letters
# numbers that tensors may be of; PyTorch computes with no others everywhere
NUMBERS = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
# json.loads raises ValueError for numbers of thousands of digits too, and RecursionError for thousands of brackets
_DAMAGED = (SafetensorError, ValueError, RecursionError, OSError)


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what was expected, what was found, what to do."""


def mismatch(error: Exception) -> str:
    """The first mismatch in an error of load_state_dict: its second line, after a heading."""
    lines = str(error).splitlines() or [""]
    return lines[min(1, len(lines) - 1)].strip().rstrip(".")[:200]


def versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    import timm
    import torchvision

    return {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}


def tensor_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def parts_hash(state: Mapping[str, Tensor], parts: tuple[str, ...]) -> str:
    """Hash of the tensors of some parts as float32, equal before saving and after loading."""
    kept = {k: v.float() for k, v in state.items() if k.split(".")[0] in parts and not k.endswith(COUNTERS)}
    return tensor_hash(kept)


def fits_half(v: Tensor) -> bool:
    """Whether half precision holds a tensor without loss."""
    return torch.equal(v.half().to(v.dtype), v)


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
    """Writes tensors and metadata (each value as JSON) atomically: a file of that name stays as it was until the end.

    Raises OSError when the folder cannot be written, CheckpointError when the disk is full.
    """
    path = Path(path)
    text = {key: json.dumps(value) for key, value in {"format": FORMAT, **metadata}.items()}
    with atomic_path(path) as name:
        try:
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, name, metadata=text)
        except SafetensorError as error:  # it has no number of the system's, only words
            why = re.sub(r"^.*?I/O error: |\(os error \d+\)", "", str(error)).strip().lower()
            raise CheckpointError(
                f"{quoted(path.name)} could not be written ({shortened(why)}): make room, or choose another folder; "
                "what was there before is unchanged."
            ) from None
    return path


def format_of(path: Path) -> str | None:
    """The format in the header of a file; None for weights that another program wrote.

    Raises CheckpointError when the file is missing, damaged or not safetensors.
    """
    try:
        _check_length(path)
        with safe_open(path, framework="pt") as file:
            value = (file.metadata() or {}).get("format")
        # other programs write a word like pt; ours is a JSON string
        return str(json.loads(value)) if value and value.startswith('"') else None
    except CheckpointError:
        raise
    except _DAMAGED:
        raise _unreadable(path) from None


@dataclass(frozen=True)
class Header:
    """What a file says of itself: the shapes of its tensors by name, and its metadata."""

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, Any]


def header(path: str | Path) -> Header:
    """Reads the header of a file written by `write`, and none of its tensors.

    Raises CheckpointError when the file is missing, damaged, not safetensors, or not written by this program.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {quoted(str(path))}: check the path.")
    if (found := format_of(path)) != FORMAT:
        raise CheckpointError(
            f"{quoted(path.name)} was not written by bsoftmax (format {quoted(found)}, expected {FORMAT!r}); weights "
            "of a timm trunk are named with --weights, or lie in checkpoints/ under the trunk's name."
        )
    try:
        with safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            kinds = {key: str(part.get_dtype()) for key, part in slices.items()}
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            read = Header(shapes, {key: json.loads(value) for key, value in file.metadata().items()})
    except _DAMAGED:
        raise _unreadable(path) from None
    if odd := [key for key, kind in kinds.items() if kind not in NUMBERS]:
        raise CheckpointError(
            f"{quoted(path.name)} holds numbers of the kind {kinds[odd[0]]} (in {quoted(odd[0])}), which are not used "
            "here: save it in single or half precision."
        )
    return read


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads tensors and metadata of a file written by `write`.

    Raises CheckpointError when the file is missing, damaged, not safetensors, or not written by this program.
    """
    path = Path(path)
    metadata = header(path).metadata
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except _DAMAGED:
        raise _unreadable(path) from None
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{quoted(path.name)} holds numbers that are not finite (in {quoted(key)}): train it again."
            )
    return tensors, metadata


def _check_length(path: Path) -> None:
    """Raises CheckpointError for a header that would take much memory to read; its length comes first in the file."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if MAX_HEADER < length <= path.stat().st_size:
            raise CheckpointError(
                f"{quoted(path.name)} has a description of {length / 1e6:,.0f} MB, expected at most "
                f"{MAX_HEADER / 1e6:.0f} MB: save it again."
            )


def _unreadable(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{quoted(path.name)} is not a readable safetensors file; pickled checkpoints are never opened."
    )


def check_classes(found: Shapes, classes: int, name: str) -> None:
    """Raises CheckpointError when a head that the file holds has no last layer for so many classes."""
    for head in HEADS:
        rows = {shape[0] for key, shape in found.items() if key.startswith(f"{head}.") and shape}
        if rows and classes not in rows:
            raise CheckpointError(
                f"{quoted(name)} names {classes:,} classes, and no layer of its {head} head has as many rows: save it "
                "again."
            )


def check_size(needed: Shapes, most: float, trunk: str) -> None:
    """Raises CheckpointError for a network of more than `most` parameters."""
    count = sum(map(math.prod, needed.values()))
    if count > most:
        raise CheckpointError(
            f"{quoted(trunk)} with these classes has {count / 1e6:,.0f} million parameters, and at most "
            f"{most / 1e6:,.0f} million can be used here: choose a smaller trunk or fewer classes."
        )


def check_fit(needed: Shapes, found: Shapes, name: str, trunk: str) -> None:
    """Raises CheckpointError when the names or the shapes differ; `needed`: of the tensors that the file must hold."""
    if needed.keys() != found.keys():
        missing, extra = len(needed.keys() - found.keys()), len(found.keys() - needed.keys())
        raise CheckpointError(
            f"{quoted(name)} does not fit {quoted(trunk)}: {missing} tensors missing, {extra} not expected."
        )
    for key, shape in needed.items():
        if shape != found[key]:
            raise CheckpointError(
                f"{quoted(name)} does not fit {quoted(trunk)}: {key} has the shape {found[key]}, expected {shape}."
            )
