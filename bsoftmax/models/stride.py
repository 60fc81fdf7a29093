"""Lifts the output stride of convolutional networks that timm builds at one stride only.

The layers that halve the maps last get stride 1, and the kernels behind them are dilated by 2 (Yu and Koltun, 2016), as
timm's own `output_stride` does: at every second position the maps are those of the network before, for any weights, but
for layers that average over all positions (squeeze-and-excitation), which now see four times as many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from timm.models.vgg import VGG
from torch import Tensor, nn

from . import surgery
from .heads import TimmNet

ATTENTION = re.compile(r"Attn|Attention|MLA|MHSA|Mhsa|Window", re.ASCII)  # class names of layers of a fixed grid
TOKENS = "its tokens form one grid, which no layer halves"
Pool = nn.MaxPool2d | nn.AvgPool2d
Size = tuple[int, int]


class Call(NamedTuple):
    """One run of a module: the heights and widths of its maps before and after, None of what are no maps."""

    module: nn.Module
    before: Size | None
    after: Size | None


class Stays(Exception):  # noqa: N818 (not an error)
    """Why a stride stays as it is, as the end of a sentence."""


def lift(net: TimmNet, stride: int) -> str:
    """Lowers the output stride of a network in place to `stride`, where it can; says what was changed, or why not.

    Returns an empty text where the stride is no larger than that already.
    """
    if isinstance(net, VGG):
        return _without_last_pool(net) if stride < 32 else ""
    changed: list[str] = []
    undo: list[Callable[[], None]] = []
    try:
        if hasattr(net, "num_prefix_tokens"):
            raise Stays(TOKENS)
        while (step := _Step(net)).stride > stride:
            changed.append(step.apply(undo))
            if _grid_now(net) != (2 * step.grid[0], 2 * step.grid[1]):
                raise Stays("its layers do not fit together at another stride")
    except Stays as reason:
        while undo:
            undo.pop()()
        return f"not lifted: {reason}"
    return "; ".join(changed)


def _grid_now(net: TimmNet) -> Size | None:
    try:
        return _Step(net).grid
    except (RuntimeError, AssertionError):  # maps of different sizes are added or joined
        return None


def _without_last_pool(net: nn.Module) -> str:
    features = net.get_submodule("features")
    net.features = features[:-1]  # type: ignore[index]
    net.pre_logits = nn.Sequential(nn.AdaptiveAvgPool2d(7), net.get_submodule("pre_logits"))
    return "the last pool removed, its maps averaged to 7x7 before the dense layers (the paper's VGG)"


class _Step:
    """The layers that halve a network's maps last, and those behind them, seen on a blank image."""

    @torch.no_grad()
    def __init__(self, net: TimmNet) -> None:
        self.net = net
        with recorded(net) as calls:
            F = surgery.features(net.eval())
        if F.ndim != 4:
            raise Stays(TOKENS)
        channels_last = F.shape[1] != net.num_features and F.shape[3] == net.num_features
        self.grid: Size = (F.shape[1], F.shape[2]) if channels_last else (F.shape[2], F.shape[3])
        image = next(call.before for call in calls if call.before)
        self.stride, self.calls = image[0] / self.grid[0], calls

    def apply(self, undo: list[Callable[[], None]]) -> str:
        """Removes the halving; raises Stays where that cannot be done."""
        P, Q = self.grid
        halves = [n for n, c in enumerate(self.calls) if (c.before, c.after) == ((2 * P, 2 * Q), (P, Q))]
        last = [self.calls[n].module for n in halves if not list(self.calls[n].module.children())]
        if not last:
            raise Stays("no convolution and no pooling layer of its own halves its maps last")
        behind = self.calls[halves[0] :]
        for call in behind:
            if ATTENTION.search(name := type(call.module).__name__):
                raise Stays(f"its last stage attends over a grid of one size ({name})")
        for module in dict.fromkeys(last):
            if any(c.module is module and (c.before, c.after) != ((2 * P, 2 * Q), (P, Q)) for c in self.calls):
                raise Stays("one of its layers serves at several sizes")
            self._at_stride_1(module, undo)
        spread = [c.module for c in behind if c.before == (P, Q) and _reaches_neighbours(c.module)]
        for module in dict.fromkeys(spread):
            _dilate(module, undo)
        names = {module: name for name, module in self.net.named_modules()}
        first = names.get(last[0], "a pooling layer")
        more = f" and {len(set(last)) - 1} more" if len(set(last)) > 1 else ""
        return f"{first}{more} at stride 1, {len(set(spread))} layers behind dilated by 2"

    def _at_stride_1(self, module: nn.Module, undo: list[Callable[[], None]]) -> None:
        if not isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)) or _pair(module.stride) != (2, 2):
            raise Stays(f"a {type(module).__name__} halves its maps last, which has no stride to lift")
        kernel, padding = _pair(module.kernel_size), _pair(module.padding)
        right = [k - 1 - 2 * p for k, p in zip(kernel, padding)]  # what is missing behind the last position
        if _pads_itself(module) or not any(right):
            _set(undo, module, stride=1 if isinstance(module, Pool) else (1, 1))
        elif isinstance(module, nn.Conv2d):
            if any((k - 1) // 2 != p for k, p in zip(kernel, padding)):
                raise Stays("its last halving convolution has no padding")
            _set(undo, module, stride=(1, 1), padding="same")
        elif min(right) < 0:
            raise Stays("its last halving pool has more padding than kernel")
        else:
            name = next(name for name, child in self.net.named_modules() if child is module)
            _set(undo, module, stride=1, ceil_mode=False)
            self.net.set_submodule(name, nn.Sequential(nn.ReplicationPad2d((0, right[1], 0, right[0])), module))
            undo.append(lambda: self.net.set_submodule(name, module))


def _pads_itself(module: nn.Module) -> bool:
    """Whether timm's Conv2dSame and the like, whose padding follows from stride and dilation."""
    return type(module).__name__.endswith("Same")


def _reaches_neighbours(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)) and _pair(module.kernel_size) != (1, 1)


def _dilate(module: nn.Module, undo: list[Callable[[], None]]) -> None:
    if not isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
        raise Stays("a layer behind averages neighbours, which cannot be dilated")
    if _pair(module.stride) != (1, 1):
        raise Stays("a layer behind its last maps has a stride")
    dilation, padding = (tuple(2 * n for n in _pair(value)) for value in (module.dilation, module.padding))
    _set(undo, module, dilation=dilation, **({} if _pads_itself(module) else {"padding": padding}))


def _set(undo: list[Callable[[], None]], module: nn.Module, **values: Any) -> None:
    before = {name: getattr(module, name) for name in values}
    undo.append(lambda: module.__dict__.update(before))
    for name, value in values.items():
        setattr(module, name, value)


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        raise Stays("its padding is given by a word")
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@contextmanager
def recorded(net: nn.Module) -> Iterator[list[Call]]:
    """Inside, every run of a module of the network is noted in the list given, in their order of ending."""
    calls: list[Call] = []
    modules = [m for m in net.modules() if m is not net and not isinstance(m, torch.jit.ScriptModule)]
    for module in modules:
        module.__dict__["forward"] = _noting(module, module.forward, calls)
    try:
        yield calls
    finally:
        for module in modules:
            del module.__dict__["forward"]


def _noting(module: nn.Module, forward: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    def run(*args: Any, **more: Any) -> Any:
        out = forward(*args, **more)
        calls.append(Call(module, _size(args[0] if args else None), _size(out)))
        return out

    return run


def _size(x: object) -> Size | None:
    return (x.shape[2], x.shape[3]) if isinstance(x, Tensor) and x.ndim == 4 else None
