"""The model card of a checkpoint, in Markdown for the Hub."""

from __future__ import annotations

import json
import shlex
from typing import Any

from .spec import MODULE, Spec, breaking_points

SHOWN_CLASSES = 100
SHOWN_RECIPE = ("recipe", "config", "method", "solver", "penalty", "gradient", "loss", "epochs")


def code_span(text: object) -> str:
    """User text as a Markdown code span, in which nothing is markup."""
    words = " ".join(str(text).replace("`", "'").split())
    return f"`{words}`" if words else "` `"


def card(spec: Spec, frozen: str) -> str:
    """Description, results, data, recipe, frozen hashes and usage of a model; `frozen`: its hash."""
    parts = [_front(spec), f"# Softmax head and sigmoid branch on {code_span(spec.trunk)}", _description(spec)]
    parts += [_results(spec.metrics), _data(spec), _recipe(spec.training), _frozen(spec.training, frozen), _usage(spec)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(spec: Spec) -> str:
    tags = ("class-activation-maps", "image-classification", "explainability")
    return "---\nlibrary_name: bsoftmax\nlicense: apache-2.0\ntags:\n" + "\n".join(f"- {t}" for t in tags) + "\n---"


def _description(spec: Spec) -> str:
    pre = spec.preprocessing
    return (
        f"{len(spec.classes)} classes, features from {code_span(spec.layer)} at {pre.size} px. The softmax head "
        "recognises; the sigmoid branch beside it, trained with class-balanced binary cross-entropy on the frozen "
        "features, explains (Oh and Noh, *Beyond Softmax*, BMVC 2025, Eq. 12). The licence above is the software's: "
        "that of the photographs is for whoever trained the model to say."
    )


def _results(metrics: dict[str, Any]) -> str:
    if not (val := metrics.get("val")):
        return ""
    rows = [f"| {name} | {val[key]:.2f} |" for name, key in _SCORES if val.get(key) is not None]
    table = "\n".join(["## Results", "", f"| on {val['images']} validation images | % |", "|---|--:|", *rows])
    return "\n\n".join(part for part in (table, _breaking(breaking_points(metrics))) if part)


def _breaking(found: dict[str, float]) -> str:
    """Which shifts, all of them invisible to softmax, the maps of the softmax head do not survive."""
    points = [words.format(found[name]) for name, words in _SHIFTS if name in found]
    if not points:
        return ""
    return (
        f"Shifts common to all classes, which no probability shows: on {found['images']:.0f} validation images half of "
        f"the boxes of the softmax head's maps are broken (IoU at most 0.5) where {', or where '.join(points)}."
    )


_SHIFTS = (
    ("flip", "the sign of the class's strongest {:.0f} % of positive weights is turned"),
    ("uniform", "{:.3g} is taken from every weight"),
    ("delta", "{:.3g} is added to the weights of the channel brightest on the background"),
)


_SCORES = (
    ("top-1, softmax head", "softmax_top1"),
    ("top-1, argmax of the sigmoid branch", "sigmoid_top1"),
    ("classes recalled, sigmoid above 0.5 (mean over classes)", "sigmoid_recalled"),
)


def _data(spec: Spec) -> str:
    data = spec.training.get("data") or spec.training.get("sigmoid", {}).get("data")
    if not data:
        return ""
    lines = ["## Data", ""]
    for name, split in data.items():
        if isinstance(split, dict) and "images" in split:
            sha256 = code_span(split["sha256"])
            lines.append(f"- {code_span(name)}: {split['images']} images, SHA-256 of their list {sha256}")
    if data.get("split"):
        lines.append(f"- {data['split']}")
    if data.get("skipped"):
        lines.append(f"- {data['skipped']} files were passed over")
    counts = data.get("train", {}).get("counts") or [None] * len(spec.classes)
    named = [code_span(c) + (f" {n}" if n is not None else "") for c, n in zip(spec.classes[:SHOWN_CLASSES], counts)]
    more = "" if len(spec.classes) <= SHOWN_CLASSES else f", and {len(spec.classes) - SHOWN_CLASSES} more"
    return "\n".join([*lines, "", "Classes, with their training images: " + ", ".join(named) + more])


def _recipe(training: dict[str, Any]) -> str:
    titles = {"trunk": "Trunk", "softmax": "Softmax head", "sigmoid": "Sigmoid branch"}
    lines = []
    for part, title in titles.items():
        if made := training.get(part):
            recipe = {k: v for k, v in made.items() if k in SHOWN_RECIPE}
            lines.append(f"- {title}: {code_span(json.dumps(recipe))}")
    return "\n".join(["## Recipe", "", *lines]) if lines else ""


def _frozen(training: dict[str, Any], frozen: str) -> str:
    lines = ["## Frozen", "", f"SHA-256 over trunk, neck and softmax head: {code_span(frozen)}."]
    if proof := training.get("frozen"):
        before, after = code_span(proof["before"]), code_span(proof["after"])
        same = proof["before"] == proof["after"] and proof["logits_equal"]
        lines.append(
            f"Before the branch was trained: {before}; after: {after}; the softmax logits of {proof['images']} images "
            f"before and after are {'equal to the bit' if same else 'NOT equal'}."
        )
    return "\n".join(lines)


def _usage(spec: Spec) -> str:
    own = spec.origin.get("trunk") == MODULE
    opened = 'from_module(net, layer, heads="model.safetensors")' if own else 'open_model("model.safetensors")'
    lines = ["## Use", "", "```python", f"from bsoftmax import View, class_map, {opened.partition('(')[0]}"]
    lines += ["from bsoftmax.images import read_rgb", "", f"model = {opened}"]
    lines += ['view = View(model, model.preprocess(read_rgb("photo.jpg")))']
    source = "sigmoid" if "sigmoid" in spec.training else "log-odds"
    lines += ['k = view.logits("softmax").argmax(1)', f'S = class_map(view.evidence("{source}", k), "gradcam")', "```"]
    if command := spec.training.get("command"):
        lines += ["", "Trained by", "", "```", " ".join(shlex.quote(word) for word in command), "```"]
    return "\n".join(lines)
