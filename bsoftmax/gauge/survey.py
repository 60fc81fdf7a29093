"""The heads of pretrained networks in one table: how far their rows are from centred, and what that does to maps.

A killed survey resumes: every network is one line of `records-0.jsonl` as soon as it was measured. A network whose
weights cannot be had is listed with the reason, and is tried again the next time.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cams import effects, methods
from ..cams.distortions import spearman
from ..cams.view import View
from ..evaluation import aggregate
from ..images import render
from ..images.read import read_rgb
from ..models import backbones, zoo
from ..models.dual_branch import DualBranch
from ..models.heads import last_linear
from ..reports import text
from ..utils import files
from ..utils.events import Emit
from ..utils.text import error_sentence

FORMAT = "bsoftmax-survey/1"
POPULAR = (
    "resnet18.a1_in1k", "resnet18.tv_in1k", "resnet34.a1_in1k", "resnet50.a1_in1k", "resnet50.tv_in1k",
    "resnet50.tv2_in1k", "resnet50.fb_swsl_ig1b_ft_in1k", "resnet50d.ra2_in1k", "resnet101.a1h_in1k",
    "wide_resnet50_2.tv2_in1k", "resnext50_32x4d.a1h_in1k", "seresnet50.ra2_in1k", "cspresnet50.ra_in1k",
    "regnety_016.tv2_in1k", "regnety_032.ra_in1k", "repvgg_b0.rvgg_in1k", "densenet121.ra_in1k", "vgg16.tv_in1k",
    "inception_v3.tv_in1k", "xception41.tf_in1k", "efficientnet_b0.ra_in1k", "tf_efficientnet_b0.ns_jft_in1k",
    "tf_efficientnetv2_s.in21k_ft_in1k", "tf_efficientnet_lite0.in1k", "tf_efficientnet_lite1.in1k",
    "tf_efficientnet_lite2.in1k", "mobilenetv2_100.ra_in1k", "mobilenetv3_large_100.ra_in1k",
    "mobilenetv3_small_100.lamb_in1k", "mobilenetv4_conv_small.e2400_r224_in1k", "mnasnet_100.rmsp_in1k",
    "ghostnet_100.in1k", "convnext_tiny.fb_in1k", "convnext_base.fb_in22k_ft_in1k",
    "convnextv2_tiny.fcmae_ft_in22k_in1k", "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "vit_base_patch16_224.augreg_in21k_ft_in1k", "vit_base_patch16_clip_224.openai_ft_in1k",
    "deit_small_patch16_224.fb_in1k", "swin_tiny_patch4_window7_224.ms_in1k",
)  # fmt: skip
HEADS = {
    "name": "network", "classes": "classes", "width": "channels", "row_norm": "norm of a row",
    "share": "class mean / row", "chance": "1/√C", "bias_mean": "mean bias", "bias_std": "std of biases",
    "spearman": "rank correlation", "blank": "blank maps %", "blank_centred": "blank, centred %",
}  # fmt: skip

Row = dict[str, Any]


def survey(
    names: Sequence[str], out: Path, emit: Emit = lambda event: None, stop: Callable[[], bool] = lambda: False,
    images: Sequence[Path] = (),
) -> dict[str, Any]:  # fmt: skip
    """Measures the heads of networks (timm names, bundled models, checkpoints); returns rows and what is missing.

    The softmax head's class-mean row over the root mean square norm of its rows, its biases and, with `images`, the
    effect of the class-mean row on the maps of the class predicted (`map_effect`). `out` keeps a line a network, from
    which a killed survey resumes; `stop` is called between networks. Emits "row", "missing" and "progress".
    Raises ValueError where `out` holds the lines of a survey with other images, OSError where it cannot be written.
    """
    names = list(dict.fromkeys(names or POPULAR))
    hashes = [files.file_hash(path) for path in images]
    key = hashlib.sha256(json.dumps([FORMAT, hashes]).encode()).hexdigest()[:20]
    known = {record["i"]: record for record in aggregate.read(out, key)} if out.is_dir() else {}
    rows, missing, stopped = [], [], False
    with aggregate.open_records(out, 0, {"key": key, "format": FORMAT}) as file:
        for n, name in enumerate(names):
            if stopped := stop():
                break
            try:
                row = known.get(identity(name)) or {"i": identity(name), **measured(name, images)}
            except (ValueError, OSError) as error:
                missing.append({"name": name, "reason": error_sentence(error)})
                emit({"event": "missing", **missing[-1]})
            else:
                if row["i"] not in known:
                    aggregate.append(file, [row])
                known[row["i"]] = row
                rows.append(row)
                emit({"event": "row", **row})
            emit({"event": "progress", "stage": "networks", "done": n + 1, "total": len(names)})
    return {"format": FORMAT, "rows": rows, "missing": missing, "images": len(images), "stopped": stopped}


def identity(name: str) -> str:
    """What a line is known by: the name and, where its weights are a file here, that file's SHA-256."""
    path = zoo.bundled().get(name, Path(name))
    if not path.is_file():
        known = backbones.BACKBONES.get(name)
        path = backbones.local_weights(known.timm if known else name) or path
    return f"{name} {files.file_hash(path)}" if path.is_file() else name


def measured(name: str, images: Sequence[Path] = ()) -> Row:
    """The row of one network. Raises as `zoo.open_model` does, and ImageError for an unreadable photograph."""
    model = zoo.open_model(name)
    return {"name": name, "trunk": model.spec.trunk, **head_numbers(model), **map_effect(model, images)}


def head_numbers(model: DualBranch) -> Row:
    """Size, gauge (`cams.gauge`) and biases of the softmax head.

    `chance`: 1/sqrt(C), the share of C independent rows of mean 0.
    """
    head, found = last_linear(model.softmax), effects.gauge(model.softmax)
    bias = np.zeros(head.out_features) if head.bias is None else head.bias.detach().double().cpu().numpy()
    return {
        "classes": head.out_features, "width": head.in_features, "mean_norm": found["mean_norm"],
        "row_norm": found["row_norm"], "share": found["share"], "chance": head.out_features**-0.5,
        "bias_mean": float(bias.mean()), "bias_std": float(bias.std()),
    }  # fmt: skip


def map_effect(model: DualBranch, images: Sequence[Path]) -> Row:
    """What the class-mean row does to the maps of the class predicted, over photographs; {} without any.

    `spearman`: median rank correlation of the maps before and after centring, unclamped, by CAM or else Grad-CAM, over
    the photographs whose map is not constant (that of a row of zeros is), absent where all are;
    `blank` and `blank_centred`: percent of them with nothing above 0. The trunk runs once a photograph.
    """
    if not images:
        return {}
    method, found = methods.default(model), []
    for path in images:
        view = View(model, model.preprocess(read_rgb(path)))
        k = view.logits("softmax").argmax(1)
        own, centred = (methods.class_map(view.evidence(s, k), method, False)[0] for s in ("softmax", "centred"))
        found.append((spearman(own, centred), 100.0 * render.is_blank(own), 100.0 * render.is_blank(centred)))
    correlation, blank, blank_centred = np.array(found).T
    defined = correlation[np.isfinite(correlation)]
    row: Row = {"method": method, "blank": float(blank.mean()), "blank_centred": float(blank_centred.mean())}
    return row | ({"spearman": float(np.median(defined))} if defined.size else {})


def write(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Writes survey.json, survey.csv and survey.md, the rows from the largest share on; atomically. Raises OSError."""
    rows = sorted(found["rows"], key=lambda row: -row["share"])
    heads = {key: title for key, title in HEADS.items() if any(key in row for row in rows)}
    texts = {
        "survey.json": json.dumps({**found, "rows": rows}, indent=1, allow_nan=False),
        "survey.csv": _csv(heads, rows),
        "survey.md": markdown({**found, "rows": rows}, heads),
    }
    return [files.write_text(out / name, written) for name, written in texts.items()]


def _csv(heads: Mapping[str, str], rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(heads), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def markdown(found: Mapping[str, Any], heads: Mapping[str, str]) -> str:
    """The table, then the names of the networks that are missing."""
    lines = [[_cell(row.get(key)) for key in heads] for row in found["rows"]]
    parts = [text.rows_markdown(list(heads.values()), lines)]
    if found["images"]:
        parts.append(f"Maps of the class predicted, on {found['images']} photographs, before and after centring.")
    if found["missing"]:
        names = ", ".join(text.escape_markdown(one["name"]) for one in found["missing"])
        parts.append(f"Not measured, for the reasons in survey.json: {names}.")
    return "\n\n".join(parts) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else text.escape_markdown(str(value))
