"""bsoftmax models: what --model accepts, and how a network is cut."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models import backbones, checkpoints, stride, zoo
from ..models.heads import GlobalAveragePool, last_linear, pools_first
from ..models.token_surgery import ClassTokenNeck


def run(options: argparse.Namespace) -> None:
    """Lists what --model accepts; --check: how a network is cut."""
    if options.check:
        print(described(checked(options.check, options.weights)))
        return
    for name, path in zoo.bundled().items():
        meta = checkpoints.read(path)[1]
        print(
            f"{name:14} bundled: {meta['trunk']}, {len(meta['classes'])} classes, {json.dumps(meta.get('metrics', {}))}"
        )
    for name, entry in backbones.BACKBONES.items():
        local = backbones.local_weights(entry.timm)
        where = f"local file {local}" if local else f"weights {entry.timm} from the Hub"
        print(f"{name:14} {entry.note}; {where if entry.complete else 'some layers fresh: train it'}")
    for name in zoo.local_trunks():
        print(f"{name:14} generic cut; local file {backbones.local_weights(name)}")
    for file, why in zoo.unreadable().items():
        print(f"{file:14} cannot be opened: {why}")
    print("Any other timm name, or the path of a .safetensors checkpoint, works too; --check NAME says how it is cut.")


@dataclass(frozen=True)
class Cut:
    """How a network is cut, measured on one random image; `refused` says why it is not, where it is not.

    `difference`: of the logits after the cut from those of timm's network at the same stride, in parts of the largest
    one. `moved`: after a lift, of F at every second position from timm's F at its own stride, likewise.
    """

    name: str
    family: str
    refused: str = ""
    layer: str = ""
    shape: tuple[int, ...] = ()  # N, P, Q
    size: int = 0
    aside: int = 0
    pooling: str = ""
    head: tuple[int, int] = (0, 0)
    difference: float = 0.0
    lifted: str = ""
    moved: float | None = None

    @property
    def stride(self) -> float:
        """Pixels of the input to a position of F."""
        return self.size / self.shape[1]


@torch.no_grad()
def checked(name: str, weights: str | None = None) -> Cut:
    """Cuts a network as `open_model` does and compares its logits with timm's own.

    Without a file of `weights` they are random, every parameter moved off its initial value, so that no layer is an
    identity. Raises ValueError for an unknown name, WeightsError for weights that do not fit.
    """
    entry = backbones.find(name)
    torch.manual_seed(0)
    net, lifted = backbones.create(entry, weights)
    family, size = type(net).__name__, entry.size or net.pretrained_cfg["input_size"][-1]
    if weights is None:
        _shake(net)
    net.eval()
    x, before = torch.randn(1, 3, size, size), None
    try:
        if not lifted and entry.stride:
            before = net.forward_features(x)
            lifted = stride.lift(net, entry.stride)
        expected = net(x)
        with torch.enable_grad():
            pieces = entry.cut(net)
        trunk, neck, classifier = (part.eval() for part in pieces[:3])
        F, tokens = trunk(x)
    except ValueError as error:
        return Cut(name, family, refused=str(error))
    lifted = lifted or (entry.note if entry.stride is None else "")
    h = neck(F, tokens)
    classes = int(last_linear(classifier).out_features)
    got = classifier(h) if classes else h
    return Cut(
        name, family, "", pieces.layer, tuple(F.shape[1:]), size, 0 if tokens is None else tokens.shape[1],
        pooling(neck), (h.shape[1], classes), _apart(got, expected), lifted, _moved(before, F),
    )  # fmt: skip


def pooling(neck: nn.Module) -> str:
    """How a neck reads F."""
    if isinstance(neck, ClassTokenNeck):
        return "the class token reads the patches, in the last block"
    if isinstance(neck, GlobalAveragePool):
        return "average"
    return "average, and layers behind it" if pools_first(neck) else "layers that weigh positions differently"


def _shake(net: nn.Module) -> None:
    for p in net.parameters():
        p.add_(0.05 * torch.randn(p.shape))
    for name, b in net.named_buffers():
        if name.endswith("running_mean"):
            b.add_(0.1 * torch.randn(b.shape))
        if name.endswith("running_var"):
            b.mul_(0.5 + torch.rand(b.shape))


def _apart(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def _moved(before: Tensor | None, F: Tensor) -> float | None:
    if before is None or before.ndim != 4:
        return None
    before = before if before.shape[1] == F.shape[1] else before.permute(0, 3, 1, 2)
    return _apart(F[..., ::2, ::2], before) if F.shape[2] == 2 * before.shape[2] else None


def described(cut: Cut) -> str:
    """A cut in a few lines."""
    if cut.refused:
        return f"{cut.name} ({cut.family}) is not cut: {cut.refused}"
    N, P, Q = cut.shape
    head = f"one linear layer, {cut.head[0]} -> {cut.head[1]}"
    if not cut.head[1]:
        head = f"none, {cut.head[0]} features: an encoder, whose classes are trained"
    aside = f"{cut.aside} token{'s' * (cut.aside > 1)}" if cut.aside else "nothing"
    rows = {
        "family": cut.family, "layer of F": cut.layer, "F": f"{N}x{P}x{Q} at {cut.size} px, stride {cut.stride:g}",
        "kept aside": aside, "pooling": cut.pooling, "head": head,
        "stride": cut.lifted or "the network's own",
        "logits": f"differ from timm's at this stride by {cut.difference:.1e} of the largest",
    }  # fmt: skip
    if cut.moved is not None:
        rows["lifted F"] = f"at every second position, differs from timm's own F by {cut.moved:.1e} of the largest"
    return "\n".join([cut.name, *(f"  {key:11} {value}" for key, value in rows.items())])


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `models`."""
    sub.add_argument("--check", metavar="NAME", help="how a trunk is cut, and whether its logits are still timm's")
    sub.add_argument("--weights", help="safetensors file for --check; default: random ones")
