"""Splits timm networks into trunk, neck and classifier, and modifies the paper's networks.

`classifier(neck(*trunk(x)))` computes what the network computed. The trunk returns (F, tokens): the feature maps, and
for transformers the other tokens that the neck needs (None elsewhere).
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Collection, Sequence
from typing import TypeVar, cast

import torch
import torch.nn.functional as nnf
from timm.models.coat import CoaT
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, fx, nn

from . import token_surgery
from .heads import MLP, Features, FlatGrid, GlobalAveragePool, Pieces, TimmNet, name_of, one_linear
from .token_surgery import ClassTokenNeck, PatchPoolNeck, TokenTrunk

__all__ = [
    "ClassTokenNeck", "Features", "FlatReduction", "PatchPoolNeck", "Pieces", "TimmNeck", "TimmNet", "Trunk",
    "features", "generic", "inception_v3", "resnet50", "vgg16", "vgg16_cam",
]  # fmt: skip

L = TypeVar("L", bound=nn.Module)
PROBE = (96, 96)  # pixels of the image that shows the shape of a network's features


class Trunk(nn.Module):
    """A convolutional timm network without its head: x -> (F [B,N,P,Q], None)."""

    def __init__(self, net: TimmNet, channels_last: bool = False) -> None:
        super().__init__()
        self.net, self.channels_last = net, channels_last

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        F = self.net.forward_features(x)
        return (F.permute(0, 3, 1, 2) if self.channels_last else F), None


class TimmNeck(nn.Module):
    """The layers of a timm network between its last feature maps and its last linear layer."""

    def __init__(self, net: TimmNet, channels_last: bool, uniform: bool) -> None:
        super().__init__()
        self.net, self.channels_last, self.uniform = net, channels_last, uniform

    def forward(self, F: Tensor, tokens: Tensor | None = None) -> Tensor:
        return self.net.forward_head(F.permute(0, 2, 3, 1) if self.channels_last else F, pre_logits=True)


def generic(net: TimmNet) -> Pieces:
    """Splits any timm network before its head and before its last linear layer.

    Raises ValueError for a network whose features are neither maps nor one grid of tokens, or whose logits are not
    those of one linear layer.
    """
    classifier = one_linear(net, isinstance(net, VisionTransformerDistilled))
    if hasattr(net, "num_prefix_tokens") and hasattr(net, "global_pool"):
        return token_surgery.tokens(net, classifier)
    F = features(net.eval())
    if isinstance(net, CoaT):
        return token_surgery.conv_attention(net, classifier)
    form = "tokens" if F.ndim == 3 else "maps"
    if form == "tokens" and (F.shape[1] < 4 or math.isqrt(F.shape[1]) ** 2 != F.shape[1]):  # of a square image
        raise ValueError(f"{name_of(net)} gives {F.shape[1]} tokens, which are no square grid: choose another trunk.")
    if form == "maps" and F.shape[1] != net.num_features and F.shape[3] == net.num_features:
        form = "channels last"
    leaf = torch.randn_like(F).requires_grad_()  # of both signs: a ReLU in front of the pooling must show
    logits = net.forward_head(leaf).detach()
    net.reset_classifier(0)
    neck = _timm_neck(net, leaf, form, below=_used_children(net, F))
    if not leaf.is_meta and logits.shape[1]:
        error = (classifier(neck(_maps(leaf, form))) - logits).abs().max()
        if error > 1e-3 * logits.abs().max():
            raise ValueError(f"{name_of(net)}'s logits are not those of its last linear layer: choose another trunk.")
    trunk = TokenTrunk(net, None, 0) if form == "tokens" else Trunk(net, form == "channels last")
    return Pieces(trunk, neck, classifier, "forward_features")


def _maps(features: Tensor, form: str) -> Tensor:
    """[B,N,P,Q] of features in any form; of tokens [B,N,PQ,1]."""
    if form == "tokens":
        return features.transpose(1, 2)[..., None]
    return features.permute(0, 3, 1, 2) if form == "channels last" else features


def features(net: TimmNet) -> Tensor:
    """The features of a blank image, of a size that the network takes: [1,N,P,Q], [1,P,Q,N] or [1,T,N].

    Raises ValueError where the network has several.
    """
    _, height, width = net.pretrained_cfg["input_size"]
    if net.pretrained_cfg.get("fixed_input_size"):
        F = net.forward_features(torch.zeros(1, 3, height, width))
    else:
        try:
            F = net.forward_features(torch.zeros(1, 3, *PROBE))
        except (RuntimeError, AssertionError, IndexError, ValueError):  # too small for it
            F = net.forward_features(torch.zeros(1, 3, height, width))
    if not isinstance(F, Tensor):
        raise ValueError(f"{name_of(net)} has {len(F)} grids of features, not one: choose another trunk.")
    if F.ndim not in (3, 4):
        raise ValueError(f"{name_of(net)} gives features of shape {tuple(F.shape)}, not maps: choose another trunk.")
    return F


def _timm_neck(net: TimmNet, leaf: Tensor, form: str, below: set[str]) -> nn.Module:
    """GlobalAveragePool where the network computes just that, else its own layers, removed from the trunk."""
    h = net.forward_head(leaf, pre_logits=True)
    (G,) = torch.autograd.grad((h * torch.randn_like(h)).sum(), leaf, retain_graph=True)
    maps, G = _maps(leaf, form), _maps(G, form)
    above = _used_children(net, h) - below
    bare = h.is_meta  # built for its names and shapes alone, of which pooling has none
    if not above and h.shape[1] == maps.shape[1] and (bare or torch.allclose(h, maps.mean((2, 3)), atol=1e-5)):
        return GlobalAveragePool()
    head = copy.copy(net)
    head._modules = {k: m for k, m in net._modules.items() if k in above or m is None or not list(m.parameters())}
    for child in above:
        net._modules[child] = nn.Identity()
    # Pooling first gives all positions the same gradient, whatever follows (ConvNeXt's LayerNorm).
    uniform = not bare and bool(torch.allclose(G, G[..., :1, :1].expand_as(G), atol=1e-6))
    return PatchPoolNeck(head, uniform) if form == "tokens" else TimmNeck(head, form == "channels last", uniform)


def _used_children(net: nn.Module, out: Tensor) -> set[str]:
    """Names of the child modules whose parameters `out` depends on."""
    named = [(name.split(".")[0], p) for name, p in net.named_parameters()]
    if not out.requires_grad:
        return set()
    grads = torch.autograd.grad(out.sum(), [p for _, p in named], retain_graph=True, allow_unused=True)
    return {child for (child, _), grad in zip(named, grads) if grad is not None}


def at_layer(own: nn.Module, layer: str, x: Tensor) -> tuple[nn.Module, nn.Module, nn.Linear]:
    """x -> F or (F, what else the head needs), F and that -> h, and the last linear layer, of the module `own.net`.

    Raises ValueError where there is no such layer, or where neither torch.fx nor torch.export can trace the module.
    """
    net = own.get_submodule("net")
    known, kind = [name for name, _ in net.named_modules()], type(net).__name__
    if not layer or layer not in known:
        near = difflib.get_close_matches(layer, known, n=3, cutoff=0.4) or known[-4:]
        raise ValueError(f"{kind} has no layer {layer!r}; nearest: {', '.join(near)}.")
    root, graph = _traced(own, x)
    inside = [n for n in graph.nodes if f"net.{layer}" in _path(n)]
    leaves = [n for n in inside if any(user not in inside for user in n.users)]
    found = next(n for n in graph.nodes if n.op == "output").args[0]
    logits = found[0] if isinstance(found, (tuple, list)) else found
    linear = own.get_submodule(_path(logits)[-1]) if isinstance(logits, fx.Node) and _path(logits) else None
    if not leaves or not isinstance(linear, nn.Linear):
        what = "does not run it" if not leaves else "does not end in a linear layer, which its logits must come from"
        raise ValueError(f"{kind} {what}: give from_module trunk and neck, two functions.")
    below, above = _halves(root, graph, leaves[-1], logits.args[0])
    return below, above, linear


def _path(node: fx.Node) -> list[str]:
    """The names of the modules that run a node, the innermost last."""
    return [path for path, _ in node.meta.get("nn_module_stack", {}).values()]


def _traced(own: nn.Module, x: Tensor) -> tuple[nn.Module, fx.Graph]:
    """The graph of a module for any number of images, by torch.fx, else by torch.export, and what has its weights."""
    try:
        return own, fx.Tracer().trace(own)
    except Exception as error:  # whatever the module's own code does with a symbolic value, as in transformers
        why = (str(error).splitlines() or [type(error).__name__])[0][:150].rstrip(".")
    try:
        shapes = ({0: torch.export.Dim("images")},)
        root = torch.export.export(own, (x,), dynamic_shapes=shapes, strict=False).module()
        return root, root.graph
    except Exception as error:
        raise ValueError(
            f"Neither torch.fx nor torch.export can trace {type(own.get_submodule('net')).__name__} ({why}): give "
            "from_module trunk and neck, two functions, instead of a layer."
        ) from error


def _halves(root: nn.Module, graph: fx.Graph, F: fx.Node, h: fx.Node) -> tuple[nn.Module, nn.Module]:
    """The way to F and what else the head needs, and that from there to h. Raises ValueError where h needs no F."""
    image = next(n for n in graph.nodes if n.op == "placeholder")
    counts = {n for n in graph.nodes if isinstance(n.meta.get("val"), torch.SymInt)}  # of images, and made of it
    batch = {n for n in counts if str(n.meta["val"]) == str(image.meta["val"].shape[0])}
    given = _behind(graph, image) - _behind(graph, F) - counts
    if h in given - {F}:
        raise ValueError("The logits do not depend on that layer: name another one.")
    above = _before([h], given | batch)
    rest = [n for n in graph.nodes if n in given and n is not F and above & set(n.users)]
    below = _before([F, *rest], {image})
    return _module(root, graph, below, [image], [F, *rest]), _module(root, graph, above, [F, *rest], [h], batch)


def _behind(graph: fx.Graph, start: fx.Node) -> set[fx.Node]:
    """The nodes that depend on one, and itself where it is the image."""
    found = {start} if start.op == "placeholder" else set()
    for n in graph.nodes:
        if any(a in found or a is start for a in n.all_input_nodes):
            found.add(n)
    return found


def _before(ends: Sequence[fx.Node], given: set[fx.Node]) -> set[fx.Node]:
    """The nodes that some nodes need, and themselves, without those given."""
    found: set[fx.Node] = set()
    todo = [n for n in ends if n not in given]
    while todo:
        found.add(n := todo.pop())
        todo += [a for a in n.all_input_nodes if a not in given and a not in found]
    return found


def _module(
    root: nn.Module, graph: fx.Graph, nodes: set[fx.Node], inputs: Sequence[fx.Node], outputs: Sequence[fx.Node],
    batch: Collection[fx.Node] = (),
) -> fx.GraphModule:  # fmt: skip
    """The nodes as a module; those in `batch` are the number of images of the first input."""
    new = fx.Graph()
    made = {n: new.placeholder(n.name) for n in inputs}
    made |= {n: new.call_function(torch.ops.aten.sym_size.int, (made[inputs[0]], 0)) for n in batch}
    for n in graph.nodes:
        if n in nodes and n not in made:
            made[n] = new.node_copy(n, made.__getitem__)
    results = tuple(made[n] for n in outputs)
    new.output(results if len(results) > 1 else results[0])
    return fx.GraphModule(root, new)


def _layer(net: nn.Module, name: str, kind: type[L]) -> L:
    """A submodule by its dotted name. Raises TypeError when it is of another type."""
    module = net.get_submodule(name)
    if not isinstance(module, kind):
        raise TypeError(f"Expected {name} to be a {kind.__name__}, got a {type(module).__name__}.")
    return module


def resnet50(net: TimmNet) -> Pieces:
    """ResNet-50 with layer4 at stride 1, undilated: 2048x14x14 at 224 px, GAP + linear."""
    for name in ("layer4.0.conv2", "layer4.0.downsample.0"):
        _layer(net, name, nn.Conv2d).stride = (1, 1)
    return generic(net)._replace(layer="layer4")


def vgg16(net: TimmNet) -> Pieces:
    """VGG-16 without its last pool (512x14x14), with its MLP behind AdaptiveAvgPool(7)."""
    fc1, fc2 = (_layer(net, f"pre_logits.{name}", nn.Conv2d) for name in ("fc1", "fc2"))
    last = _layer(net, "head.fc", nn.Linear)
    classifier = MLP(512 * 49, fc1.out_channels, last.out_features)
    for name, source in (("0", fc1), ("3", fc2), ("6", last)):
        linear = _layer(classifier, name, nn.Linear)
        linear.weight = nn.Parameter(source.weight.flatten(1))
        linear.bias = cast(nn.Parameter, source.bias)
    return Pieces(Features(_layer(net, "features", nn.Sequential)[:-1]), FlatGrid(7), classifier, "features[-2]")


def vgg16_cam(net: TimmNet) -> Pieces:
    """VGG-16 without its last pool, then a random conv6 3x3 512 -> 1024, ReLU, GAP and a random linear layer."""
    conv6 = nn.Conv2d(512, 1024, 3, padding=1)
    nn.init.kaiming_normal_(conv6.weight, nonlinearity="relu")
    if conv6.bias is not None:
        nn.init.zeros_(conv6.bias)
    layers = nn.Sequential(*_layer(net, "features", nn.Sequential)[:-1], conv6, nn.ReLU())
    return Pieces(Features(layers), GlobalAveragePool(), nn.Linear(1024, net.num_classes), "conv6")


class FlatReduction(nn.Module):
    """Inception's reduction block at stride 1, its pooling branch too."""

    def __init__(self, block: nn.Module, branches: tuple[tuple[str, ...], tuple[str, ...]], pool_first: bool) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(*(getattr(block, name) for name in names)) for names in branches)
        self.pool_first = pool_first
        for sequence in (self.left, self.right):
            conv = _layer(sequence[-1], "conv", nn.Conv2d)
            conv.stride, conv.padding = (1, 1), (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool_first:
            x = nnf.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
        return torch.cat([self.left(x), self.right(x), nnf.max_pool2d(x, 3, stride=1, padding=1)], 1)


def inception_v3(net: TimmNet) -> Pieces:
    """Inception-v3 at 14x14: a pool and Mixed_6a at stride 1, then Mixed_7a at stride 1; GAP + linear."""
    _layer(net, "Conv2d_1a_3x3.conv", nn.Conv2d).padding = (1, 1)
    for name in ("Pool1", "Pool2"):
        _layer(net, name, nn.MaxPool2d).ceil_mode = True
    six = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
    net.Mixed_6a = FlatReduction(net.get_submodule("Mixed_6a"), six, pool_first=True)
    seven = (("branch3x3_1", "branch3x3_2"), tuple(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)))
    net.Mixed_7a = FlatReduction(net.get_submodule("Mixed_7a"), seven, pool_first=False)
    return generic(net)._replace(layer="Mixed_7c")
