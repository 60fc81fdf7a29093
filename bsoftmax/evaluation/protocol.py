"""The protocol that is stamped into every result, and the model made ready to be measured under it."""

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
from . import fidelity
from .localization import LEVELS, Protocol
from .statistics import LEVEL

PRECISIONS = ("float32", "bfloat16")
TOLERANCE = 0.0  # of the pointing game, in pixels of the scored map
PASSING = ("source", "versions", "command")  # what may differ between a run and the one that goes on with its records


def stamp(data: Mapping[str, Any], model: Mapping[str, Any], protocol: Mapping[str, Any]) -> dict[str, Any]:
    """All that a number needs beside it to be a result (design, section 6)."""
    versions = {
        "bsoftmax": importlib.import_module(__package__.split(".")[0]).__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    versions |= checkpoints.versions()
    return {"data": dict(data), "model": dict(model), "protocol": dict(protocol), "versions": versions}


def lasting(value: Any) -> Any:
    """The part of a stamp on which the numbers of an image depend."""
    if isinstance(value, dict):
        return {key: lasting(inner) for key, inner in value.items() if key not in PASSING}
    return value


def of_data(source: str, found: DataSet, split: str, taken: ImageSet) -> dict[str, Any]:
    """Which images, under what names and with which places: hashes of both."""
    places = hashlib.sha256()
    for truth in taken.annotations:
        places.update(repr((truth.size, truth.boxes, [m.name for m in truth.masks], truth.ignore is None)).encode())
    return {
        "source": source, "layout": found.layout, "split": split, "split_images": len(found.splits[split]),
        "images": len(taken), "classes": len(found.classes), "fingerprint": taken.fingerprint(),
        "places": places.hexdigest() if taken.annotations else None, "passed_over": len(found.skipped),
    }  # fmt: skip


@torch.no_grad()
def of_model(name: str, model: DualBranch) -> dict[str, Any]:
    """Which model, by the hashes of its file, of what is frozen and of the branch, and the size of its maps."""
    path, size = zoo.bundled().get(name, Path(name)), model.spec.preprocessing.size
    F, _ = model.features(torch.zeros(1, 3, size, size, device=model.device, dtype=next(model.parameters()).dtype))
    branch = None if model.sigmoid is None else checkpoints.tensor_hash(model.sigmoid.state_dict())
    return {
        "name": Path(name).name, "trunk": model.spec.trunk, "layer": model.spec.layer, "input": size,
        "map_size": list(F.shape[2:]), "file_sha256": files.file_hash(path) if path.is_file() else None,
        "frozen_sha256": model.frozen_hash(), "sigmoid_sha256": branch,
    }  # fmt: skip


def of_rules(rule: Protocol, explained: Mapping[str, str], precision: str, device: str) -> dict[str, Any]:
    """How everything is measured."""
    steps = {True: "bicubic, not rectified", False: "bilinear after ReLU"}
    how = steps[True] if rule.bicubic is None else f"{steps[True]}: {', '.join(rule.bicubic)}; {steps[False]}: the rest"
    return {
        "explained": dict(explained),
        "places": {
            **rule.asdict(), "interpolation": how, "normalisation": f"min-max, {LEVELS} levels, rounded down",
            "pointing_tolerance": TOLERANCE,
        },
        "fidelity": fidelity.RULES,
        "baseline": "the same method on the softmax head's logit, unclamped",
        "interval": f"{LEVEL:g} % bootstrap over images, percentiles; differences paired",
        "precision": precision, "device": device,
    }  # fmt: skip


class _Quick(nn.Module):
    """A trunk fed channels last, which is twice as fast on CPUs; in bfloat16 if asked, answering in float32."""

    def __init__(self, trunk: nn.Module, half: bool) -> None:
        super().__init__()
        self.trunk, self.half = trunk, half

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        x = x.contiguous(memory_format=torch.channels_last)
        if not self.half:
            return self.trunk(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            F, tokens = self.trunk(x)
        return F.float(), None if tokens is None else tokens.float()


def ready(model: DualBranch, precision: str, device: str) -> DualBranch:
    """The model where and how it computes; its hashes are those of the model given."""
    spec, trunk = model.spec, _Quick(model.trunk, precision == "bfloat16")
    parts = Parts(trunk, model.neck, model.softmax, spec.preprocessing, spec.layer, spec.classes)
    return DualBranch(parts, spec, model.sigmoid).to(device)


def device_of(asked: str | None, rank: int) -> str:
    """The device asked for, else a GPU (one a process, as far as there are), else the CPU."""
    if asked or not torch.cuda.is_available():
        return asked or "cpu"
    return f"cuda:{rank % torch.cuda.device_count()}"
