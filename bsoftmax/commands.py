"""What the commands do: each reads its options, calls the library, prints what it made and where."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from . import backbones, cams, checkpoints, effects, zoo
from .data import load_squares, read_splits
from .export import whole
from .figure import Panel, Row, figure, save_figure, save_maps
from .images import read_rgb
from .model import DualBranch, Spec
from .pretrain import Recipe, averaged_weights, pretrain, targets
from .sources import SOURCES
from .sweep import before_after, write_gif
from .training import BranchConfig, extract, fit, top1
from .view import Tick, View

SHOWN_SIDE = 1024  # pixels kept of a picture's longer side for figures


def _bar(total: int, what: str) -> tqdm:
    return tqdm(total=total, desc=what, file=sys.stderr, dynamic_ncols=True, leave=False)


def _ticker(bar: tqdm) -> Tick:
    return lambda done, total: bar.update(done - bar.n)


def _look(options: argparse.Namespace, model: DualBranch, path: str) -> tuple[Image.Image, View, int]:
    """Picture, view and class of the commands that look at one picture at a time."""
    image = read_rgb(path, side=SHOWN_SIDE)
    view = View(model, model.preprocess(image))
    p = view.logits("softmax").softmax(1)[0]
    k = int(p.argmax()) if options.class_name is None else model.class_number(options.class_name)
    print(f"{path}: {model.classes[int(p.argmax())]} {p.max():.3f}, explained: {model.classes[k]} {p[k]:.3f}")
    return image, view, k


def run_explain(options: argparse.Namespace) -> None:
    """Figure (.png, .pdf) or raw maps (.npz) of images under methods and sources."""
    model = zoo.open_model(options.model, options.weights)
    methods = options.method or [cams.default(model)]
    sources = options.source or ["softmax", "sigmoid" if model.sigmoid is not None else "log-odds"]
    clamp = {"paper": None, "on": True, "off": False}[options.clamp]
    rows, maps, names = [], {}, [Path(path).name for path in options.images]
    for path in tqdm(options.images, desc="explain", file=sys.stderr, disable=len(options.images) < 2, leave=False):
        name = path if names.count(Path(path).name) > 1 else Path(path).name  # two folders may hold one name
        image, view, k = _look(options, model, path)
        for method in methods:
            panels = []
            for source in sources:
                S = cams.class_map(view.evidence(source, k), method, clamp)[0].numpy()
                maps[f"{name}|{model.classes[k]}|{method}|{source}"] = S
                panels.append(Panel(SOURCES[source].title, cams.METHODS[method].label, S))
            rows.append(Row(image, f"{model.classes[k]}", tuple(panels)))
    if Path(options.out).suffix.lower() == ".npz":
        save_maps(
            options.out, maps, {"model": options.model, "clamp": options.clamp, "frozen_sha256": model.frozen_hash()}
        )
    else:
        save_figure(figure(rows, scale=options.scale), options.out)
    print(f"wrote {options.out}")


def run_pretrain(options: argparse.Namespace) -> None:
    """Trains a trunk and its softmax head from nothing and writes them as one file."""
    train, val = read_splits(options.data)
    recipe = Recipe(seed=options.seed)
    size = max(stage.size for stage in recipe.stages)
    state = Path(options.out).with_suffix(".state")
    tensors = []
    for split, name in ((train, "train"), (val, "val")):
        with _bar(len(split), f"decode {name}") as bar:
            tensors.append((load_squares(split, size, _ticker(bar)), targets(split)))
    score = None
    with _bar(0, "train") as bar:
        for step in pretrain(*tensors, len(train.classes), recipe, state, options.device):
            bar.total, bar.n = step.epochs * step.steps, step.epoch * step.steps + step.step
            bar.set_postfix_str(f"epoch {step.epoch + 1}/{step.epochs} loss {step.loss:.3f}", refresh=True)
            if step.val_accuracy is not None:
                score = step.val_accuracy
                bar.write(f"epoch {step.epoch + 1}/{step.epochs}: val top-1 {score:.2f} %, {step.seconds:.0f} s")
    made = {"command": options.command_line, "recipe": recipe.describe(), "data": _described(train, val)}
    stride = recipe.stages[-1].output_stride
    parts = backbones.build(recipe.trunk, None, len(train.classes), stride)
    spec = Spec(recipe.trunk, train.classes, parts.preprocessing, parts.layer, stride, {}, {"trunk": made})
    model = DualBranch(parts, spec)
    model.load_state_dict(averaged_weights(state), strict=False)
    model.save(options.out, half=True)
    print(f"wrote {options.out}; val top-1 in the last epoch: {'not run' if score is None else f'{score:.2f} %'}")


def _described(*splits) -> dict[str, dict]:
    return {s.root.name: {"images": len(s), "sha256": s.fingerprint()} for s in splits}


def run_train(options: argparse.Namespace) -> None:
    """Trains the sigmoid branch of a model on class folders and writes model and branch as one file."""
    model = zoo.open_model(options.model, options.weights)
    train, val = read_splits(options.data)
    if train.classes != model.classes:
        raise ValueError(
            f"The class folders of {options.data!r} are not the {len(model.classes)} classes of this model."
        )
    config = BranchConfig(options.views, options.epochs, lr=options.lr, init=options.init, seed=options.seed)
    before = model.frozen_hash()
    vectors = []
    for split, views in ((train, config.views), (val, 1)):
        with _bar(len(split), f"features {split.root.name}") as bar:
            vectors.append(extract(model, split, views, config.seed, tick=_ticker(bar)))
    h, (h_val,), y, y_val = vectors[0], vectors[1], targets(train), targets(val)
    torch.manual_seed(config.seed)
    branch = model.add_branch(config.init)
    with _bar(config.epochs, "branch") as bar:
        for epoch in fit(branch, h, y, config, (h_val, y_val)):
            bar.update()
            bar.set_postfix_str(f"loss {epoch.loss:.4f} accuracy {epoch.accuracy:.2f} %")
    branch.requires_grad_(False)
    if model.frozen_hash() != before:
        raise RuntimeError("training the branch changed frozen weights")
    metrics = {
        "images": len(val),
        "softmax_top1": top1(model.softmax, h_val, y_val),
        "sigmoid_top1": top1(branch, h_val, y_val),
    }
    made = {"command": options.command_line, "config": dataclasses.asdict(config), "data": _described(train, val)}
    training = {**model.spec.training, "sigmoid": {**made, "loss": epoch.loss}}
    model.spec = dataclasses.replace(model.spec, training=training, metrics={"val": metrics})
    model.save(options.out, half=options.half)
    print("val top-1: softmax {softmax_top1:.2f} %, branch {sigmoid_top1:.2f} %, {images} images".format(**metrics))
    print(f"frozen weights unchanged: {before}\nwrote {options.out} (sha256 {checkpoints.file_hash(options.out)})")


def run_models(options: argparse.Namespace) -> None:
    """Lists what --model accepts."""
    for name, path in zoo.bundled().items():
        meta = checkpoints.read(path)[1]
        print(
            f"{name:14} bundled: {meta['trunk']}, {len(meta['classes'])} classes, {json.dumps(meta.get('metrics', {}))}"
        )
    for name, entry in backbones.BACKBONES.items():
        local = backbones.local_weights(entry.timm)
        where = f"local file {local}" if local else f"weights {entry.timm} from the Hub"
        print(f"{name:14} {entry.note}; {where if entry.complete else 'some layers fresh: train it'}")
    print("Any other timm name, or the path of a .safetensors checkpoint, works too.")


def run_distort(options: argparse.Namespace) -> None:
    """Before and after a distortion that softmax cannot see: figure (.png, .pdf) or sweep (.gif), and its numbers."""
    model = zoo.open_model(options.model, options.weights)
    method = options.method or cams.default(model)
    image, view, k = _look(options, model, options.image)
    chosen = {f.name: getattr(options, f.name) for f in dataclasses.fields(effects.Distortion)}
    distortion = effects.Distortion(**chosen | {"channels": tuple(options.channels or ())})
    outcome = effects.distort(view, k, method, distortion)
    out, label = Path(options.out), model.classes[k].replace("_", " ")
    if out.suffix.lower() == ".gif":
        with _bar(0, "sweep") as bar:
            write_gif(out, image, view, k, method, distortion, _ticker(bar))
    else:
        save_figure(before_after(image, label, cams.METHODS[method].label, outcome, distortion), out)
    said = {"image": options.image, "model": options.model, "class": model.classes[k], "method": method}
    said |= {"distortion": effects.protocol(distortion), "tau": effects.TAU, **outcome.numbers}
    with whole(out.with_suffix(".json")) as file:
        file.write(json.dumps(said, indent=2).encode())
    print(f"{distortion.equation()}: max |dp| {outcome.numbers['max_dp']:.1e}")
    for source, moved in outcome.numbers["maps"].items():
        print(f"  {source:9} rank correlation {moved['spearman']:.3f}, box IoU {moved['box_iou']:.3f}")
    print(f"wrote {out} and {out.with_suffix('.json').name}")


def run_diagnose(options: argparse.Namespace) -> None:
    """Where a head stands in the freedom softmax leaves it, and what shift its maps of given images survive."""
    model = zoo.open_model(options.model, options.weights)
    for branch in effects.branches(model):
        gauge = effects.gauge(model.classifier(branch))
        print(
            f"{branch}: norm of the class-mean row {gauge['mean_norm']:.4g}, of a row {gauge['row_norm']:.4g}: "
            f"{gauge['share']:.1%} (0 %: centred, the gauge weight decay pulls to)"
        )
    for path in options.images:
        _, view, k = _look(options, model, path)
        found = effects.tolerance(view, k, options.method or cams.default(model))
        sides = [f"{found[s] / found['scale']:+.3g}" if found[s] else "none in reach" for s in ("down", "up")]
        print(f"  half the box is lost at delta = {sides[0]} and {sides[1]} (in units of the class's rms weight)")
