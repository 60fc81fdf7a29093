"""Models small enough for hand-written loops: a 3 -> 6 channel trunk behind four kinds of head, and a counted trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from bsoftmax.models import backbones
from bsoftmax.models.backbones import Parts, Preprocessing
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.heads import MLP, FlatGrid, GlobalAveragePool
from bsoftmax.models.spec import Spec

N, C, SIDE = 6, 5, 24
MAPS = {"4x4": (6, 6), "5x3": ((8, 8), (4, 8))}  # size of the maps at SIDE: kernel, stride


class ToyTrunk(nn.Module):
    """conv + ReLU: x -> (F, None). Channel 5 is dead: its bias is far below zero."""

    def __init__(self, maps: str = "4x4") -> None:
        super().__init__()
        kernel, stride = MAPS[maps]
        self.net = nn.Sequential(nn.Conv2d(3, N, kernel, stride), nn.ReLU())
        with torch.no_grad():
            self.net[0].bias[5] = -100

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.net(x), None


class TokenTrunk(ToyTrunk):
    """conv without ReLU, so F has both signs, and two tokens that depend on the image."""

    def __init__(self, maps: str = "4x4") -> None:
        super().__init__(maps)
        self.net[1] = nn.Identity()
        nn.init.zeros_(self.net[0].bias)
        self.tokens = nn.Linear(3, 2 * N)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(x), self.tokens(x.mean((2, 3))).unflatten(1, (2, N))


class TokenNeck(nn.Module):
    """The first token after it has attended to all tokens and patches."""

    uniform = False

    def forward(self, F: Tensor, tokens: Tensor) -> Tensor:
        read = torch.cat([tokens, F.flatten(2).transpose(1, 2)], dim=1)
        weights = (tokens @ read.transpose(1, 2)).softmax(-1)
        return (tokens + weights @ torch.tanh(read))[:, 0]


class NormNeck(nn.Module):
    """LayerNorm after average pooling, as in ConvNeXt: the gradient is the same everywhere, but the head is no line."""

    uniform = True

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(N)

    def forward(self, F: Tensor, tokens: Tensor | None = None) -> Tensor:
        return self.norm(F.mean((2, 3)))


HEADS: dict[str, Callable[[], tuple[type[ToyTrunk], nn.Module, nn.Module]]] = {
    "gap": lambda: (ToyTrunk, GlobalAveragePool(), nn.Linear(N, C)),
    "mlp": lambda: (ToyTrunk, FlatGrid(2), MLP(4 * N, 7, C)),
    "token": lambda: (TokenTrunk, TokenNeck(), nn.Linear(N, C)),
    "norm": lambda: (ToyTrunk, NormNeck(), nn.Linear(N, C)),
    "pooled mlp": lambda: (ToyTrunk, GlobalAveragePool(), MLP(N, 7, C)),
}


def toy(head: str = "gap", maps: str = "4x4", branch: bool = True, seed: int = 0, double: bool = True) -> DualBranch:
    """A dual-branch model around a toy trunk, both classifiers random, in float64."""
    torch.manual_seed(seed)
    trunk, neck, classifier = HEADS[head]()
    trunk = trunk(maps)
    preprocessing = Preprocessing(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    classes = tuple(f"class {i}" for i in range(C))
    parts = Parts(trunk, neck, classifier, preprocessing, "relu", classes)
    model = DualBranch(parts, Spec("toy", classes, preprocessing, "relu"))
    randomise(model.softmax)
    if branch:
        randomise(model.add_branch())
    model.requires_grad_(False)
    return model.double() if double else model


@torch.no_grad()
def randomise(module: nn.Module, std: float = 1.0) -> nn.Module:
    """Every parameter from N(0, std)."""
    for p in module.parameters():
        p.normal_(std=std)
    return module


@torch.no_grad()
def shake(net: nn.Module, seed: int = 1) -> nn.Module:
    """Moves every parameter and running statistic off its initial value, so that no layer acts as an identity."""
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p += 0.05 * torch.randn(p.shape, generator=generator)
    for name, b in net.named_buffers():
        if name.endswith("running_mean"):
            b += 0.1 * torch.randn(b.shape, generator=generator)
        if name.endswith("running_var"):
            b *= 0.5 + torch.rand(b.shape, generator=generator)
    return net


def images(batch: int = 2, seed: int = 0, double: bool = True) -> Tensor:
    """Preprocessed random images [B,3,24,24]."""
    x = torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x if double else x.float()


def small_model(classes: tuple[str, ...], trunk: str = "test_resnet", branch: bool = True) -> DualBranch:
    """A real but tiny timm network (0.4 M parameters, BatchNorm inside) with random weights for given classes."""
    torch.manual_seed(0)
    parts = backbones.build(trunk, None, len(classes))
    shake(parts.trunk)
    shake(parts.neck)
    randomise(parts.classifier)
    model = DualBranch(parts, Spec(trunk, classes, parts.preprocessing, parts.layer))
    if branch:
        randomise(model.add_branch()).requires_grad_(False)
    return model


@contextmanager
def counted(model: DualBranch) -> Iterator[list[int]]:
    """Inside, every call of the trunk appends its number of images to the list given."""
    calls: list[int] = []
    forward = model.trunk.forward

    def counting(x: Tensor):
        calls.append(len(x))
        return forward(x)

    model.trunk.forward = counting
    try:
        yield calls
    finally:
        del model.trunk.forward


def hooks(module: nn.Module) -> int:
    """How many hooks hang on a module and everything in it."""
    return sum(len(v) for m in module.modules() for k, v in vars(m).items() if k.endswith("_hooks"))


def refusal(call: Callable[[], object], kind: type[ValueError] = ValueError) -> str:
    """The message of the error that a call must raise: one line that ends with a full stop."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 500
    return message


def coloured(root: Path, splits: dict[str, int], size: int = 40, seed: int = 0) -> Path:
    """Class folders whose classes are told apart by colour: root/<split>/{blue,green,red}/<n>.png."""
    rng = np.random.default_rng(seed)
    for split, count in splits.items():
        for channel, name in ((2, "blue"), (1, "green"), (0, "red")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for n in range(count):
                pixels = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
                pixels[..., channel] += 150
                Image.fromarray(pixels).save(folder / f"{n}.png")
    return root


def uncut(name, path, **options):
    """The network as timm makes it, with no layer left at an identity, and a file of its weights."""
    torch.manual_seed(0)
    net = shake(timm.create_model(name, **options)).eval()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
    return net


def logits(parts, x):
    return parts.classifier(parts.neck(*parts.trunk(x)))
