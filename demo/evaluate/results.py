"""A finished evaluation: its metrics, curves and images, as the page shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bsoftmax import METHODS
from bsoftmax.evaluation.column import BASELINE
from bsoftmax.evaluation.metrics import METRICS, find
from bsoftmax.reports.text import metric_names, protocol_lines

from ..components.report import Block, listed, table, text
from .table import Kind, comparison_table, interval, kind_of, number, source_title, verdict

KINDS = ("deletion", "insertion")
GROUPS = {
    "Localisation": ("max_box_acc_v2", "gt_loc", "top1_loc", "max_box_acc", "px_ap", "pointing"),
    "Fidelity": ("average_drop", "increase", "average_gain", "adcc", "coherency", "complexity", *KINDS),
    "Signs and sparsity": ("negative", "sparsity", "blank"),
}
GALLERY = {  # metrics by which images are ranked, where the one shown has none
    "Localisation": ("gt_loc", "pointing"), "Fidelity": ("average_drop",), "Signs and sparsity": ("average_drop",),
}  # fmt: skip
YES_NO = ("gt_loc", "pointing")
BOXES = "any, IoU .5"
LEGEND = {("softmax", False): "baseline", ("softmax", True): "softmax", ("sigmoid", True): "branch",
          ("log-odds", True): "log-odds", ("centred", True): "centred"}  # fmt: skip
STEP = 4  # of the 256 levels, every fourth is drawn
FILES = {"results.md": "Markdown", "results.csv": "CSV", "results.json": "JSON", "table1.tex": "LaTeX, fidelity",
         "table2.tex": "LaTeX, localisation"}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A kind of curve: its title, its axes, and the group of metrics it belongs to."""

    title: str
    x: str
    y: str
    group: str


CURVES = {
    "box_accuracy": Curve("Boxes right at IoU .5, %", "threshold", "percent", "Localisation"),
    "precision_recall": Curve("Precision and recall of pixels", "recall", "precision", "Localisation"),
    "deletion": Curve("Deletion, lower is better", "pixels changed, %", "confidence", "Fidelity"),
    "insertion": Curve("Insertion, higher is better", "pixels changed, %", "confidence", "Fidelity"),
}


class Evaluation:
    """A results.json, as the page shows it."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found, self.columns = found, found["columns"]
        self.names = metric_names(found)

    @classmethod
    def read(cls, path: str | Path) -> Evaluation:
        """Reads a results.json."""
        return cls(json.loads(Path(path).read_text(encoding="utf-8")))

    def groups(self) -> list[str]:
        """The groups of metrics of which something was measured."""
        return [group for group in GROUPS if self.metrics(group)]

    def metrics(self, group: str) -> list[tuple[str, str]]:
        """(title, name) of a group's metrics, those of each source's own confidence after the others."""
        keys = [name for key in GROUPS.get(group, ()) for name in METRICS[key].names()]
        own = " (own confidence)"
        names = sorted((name for name in keys if name in self.names), key=lambda name: name.endswith(".own"))
        return [(find(name).title + own * name.endswith(".own"), name) for name in names]

    def methods(self) -> list[tuple[str, str]]:
        """(name, key) of the methods measured."""
        return [(METHODS[key].label, key) for key in dict.fromkeys(c["method"] for c in self.columns)]

    def kinds(self, method: str) -> list[tuple[str, str]]:
        """(name, key) of the columns of a method that are compared with softmax, the paper's first."""
        rank = {("sigmoid", True): 0, ("log-odds", True): 1}
        compared = [c for c in self.columns if c["method"] == method and c["baseline"]]
        ordered = sorted(compared, key=lambda c: rank.get(kind_of(c), 2))
        return [(source_title(kind_of(c)), c["key"]) for c in ordered]

    def blocks(self, name: str) -> list[Block]:
        """The verdict on one metric, notes, and its table."""
        found, notes = self.found, []
        if not found["complete"]:
            done = found["n"] + len(found["unreadable"])
            notes.append(text(f"Stopped early: {done:,} of {found['asked']:,} images were looked at."))
        right = next((c["metrics"]["top1_cls"] for c in self.columns if "top1_cls" in c["metrics"]), None)
        if right:
            notes.append(text(f"The softmax head names {interval(right, 'top1_cls')} % of them rightly.", "quiet"))
        notes += [text(note, "quiet") for note in found["notes"]]
        lost = [f"{image}: {why}" for image, why in found["unreadable"]]
        counted_out = [listed(f"{len(lost):,} images counted out, and why", lost, folded=True)] if lost else []
        return [text(verdict(found, name), "strong"), *notes, comparison_table(found, name), *counted_out]

    def curves(self, group: str, method: str, clamp: bool) -> dict[str, pd.DataFrame]:
        """{kind: points of softmax unclamped and every source under a clamp} of the curves that were measured."""
        out = {}
        for kind, curve in CURVES.items():
            every = self._points(kind, method)
            kinds = [k for k, _ in every if k[1] == clamp or k == (BASELINE, False)]
            rows = [(x, y, LEGEND[k] if clamp else LEGEND[k[0], True]) for k, points in every if k in kinds
                    for x, y in points]  # fmt: skip
            if rows and curve.group == group:
                out[kind] = pd.DataFrame(rows, columns=["x", "y", "map"])
        return out

    def _points(self, kind: str, method: str) -> list[tuple[Kind, list[tuple[float, float]]]]:
        out = []
        for column in self.columns:
            if column["method"] != method or kind not in column["curves"]:
                continue
            curve = column["curves"][kind]
            if kind == "box_accuracy":
                points = [(v / 255, y) for v, y in enumerate(curve[BOXES])][::STEP]
            elif kind == "precision_recall":
                points = list(zip(curve["recall"], curve["precision"]))
            else:
                points = [(100 * n / max(len(curve) - 1, 1), y) for n, y in enumerate(curve)]
            out.append((kind_of(column), points))
        return out

    def gallery_metric(self, group: str, name: str) -> str | None:
        """The metric by which images are called best and worst: the one shown, or one like it."""
        known = {metric for c in self.columns for metric in c["gallery"]}
        return next((metric for metric in (name, *GALLERY.get(group, ())) if metric in known), None)

    def pictures(self, name: str, key: str) -> dict[str, list[tuple[str, str]]]:
        """{best, worst: (image's name, caption)} of a column: images that got better, and that got worse."""
        column = next((c for c in self.columns if c["key"] == key), None)
        rows: Mapping[str, Any] = (column or {"gallery": {}})["gallery"].get(name, {"best": [], "worst": []})
        sign = 1 if find(name).higher_is_better else -1
        return {
            which: [(row["image"], _caption(row, name)) for row in rows[which]
                    if side * sign * (row["value"] - row["baseline"]) > 0]
            for which, side in (("best", 1), ("worst", -1))
        }  # fmt: skip

    def protocol(self) -> list[Block]:
        """How it was measured, line by line, from the file itself."""
        rows = [[what.replace("_", " ").replace(".", ", "), how] for what, how in protocol_lines(self.found) if how]
        return [table("How this was measured", ["what", "how"], rows)]


def _caption(row: Mapping[str, Any], name: str) -> str:
    """A picture's value and that of the baseline."""
    if name in YES_NO:
        here, there = ("right" if row[which] else "wrong" for which in ("value", "baseline"))
    else:
        here, there = (f"{number(row[which], name)} {find(name).unit}" for which in ("value", "baseline"))
    return f"{row['image']}: {here} here, {there} with softmax"
