"""Opens models: bundled ones, checkpoints and pretrained trunks by name, and any other module by `from_module`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from ..data.sets import ImageSet
from ..utils.text import quoted
from . import checkpoints, class_names, surgery
from .backbones import BACKBONES, Parts, Preprocessing, WeightsError, is_trunk, weights_folder
from .bundled import BUNDLED, bundled, has_format, safetensors_in, unreadable
from .dual_branch import DualBranch
from .heads import GlobalAveragePool, Pieces, last_linear, resized
from .spec import MODULE, Spec
from .token_surgery import grid_of

__all__ = ["DEFAULT", "bundled", "from_module", "local_trunks", "matched", "names", "open_model", "unreadable"]

DEFAULT = "imagenet"


def local_trunks() -> list[str]:
    """timm names of the trunks with local weights that are not in BACKBONES."""
    entries = {entry.timm for entry in BACKBONES.values()}
    stems = [path.stem for path in safetensors_in(weights_folder()) if has_format(path, None)]
    return [stem for stem in stems if stem not in entries and is_trunk(stem)]


def names() -> list[str]:
    """Names that can be opened: bundled models, complete trunks of BACKBONES, trunks with local weights."""
    complete = [name for name, entry in BACKBONES.items() if entry.complete]
    return list(dict.fromkeys([*bundled(), *complete, *local_trunks()]))


def open_model(
    name: str | Path = DEFAULT, weights: str | Path | None = "hub", unfilled: bool = False, headless: bool = False
) -> DualBranch:
    """Opens a bundled model, a checkpoint file, or a pretrained trunk by its timm name (`weights`: a file for it).

    `unfilled`: also opens a trunk with layers without public weights, which are random and must be trained; `headless`:
    also an encoder without a softmax head (DINOv2, DINOv3), which has no classes until `for_classes` gives it some.
    Raises CheckpointError, WeightsError or ValueError, each with one sentence that says what to do.
    """
    path = bundled().get(str(name), Path(name))
    if path.suffix == ".safetensors" or path.is_file():
        model = DualBranch.load(path)
        if str(name) in bundled() and model.spec.origin.get("trunk", "file") == "file":
            model.spec.origin["trunk"] = f"{BUNDLED}{name}"  # a checkpoint of its heads alone can find it again
        return model
    if not unfilled and str(name) in BACKBONES and not BACKBONES[str(name)].complete:
        raise WeightsError(
            f"{str(name)!r} has layers that no public weights fill: open a checkpoint trained from it, or train it "
            "with --stage1 finetune."
        )
    model = DualBranch.pretrained(str(name), weights)
    if not headless and not model.classes:
        raise WeightsError(
            f"{str(name)!r} is an encoder without a softmax head, so there is nothing to explain yet: train heads on "
            "it, with `bsoftmax train` or on the page, and open what that writes."
        )
    return model


def from_module(
    net: nn.Module, layer: str = "", *, classes: Sequence[str] | None = None, size: int = 224,
    mean: Sequence[float] = Preprocessing.mean, std: Sequence[float] = Preprocessing.std,
    trunk: Callable[[Tensor], Tensor] | None = None, neck: Callable[[Tensor], Tensor] | None = None,
    heads: str | Path | None = None,
) -> DualBranch:  # fmt: skip
    """Any image classifier as a dual-branch model: what runs up to and including `layer` gives F, the rest is the head.

    `net` maps images [B,3,S,S] to logits [B,C], or to an object with them as `.logits` (transformers), and its logits
    are one linear layer's. F is the output of `layer` (a name in `net.named_modules()`): maps [B,N,P,Q] or [B,P,Q,N],
    or tokens [B,T+PQ,N], whose first T are kept aside. torch.fx or torch.export splits the module; where neither can
    trace it, `trunk` (x -> F) and `neck` (F -> h, what the last linear layer of `net` reads) say the same, instead of
    `layer`. The module itself is used, not a copy: frozen, and in eval mode.

    `classes`: the names of the logits; `size`, `mean`, `std`: of the input. The model saves its heads alone; `heads`:
    such a file, for the module whose weights it was trained on. Raises ValueError where the parts do not give the
    module's own logits, or where there is no such layer; CheckpointError where the heads are another module's.
    """
    (m0, m1, m2), (s0, s1, s2) = mean, std
    pieces = _split(net, layer, size, trunk, neck)
    count = last_linear(pieces.classifier).out_features
    names = tuple(classes or (f"class {k}" for k in range(count)))
    if len(names) != count:
        raise ValueError(f"The module has {count} classes, and {len(names)} names came with it: name each.")
    name, pre = type(net).__name__, Preprocessing(size, (m0, m1, m2), (s0, s1, s2))
    spec = Spec(name, names, pre, pieces.layer, origin={"trunk": MODULE, "softmax": MODULE})
    model = DualBranch(Parts(pieces.trunk, pieces.neck, pieces.classifier, pre, pieces.layer, names), spec)
    return model if heads is None else _with_heads(model, Path(heads))


def _with_heads(model: DualBranch, path: Path) -> DualBranch:
    """The same trunk with the heads of a file written by `save`. Raises CheckpointError where they are another's."""
    tensors, meta = checkpoints.read(path)
    spec = dataclasses.replace(Spec.from_metadata(meta), trunk=model.spec.trunk)
    if meta.get("trunk_sha256") != model.trunk_hash():
        raise checkpoints.CheckpointError(
            f"{quoted(path.name)} was trained on other weights than these of {quoted(spec.trunk)}: bring those."
        )
    checkpoints.check_classes({k: tuple(v.shape) for k, v in tensors.items()}, len(spec.classes), path.name)
    head = resized(model.softmax, len(spec.classes)) if spec.classes != model.classes else model.softmax
    parts = Parts(model.trunk, model.neck, head, spec.preprocessing, spec.layer, spec.classes)
    filled = DualBranch(parts, spec).to(model.device)
    if any(key.startswith("sigmoid.") for key in tensors):
        filled.add_branch().requires_grad_(False)
    filled.fill(tensors, path.name)
    return filled.eval()


def matched(images: ImageSet, classes: tuple[str, ...]) -> ImageSet | None:
    """The set with a model's labels; None when a class of one of its images is not among the model's.

    Names may differ in case, and in underscores for spaces; classes of ImageNet-1K may have any name of their WordNet
    synset, or its ID.
    """
    number = class_names.known_names(classes)
    found = [number.get(name, number.get(class_names.plain(name), -1)) for name in images.classes]
    labels = tuple(found[k] for k in images.labels)
    return None if -1 in labels else dataclasses.replace(images, labels=labels, classes=classes)


class ModuleTrunk(nn.Module):
    """The layers up to F: x -> (F [B,N,P,Q], what else of the image the head needs [B,1,L], or None).

    `run` gives the layer's output, alone or before the rest; the first `prefix` tokens belong to the rest. `form`: of
    that output, "maps" [B,N,P,Q], "channels last" [B,P,Q,N] or "tokens" [B,T+PQ,N].
    """

    def __init__(self, net: nn.Module, run: Callable[[Tensor], Any], form: str, prefix: int) -> None:
        super().__init__()
        self.net, self.run, self.form, self.prefix = net, [run], form, prefix

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        out = self.run[0](x)
        F, rest = (out[0], list(out[1:])) if isinstance(out, tuple) else (out, [])
        if self.form == "channels last":
            F = F.permute(0, 3, 1, 2)
        elif self.form == "tokens":
            rest += [F[:, : self.prefix]] if self.prefix else []
            patches = F[:, self.prefix :]
            F = patches.transpose(1, 2).unflatten(2, grid_of(patches.shape[1], x.shape[2], x.shape[3]))
        return F, torch.cat([r.flatten(1) for r in rest], 1)[:, None] if rest else None


class ModuleNeck(nn.Module):
    """The layers between F and the last linear one; `shapes`: of what the trunk packed behind F."""

    def __init__(
        self, net: nn.Module, run: Callable[..., Tensor], form: str, shapes: list[tuple[int, ...]], prefix: int
    ) -> None:
        super().__init__()
        self.net, self.run, self.form, self.shapes, self.prefix, self.uniform = net, [run], form, shapes, prefix, False

    def forward(self, F: Tensor, tokens: Tensor | None = None) -> Tensor:
        rest: list[Tensor] = []
        if tokens is not None:
            parts = tokens[:, 0].split([math.prod(shape) for shape in self.shapes], 1)
            rest = [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes)]
        if self.form == "channels last":
            F = F.permute(0, 2, 3, 1)
        elif self.form == "tokens":
            F = torch.cat([*([rest.pop()] if self.prefix else []), F.flatten(2).transpose(1, 2)], 1)
        return self.run[0](F.clone(), *rest)  # layers behind may be in place (torchvision's DenseNet and VGG)


class _Logits(nn.Module):
    """A module whose output is its logits, also where they are a field of what it returns (transformers)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        if not isinstance(out, (Tensor, fx.Proxy)) and not hasattr(out, "logits"):
            raise ValueError(
                f"{type(self.net).__name__} returns a {type(out).__name__}, not logits [B,C] or an object with them as "
                ".logits: wrap it in a module that returns them alone."
            )
        return cast(Tensor, out if isinstance(out, (Tensor, fx.Proxy)) else out.logits)


Run = Callable[..., Any]


@torch.no_grad()
def _split(net: nn.Module, layer: str, size: int, trunk: Run | None, neck: Run | None) -> Pieces:
    """Splits a module at a layer, or as `trunk` and `neck` say; raises ValueError where the logits are not its own."""
    net, own = net.eval().requires_grad_(False), _Logits(net)
    param = next(net.parameters())
    x = torch.rand(2, 3, size, size, dtype=param.dtype, device=param.device)
    logits = own(x)
    if trunk is not None and neck is not None:
        below, above, classifier = net, nn.Module(), last_linear(net)
    else:
        below, above, classifier = surgery.at_layer(own, layer, x)
        trunk, neck = below, above
    out = trunk(x)
    F, rest = (out[0], list(out[1:])) if isinstance(out, tuple) else (out, [])
    form, prefix = _form(F, layer or "trunk")
    shapes = [tuple(r.shape[1:]) for r in rest] + ([(prefix, F.shape[2])] if prefix else [])
    whole, made = ModuleTrunk(below, trunk, form, prefix), ModuleNeck(above, neck, form, shapes, prefix)
    maps, tokens = whole(x)
    if not torch.allclose(classifier(made(maps, tokens)), logits, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"Trunk, neck and last linear layer do not give {type(net).__name__}'s logits: check the parts."
        )
    _, G = _at(made, torch.rand_like(maps), tokens)
    if not bool(G.abs().amax((0, 1)).gt(0).all()):
        raise ValueError(
            f"The logits do not depend on every position of {layer or 'trunk'!r}: name an earlier layer (where a class "
            "token reads patches: the first norm of the last block)."
        )
    leaf = torch.randn_like(maps)  # of both signs: a ReLU in front of the pooling must show
    h, G = _at(made, leaf, tokens)
    made.uniform = bool(torch.allclose(G, G[..., :1, :1].expand_as(G), atol=1e-6 * float(G.abs().max())))
    plain = not rest and h.shape == leaf.shape[:2] and torch.allclose(h, leaf.mean((2, 3)), atol=1e-5)
    return Pieces(whole, GlobalAveragePool() if plain else made, classifier, layer or "trunk")


def _at(neck: nn.Module, F: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a neck makes of maps, and the gradient of its sum, each number weighted at random, at them."""
    F.requires_grad_()
    with torch.enable_grad():
        h = neck(F, tokens)
        (G,) = torch.autograd.grad((h * torch.rand_like(h)).sum(), F)
    return h.detach(), G


def _form(F: Tensor, layer: str) -> tuple[str, int]:
    """The form of a layer's output and its tokens before the patches. Raises ValueError where it is no map."""
    shape = tuple(F.shape[1:])
    if len(shape) == 3 and min(shape[1:]) > 1:
        return ("channels last" if shape[0] == shape[1] != shape[2] else "maps"), 0
    if len(shape) == 2 and shape[0] > 3:
        return "tokens", shape[0] - math.isqrt(shape[0]) ** 2
    raise ValueError(f"{layer!r} gives features of shape {(*shape,)} an image, not maps or tokens: name another layer.")
