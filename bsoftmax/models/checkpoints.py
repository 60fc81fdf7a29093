"""Checkpoint files: safetensors with JSON metadata, written atomically, read without unpickling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..utils.files import atomic_path

FORMAT = "bsoftmax/1"


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


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
    """Writes tensors and metadata (each value as JSON) atomically.

    Raises OSError when the folder cannot be written.
    """
    path = Path(path)
    text = {key: json.dumps(value) for key, value in {"format": FORMAT, **metadata}.items()}
    with atomic_path(path) as name:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, name, metadata=text)
    return path


def format_of(path: Path) -> str | None:
    """The format in the header of a file; None for weights that another program wrote.

    Raises CheckpointError when the file is missing, damaged or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            value = (file.metadata() or {}).get("format")
        # other programs write a word like pt; ours is a JSON string
        return str(json.loads(value)) if value and value.startswith('"') else None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise _unreadable(path) from error


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads tensors and metadata of a file written by `write`.

    Raises CheckpointError when the file is missing, damaged, not safetensors, or not written by this program.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {str(path)!r}: check the path.")
    if (found := format_of(path)) != FORMAT:
        raise CheckpointError(
            f"{path.name!r} was not written by bsoftmax (format {found!r}, expected {FORMAT!r}); weights of a timm "
            "trunk are named with --weights, or lie in checkpoints/ under the trunk's name."
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            metadata = {key: json.loads(value) for key, value in file.metadata().items()}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise _unreadable(path) from error
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path.name!r} holds numbers that are not finite (in {key!r}): train it again.")
    return tensors, metadata


def _unreadable(path: Path) -> CheckpointError:
    return CheckpointError(f"{path.name!r} is not a readable safetensors file; pickled checkpoints are never opened.")
