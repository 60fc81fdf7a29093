"""What the commands do: each reads its options, calls the library, prints what it made and where."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from . import backbones, cams, checkpoints, effects, zoo
from .export import whole
from .figure import Panel, Row, figure, save_figure, save_maps
from .images import read_rgb
from .model import DualBranch
from .sources import SOURCES
from .sweep import before_after, write_gif
from .view import Tick, View

SHOWN_SIDE = 1024  # pixels kept of a picture's longer side for figures


def bar_of(total: int, what: str) -> tqdm:
    """A progress bar on stderr, gone when it is done."""
    return tqdm(total=total, desc=what, file=sys.stderr, dynamic_ncols=True, leave=False)


def ticker(bar: tqdm) -> Tick:
    """What moves a bar: called with how much is done, and of how much."""
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
        with bar_of(0, "sweep") as bar:
            write_gif(out, image, view, k, method, distortion, ticker(bar))
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
    if found := effects.alike(model):
        print(
            f"a class's rows in the two heads: mean cosine {found['rows']:.3f}, less their class means "
            f"{found['centred']:.3f}"
        )
    for path in options.images:
        _, view, k = _look(options, model, path)
        found = effects.tolerance(view, k, options.method or cams.default(model))
        sides = [f"{found[s] / found['scale']:+.3g}" if found[s] else "none in reach" for s in ("down", "up")]
        print(f"  half the box is lost at delta = {sides[0]} and {sides[1]} (in units of the class's rms weight)")
