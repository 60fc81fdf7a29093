"""How long maps take, in forward passes of the network they explain.

Protocol: CPU, 2 threads, 224 px, random weights (timings do not depend on them), from the preprocessed x. Cases are
interleaved (see timing.py). "One forward pass" is the same network from image to logits: trunk, neck and softmax
classifier under inference_mode. "Ours" builds a View (so it includes the trunk pass), takes the predicted class and
makes the signed maps of every method for both heads, the sigmoid branch clamped. pytorch-grad-cam makes the same maps:
one network per head (trunk and that head), objects made beforehand, every weight asking for a gradient as in any
freshly built network; it has no CAM, which is counted as one more Grad-CAM. "Its trunk frozen" is kinder than its
documentation: no weight but the last BatchNorm's asks for a gradient, so that its backward pass ends where ours does.

    python benchmarks/speed.py [--rounds 15] [--threads 2] [--cpu]

--cpu counts processor time instead of the wall clock's, for a machine that is busy with something else; use one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from history import record
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timing import Times, interleaved, machine, ms, ratio, table, verdict
from torch import Tensor, nn

from bsoftmax import DualBranch, View, class_map, explain
from bsoftmax.cams.methods import METHODS, unavailable

FIVE = ("cam", "gradcam", "gradcam++", "xgradcam", "layercam")
THEIRS = (GradCAM, GradCAM, GradCAMPlusPlus, XGradCAM, LayerCAM)  # the first stands for CAM
HEADS = ("softmax", "sigmoid")
Clock = Callable[[], float]


def dual(trunk: str) -> DualBranch:
    torch.manual_seed(0)
    model = DualBranch.pretrained(trunk, weights=None)
    model.add_branch("clone").requires_grad_(False)
    return model.eval()


def picture(model: DualBranch, batch: int = 1) -> Tensor:
    side = model.spec.preprocessing.size
    return torch.randn(batch, 3, side, side)


def forward(model: DualBranch, x: Tensor) -> Callable[[], Tensor]:
    @torch.inference_mode()
    def run() -> Tensor:
        return model.softmax(model.neck(*model.trunk(x)))

    return run


def maps(model: DualBranch, x: Tensor, methods: tuple[str, ...]) -> Callable[[], list[Tensor]]:
    def run() -> list[Tensor]:
        view = View(model, x)
        k = view.logits("softmax").argmax(1)
        sources = [view.evidence(head, k) for head in HEADS]
        return [class_map(source, method) for source in sources for method in methods]

    return run


class OneHead(nn.Module):
    """A network as other tools want it: one module from image to logits."""

    def __init__(self, model: DualBranch, head: str) -> None:
        super().__init__()
        self.trunk, self.neck, self.classifier = model.trunk, model.neck, model.classifier(head)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.neck(*self.trunk(x)))


def peers(model: DualBranch, x: Tensor, k: int, frozen: bool) -> Callable[[], None]:
    """The same maps by pytorch-grad-cam."""
    layer = model.trunk.net.layer4[-1]
    tools = [Tool(OneHead(model, head), [layer]) for head in HEADS for Tool in THEIRS]

    def run() -> None:
        model.requires_grad_(not frozen)
        layer.bn3.requires_grad_(True)
        for tool in tools:
            tool(x, [ClassifierOutputTarget(k)])
            tool.model.zero_grad(set_to_none=True)
        model.requires_grad_(False)

    return run


def resnet(rounds: int, clock: Clock) -> dict[str, float]:
    model = dual("resnet50")
    x = picture(model)
    k = int(forward(model, x)().argmax())
    ours = interleaved({"forward": forward(model, x), "ours": maps(model, x, FIVE)}, rounds, clock)
    cases = {"ours": maps(model, x, FIVE), "theirs": peers(model, x, k, False), "frozen": peers(model, x, k, True)}
    both = interleaved(cases, max(3, rounds // 4), clock)
    one, times = ratio(ours, "ours", "forward"), ratio(both, "theirs", "ours")
    rows = [
        ["one forward pass", f"{ms(ours, 'forward'):.0f}", "1.00", ""],
        ["five methods x two heads", f"{ms(ours, 'ours'):.0f}", f"{one:.2f}", verdict(one, 1.15)],
    ]
    print(f"\n**ResNet-50**, F {tuple(View(model, x).F.shape[1:])}\n")
    print(table(["", "ms", "forward passes", "target"], rows), "\n")
    print(table(["the same ten maps", "ms", "slower than ours", "target of ours"], [
        ["bsoftmax", f"{ms(both, 'ours'):.0f}", "1.0", ""],
        ["pytorch-grad-cam", f"{ms(both, 'theirs'):.0f}", f"{times:.1f}", verdict(times, 20, least=True)],
        ["pytorch-grad-cam, its trunk frozen", f"{ms(both, 'frozen'):.0f}", f"{ratio(both, 'frozen', 'ours'):.1f}", ""],
    ]))  # fmt: skip
    return {"ResNet-50, five methods x two heads / forward": one, "ResNet-50, ours / pytorch-grad-cam": 1 / times}


def each_method(model: DualBranch, x: Tensor) -> dict[str, Callable[[], object]]:
    """Every quick method alone, for both heads, on a view whose trunk has run."""

    def one(method: str) -> Callable[[], object]:
        return lambda: [class_map(view.evidence(head, 0), method) for head in HEADS]

    view = View(model, x)
    quick = (key for key, method in METHODS.items() if not method.slow and unavailable(model, key) is None)
    return {key: one(key) for key in quick}


def gradients(model: DualBranch, x: Tensor, rounds: int, clock: Clock) -> Times:
    """G with classifiers that ask for weight gradients and with classifiers that do not: the same work."""
    view = View(model, x)

    def G(asked: bool) -> Callable[[], Tensor]:
        def run() -> Tensor:
            model.softmax.requires_grad_(asked)
            made = view.evidence("softmax", 0).G
            model.softmax.requires_grad_(False)
            return made

        return run

    def weights_too() -> None:
        model.softmax.requires_grad_(True)
        F = view.F.detach().requires_grad_()
        model.softmax(model.neck(F))[:, 0].sum().backward()
        model.softmax.zero_grad(set_to_none=True)
        model.softmax.requires_grad_(False)

    return interleaved({"frozen": G(False), "trainable": G(True), "all": weights_too}, rounds, clock)


def vgg(rounds: int, clock: Clock) -> dict[str, float]:
    model = dual("vgg16")
    x = picture(model)
    four = tuple(method for method in FIVE if unavailable(model, method) is None)
    times = interleaved({"forward": forward(model, x), "ours": maps(model, x, four)}, rounds, clock)
    value = ratio(times, "ours", "forward")
    print(f"\n**VGG-16 with its MLP**, F {tuple(View(model, x).F.shape[1:])}\n")
    print(table(["", "ms", "forward passes", "target"], [
        ["one forward pass", f"{ms(times, 'forward'):.0f}", "1.00", ""],
        [f"{', '.join(METHODS[m].label for m in four)} x two heads", f"{ms(times, 'ours'):.0f}", f"{value:.2f}",
         verdict(value, 3)],
    ]), "\n")  # fmt: skip
    G = gradients(model, x, rounds, clock)
    print(table(["gradient of one logit", "ms", "of the first"], [
        ["at F, classifier frozen", f"{ms(G, 'frozen'):.0f}", "1.0"],
        ["at F, classifier trainable", f"{ms(G, 'trainable'):.0f}", f"{ratio(G, 'trainable', 'frozen'):.1f}"],
        ["at F and at the weights (never done)", f"{ms(G, 'all'):.0f}", f"{ratio(G, 'all', 'frozen'):.1f}"],
    ]))  # fmt: skip
    return {"VGG-16, four methods x two heads / forward": value}


def methods_alone(trunk: str, rounds: int, clock: Clock) -> None:
    model = dual(trunk)
    x = picture(model)
    times = interleaved({"forward": forward(model, x), **each_method(model, x)}, rounds, clock)
    label = {key: method.label for key, method in METHODS.items()}
    rows = [[label.get(m, m), f"{ms(times, m):.1f}", f"{ratio(times, m, 'forward'):.3f}"] for m in times]
    print(f"\n**{trunk}**, one method alone x two heads, trunk done\n")
    print(table(["", "ms", "forward passes"], rows))


def batch(rounds: int, clock: Clock) -> None:
    model = dual("resnet10t")
    x = picture(model, 32)
    cases = {"together": lambda: explain(model, x), "alone": lambda: [explain(model, one[None]) for one in x]}
    times = interleaved(cases, rounds, clock)
    rows = [
        [label, f"{ms(times, key):.0f}", f"{32_000 / ms(times, key):.0f}"]
        for key, label in (("together", "a batch of 32"), ("alone", "32 single calls"))
    ]
    print("\n**explain, resnet10t**\n")
    print(table(["", "ms", "images/s"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu else time.perf_counter
    few = max(3, options.rounds // 3)
    print(machine(options.threads) + (", processor time" if options.cpu else ""))
    ratios = resnet(options.rounds, clock) | vgg(options.rounds, clock)
    batch(few, clock)
    for trunk in ("resnet10t", "resnet50", "vgg16"):
        methods_alone(trunk, few, clock)
    record(f"speed, {options.threads} threads{', processor time' if options.cpu else ''}", ratios)


if __name__ == "__main__":
    main()
