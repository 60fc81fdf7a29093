"""Training of a small trunk and its softmax head from scratch, as the bundled model was trained."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler
from torchvision.transforms import v2

from ..data.loader import Augmented, batches
from ..data.sets import ImageSet
from ..models import checkpoints
from ..models.backbones import Parts, build
from .feature_cache import fast_precision


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own image size and output stride: linear warm-up, then cosine to zero."""

    size: int
    output_stride: int
    epochs: int
    lr: float
    warmup: float  # epochs


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum, label smoothing and averaged weights (EMA), on small images first."""

    trunk: str = "resnet10t"
    stages: tuple[Stage, ...] = (Stage(128, 32, 30, 0.12, 3.0), Stage(224, 16, 4, 0.02, 0.5))
    batch: int = 64
    momentum: float = 0.9
    weight_decay: float = 1e-3
    label_smoothing: float = 0.1
    ema: float = 0.998
    crop_area: tuple[float, float] = (0.3, 1.0)
    jitter: float = 0.3
    seed: int = 0

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data, equal to what the checkpoint's metadata return."""
        recipe: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return recipe


@dataclass(frozen=True)
class Step:
    """One step or, with `val_accuracy`, one finished epoch; `seconds` since the start."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    lr: float
    seconds: float
    val_accuracy: float | None = None


class Net(nn.Module):
    """Trunk, neck and softmax head, all trainable, under the parameter names of a checkpoint."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.trunk, self.neck, self.softmax = parts.trunk, parts.neck, parts.classifier
        self.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.softmax(self.neck(*self.trunk(x)))
        return logits


@dataclass
class Classifier:
    """A network in training, and its averaged copy, which is the result."""

    net: Net
    ema: ModelEmaV3
    mean: Tensor
    std: Tensor
    device: torch.device
    momenta: dict[str, Tensor] = field(default_factory=dict)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 pixels [B,3,S,S] -> the network's input, on its device."""
        x = pixels.to(self.device, torch.float32, memory_format=torch.channels_last) / 255
        return (x - self.mean) / self.std


def _classifier(
    recipe: Recipe, stage: Stage, classes: int, device: torch.device, state: dict[str, Tensor]
) -> Classifier:
    parts = build(recipe.trunk, weights=None, num_classes=classes, stride=stage.output_stride)
    net = Net(parts).to(device).to(memory_format=torch.channels_last)
    ema = ModelEmaV3(net, decay=recipe.ema, use_warmup=True)
    if state:
        net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net.")})
        ema.module.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("ema.")})
    momenta = {k[4:]: v for k, v in state.items() if k.startswith("mom.")}
    mean, std = (
        torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (parts.preprocessing.mean, parts.preprocessing.std)
    )
    return Classifier(net, ema, mean, std, device, momenta)


def _optimizer(model: Classifier, recipe: Recipe) -> torch.optim.SGD:
    named = dict(model.net.named_parameters())
    groups = [
        {"params": [p for p in named.values() if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in named.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=True)
    for name, momentum in model.momenta.items():
        optimizer.state[named[name]]["momentum_buffer"] = momentum.to(model.device)
    return optimizer


def _lr(stage: Stage, epoch: float) -> float:
    if epoch < stage.warmup:
        return stage.lr * epoch / stage.warmup
    return stage.lr * 0.5 * (1 + math.cos(math.pi * (epoch - stage.warmup) / (stage.epochs - stage.warmup)))


def _loader(
    images: Tensor, labels: Tensor, stage: Stage, recipe: Recipe, seed: int, workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    counts = torch.bincount(labels).float()
    weights = (counts[labels] ** -0.5).tolist()  # a class is drawn in proportion to the root of its size
    generator = torch.Generator().manual_seed(seed)
    sampler = WeightedRandomSampler(weights, len(labels), generator=generator)
    dataset = Augmented(images, labels, stage.size, recipe.crop_area, recipe.jitter)
    return DataLoader(dataset, recipe.batch, sampler=sampler, num_workers=workers, drop_last=True, generator=generator)


@torch.inference_mode()
def accuracy(net: nn.Module, model: Classifier, images: Tensor, labels: Tensor, size: int) -> float:
    """Top-1 accuracy in percent, on whole images resized to `size`."""
    net.eval()
    hits = 0
    for span in batches(len(images), 64):
        pixels = images[span]
        if pixels.shape[-1] != size:
            pixels = v2.functional.resize(pixels, [size, size], antialias=True)
        hits += int((net(model.normalise(pixels)).argmax(1).cpu() == labels[span]).sum())
    return 100 * hits / len(images)


def _save_state(path: Path, model: Classifier, optimizer: torch.optim.SGD, done: dict[str, Any]) -> None:
    tensors = {f"net.{k}": v for k, v in model.net.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in model.ema.module.state_dict().items()}
    for name, parameter in model.net.named_parameters():
        tensors[f"mom.{name}"] = optimizer.state[parameter]["momentum_buffer"]
    checkpoints.write(path, tensors, done)


def pretrain(
    train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], classes: int, recipe: Recipe, state_path: Path,
    device: str = "cpu", workers: int = 2,
) -> Iterator[Step]:  # fmt: skip
    """Trains trunk and softmax head; yields a Step after every batch and every epoch.

    `train`, `val`: (uint8 [n,3,S,S], int64 [n]). After each epoch a state is written to `state_path` (atomically), from
    which a run with the same recipe resumes. `averaged_weights` reads the result.
    Raises ValueError for fewer images than one batch, CheckpointError when the state is another recipe's.
    """
    where = torch.device(device)
    precision = fast_precision(where)
    if len(train[0]) < recipe.batch:
        raise ValueError(
            f"Expected at least {recipe.batch} images to train on, which make one batch, got {len(train[0])}."
        )
    state, done = _resume(state_path, recipe)
    start = time.monotonic()
    total = sum(stage.epochs for stage in recipe.stages)
    torch.manual_seed(recipe.seed + done)
    first = 0
    for stage in recipe.stages:
        last = first + stage.epochs
        if done >= last:
            first = last
            continue
        model = _classifier(recipe, stage, classes, where, state)
        if done == first:
            model.momenta = {}
        optimizer = _optimizer(model, recipe)
        for epoch in range(done, last):
            loader = _loader(*train, stage, recipe, recipe.seed * 1000 + epoch, workers)
            model.net.train()
            for step, (pixels, labels) in enumerate(loader):
                lr = _lr(stage, epoch - first + (step + 1) / len(loader))
                for group in optimizer.param_groups:
                    group["lr"] = lr
                loss = _train_step(model, optimizer, pixels, labels, recipe.label_smoothing, precision)
                model.ema.update(model.net, step=epoch * len(loader) + step)
                yield Step(epoch, total, step + 1, len(loader), loss, lr, time.monotonic() - start)
            done = epoch + 1
            _save_state(state_path, model, optimizer, {"recipe": recipe.describe(), "epochs_done": done})
            score = accuracy(model.ema.module, model, *val, stage.size)
            yield Step(epoch, total, len(loader), len(loader), loss, lr, time.monotonic() - start, score)
        state, first = checkpoints.read(state_path)[0], last


def _train_step(
    model: Classifier, optimizer: torch.optim.SGD, pixels: Tensor, labels: Tensor, smoothing: float,
    precision: torch.dtype | None,
) -> float:  # fmt: skip
    with torch.autocast(model.device.type, precision, enabled=precision is not None):
        logits = model.net(model.normalise(pixels))
    loss = nn.functional.cross_entropy(logits.float(), labels.to(model.device), label_smoothing=smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()


def _resume(path: Path, recipe: Recipe) -> tuple[dict[str, Tensor], int]:
    """The tensors of the state and the number of epochs done; none where there is no file yet."""
    if not path.exists():
        return {}, 0
    state, meta = checkpoints.read(path)
    if meta.get("recipe") != recipe.describe():
        raise checkpoints.CheckpointError(f"{str(path)!r} belongs to another recipe: move it away to start anew.")
    return state, int(meta["epochs_done"])


def averaged_weights(state_path: Path) -> dict[str, Tensor]:
    """The averaged weights under the names of a checkpoint (`trunk.*`, `softmax.*`); convolutions in half precision."""
    tensors, _ = checkpoints.read(state_path)
    kept = {k[4:]: v for k, v in tensors.items() if k.startswith("ema.") and not k.endswith("num_batches_tracked")}
    return {k: v.half() if k.startswith("trunk.") and v.ndim > 1 else v.float() for k, v in kept.items()}


def targets(images: ImageSet) -> Tensor:
    """Labels as int64 [n]."""
    return torch.tensor(images.labels, dtype=torch.int64)
