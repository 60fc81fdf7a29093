"""The command line: explain, train, pretrain, models. Bad input ends in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from . import backbones, cams, checkpoints, zoo
from .data import load_squares, read_splits
from .figure import Panel, Row, figure, save_figure, save_maps
from .images import read_rgb
from .model import DualBranch, Spec
from .pretrain import Recipe, averaged_weights, pretrain, targets
from .sources import SOURCES
from .training import BranchConfig, extract, fit, top1
from .view import View


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    options.command_line = "bsoftmax " + shlex.join(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"bsoftmax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bsoftmax: stopped; what was written is kept.", file=sys.stderr)
        return 130
    return 0


def _bar(total: int, what: str) -> tqdm:
    return tqdm(total=total, desc=what, file=sys.stderr, dynamic_ncols=True, leave=False)


def _ticker(bar: tqdm):
    return lambda done, total: bar.update(done - bar.n)


def class_number(model: DualBranch, name: str) -> int:
    """The class a person means, by number or by name. Raises ValueError, naming the nearest, for one there is not."""
    if name.isdigit() and int(name) < len(model.classes):
        return int(name)
    lowered = [c.lower() for c in model.classes]
    wanted = name.lower()
    for candidate in (wanted, wanted.replace(" ", "_")):
        if candidate in lowered:
            return lowered.index(candidate)
    near = [c for c in model.classes if wanted in c.lower()][:5] or list(model.classes[:5])
    raise ValueError(f"This model has no class {name!r} among its {len(model.classes)}; some are: {', '.join(near)}.")


def run_explain(options: argparse.Namespace) -> None:
    """Figure (.png, .pdf) or raw maps (.npz) of images under methods and sources."""
    model = zoo.open_model(options.model, options.weights)
    methods = options.method or ["cam" if cams.unavailable(model, "cam") is None else "gradcam"]
    sources = options.source or ["softmax", "sigmoid" if model.sigmoid is not None else "log-odds"]
    clamp = {"paper": None, "on": True, "off": False}[options.clamp]
    rows, maps = [], {}
    for path in tqdm(options.images, desc="explain", file=sys.stderr, disable=len(options.images) < 2, leave=False):
        image = read_rgb(path, side=1024)
        view = View(model, model.preprocess(image))
        p = view.logits("softmax").softmax(1)[0]
        k = int(p.argmax()) if options.class_name is None else class_number(model, options.class_name)
        print(f"{path}: {model.classes[int(p.argmax())]} {p.max():.3f}, explained: {model.classes[k]} {p[k]:.3f}")
        for method in methods:
            panels = []
            for source in sources:
                S = cams.class_map(view.evidence(source, k), method, clamp)[0].numpy()
                maps[f"{Path(path).name}|{model.classes[k]}|{method}|{source}"] = S
                panels.append(Panel(SOURCES[source].title, cams.METHODS[method].label, S))
            rows.append(Row(image, f"{model.classes[k]}", tuple(panels)))
    if Path(options.out).suffix == ".npz":
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bsoftmax", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, **kwargs) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=run.__doc__, description=run.__doc__, **kwargs)
        sub.set_defaults(run=run)
        return sub

    explain = command("explain", run_explain)
    explain.add_argument("images", nargs="+", metavar="IMAGE")
    explain.add_argument(
        "--source", action="append", choices=SOURCES, help="repeat for several; default softmax, sigmoid"
    )
    explain.add_argument("--method", action="append", choices=cams.METHODS, help="repeat for several; default cam")
    explain.add_argument(
        "--class", dest="class_name", metavar="CLASS", help="name or number; default the predicted one"
    )
    explain.add_argument("--clamp", choices=("paper", "on", "off"), default="paper", help="keep positive weights only")
    explain.add_argument("--scale", choices=("each", "shared", "signed"), default="each")
    explain.add_argument("--out", default="bsoftmax.png", help=".png, .pdf or .npz; default %(default)s")

    train = command("train", run_train)
    train.add_argument("data", help="folder with train/<class>/ and val/<class>/")
    train.add_argument("--views", type=int, default=BranchConfig.views)
    train.add_argument("--epochs", type=int, default=BranchConfig.epochs)
    train.add_argument("--lr", type=float, default=BranchConfig.lr)
    train.add_argument("--init", choices=("fresh", "clone"), default=BranchConfig.init)
    train.add_argument("--half", action="store_true", help="store the trunk in half precision")
    for sub in (explain, train):
        sub.add_argument("--model", default=zoo.DEFAULT, help="see `bsoftmax models`; default %(default)s")
        sub.add_argument("--weights", default="hub", help="safetensors file for a pretrained trunk; default: the Hub")

    pre = command("pretrain", run_pretrain)
    pre.add_argument("data", help="folder with train/<class>/ and val/<class>/")
    pre.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for sub in (train, pre):
        sub.add_argument("--out", required=True, help="the .safetensors file to write")
        sub.add_argument("--seed", type=int, default=0)
    command("models", run_models)
    return parser
