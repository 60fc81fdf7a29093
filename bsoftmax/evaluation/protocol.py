"""The header of every result (data, model, protocol, versions), and the model prepared for evaluation."""

from __future__ import annotations

import hashlib
import importlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.sets import DataSet, ImageSet
from ..models import checkpoints, zoo
from ..models.backbones import Parts
from ..models.dual_branch import DualBranch
from ..utils import files
from ..utils.text import quoted
from . import fidelity
from .localization import LEVELS, Protocol
from .statistics import RULE

PRECISIONS = ("float32", "bfloat16")
POINTING_TOLERANCE = 0.0  # pixels of the scored map
VOLATILE = ("source", "versions", "command", "interval")  # may differ between a run and the one that resumes it


def result_header(data: Mapping[str, Any], model: Mapping[str, Any], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that every results.json carries beside its numbers."""
    versions = {
        "bsoftmax": importlib.import_module(__package__.split(".")[0]).__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    versions |= checkpoints.versions()
    return {"data": dict(data), "model": dict(model), "protocol": dict(protocol), "versions": versions}


def comparable(value: Any) -> Any:
    """A header without its volatile keys: what the numbers of an image depend on."""
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items() if key not in VOLATILE}
    return value


def describe_data(source: str, dataset: DataSet, split: str, images: ImageSet) -> dict[str, Any]:
    """The images that are measured, with hashes of their names and of their annotations."""
    annotations = hashlib.sha256()
    for truth in images.annotations:
        values = truth.size, truth.boxes, [mask.name for mask in truth.masks], truth.ignore is None
        annotations.update(repr(values).encode())
    return {
        "source": source, "layout": dataset.layout, "split": split, "split_images": len(dataset.splits[split]),
        "images": len(images), "classes": len(dataset.classes), "fingerprint": images.fingerprint(),
        "places": annotations.hexdigest() if images.annotations else None, "passed_over": len(dataset.skipped),
    }  # fmt: skip


@torch.no_grad()
def describe_model(name: str, model: DualBranch) -> dict[str, Any]:
    """The model, the size of its maps, and hashes of its file, of its frozen weights and of its branch."""
    path, size = zoo.bundled().get(name, Path(name)), model.spec.preprocessing.size
    F, _ = model.features(torch.zeros(1, 3, size, size, device=model.device, dtype=next(model.parameters()).dtype))
    branch = None if model.sigmoid is None else checkpoints.tensor_hash(model.sigmoid.state_dict())
    return {
        "name": Path(name).name, "trunk": model.spec.trunk, "layer": model.spec.layer, "input": size,
        "map_size": list(F.shape[2:]), "file_sha256": files.file_hash(path) if path.is_file() else None,
        "frozen_sha256": model.frozen_hash(), "sigmoid_sha256": branch,
    }  # fmt: skip


def describe_protocol(rule: Protocol, explained: Mapping[str, str], precision: str, device: str) -> dict[str, Any]:
    """The rules under which every metric is computed."""
    interpolation = "bicubic, not rectified"
    if rule.bicubic is not None:
        interpolation += f": {', '.join(rule.bicubic)}; bilinear after ReLU: the rest"
    return {
        "explained": dict(explained),
        "places": {
            **rule.asdict(), "interpolation": interpolation, "normalisation": f"min-max, {LEVELS} levels, rounded down",
            "pointing_tolerance": POINTING_TOLERANCE,
        },
        "fidelity": fidelity.RULES,
        "baseline": "the same method on the softmax head's logit, unclamped",
        "interval": RULE,
        "precision": precision, "device": device,
    }  # fmt: skip


class _FastTrunk(nn.Module):
    """A trunk that runs channels last (twice as fast on CPUs), optionally in bfloat16, and returns float32."""

    def __init__(self, trunk: nn.Module, bfloat16: bool) -> None:
        super().__init__()
        self.trunk, self.autocast = trunk, bfloat16

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        F: Tensor
        tokens: Tensor | None
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            F, tokens = self.trunk(x.contiguous(memory_format=torch.channels_last))
        return (F.float(), None if tokens is None else tokens.float()) if self.autocast else (F, tokens)


def prepare_model(model: DualBranch, precision: str, device: str) -> DualBranch:
    """The model on its device and in its precision. Take hashes of the original: names change with the wrapper."""
    spec, trunk = model.spec, _FastTrunk(model.trunk, precision == "bfloat16")
    parts = Parts(trunk, model.neck, model.softmax, spec.preprocessing, spec.layer, spec.classes)
    return DualBranch(parts, spec, model.sigmoid).to(device)


def choose_device(requested: str | None, rank: int) -> str:
    """The device requested, else a GPU (rank modulo their number), else the CPU. Raises ValueError for another."""
    if requested:
        try:
            torch.empty(0, device=requested)
        except (RuntimeError, AssertionError):
            raise ValueError(
                f"There is no device {quoted(requested)} here: choose cpu, or cuda where there is a GPU."
            ) from None
    if requested or not torch.cuda.is_available():
        return requested or "cpu"
    return f"cuda:{rank % torch.cuda.device_count()}"
