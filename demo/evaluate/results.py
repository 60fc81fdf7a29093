"""A finished evaluation: its metrics, curves and images, as the page shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bsoftmax import METHODS, SOURCES
from bsoftmax.evaluation.column import BASELINE
from bsoftmax.evaluation.metrics import METRICS, find
from bsoftmax.reports import lead, small_tables, verdicts
from bsoftmax.reports.text import interval, metric_names, number, protocol_lines
from bsoftmax.reports.topics import Kind, kind_of
from bsoftmax.reports.verdict import NOTHING, caution, unfinished
from bsoftmax.utils.language import gettext as _

from ..components.report import Block, listed, table, text, title
from ..language.visitor import translated
from .table import comparison_table, small_block, source_title, verdict

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
STEP = 4  # of the 256 levels, every fourth is drawn
FOREST, ALL_FILES = "forest.png", "evaluation.zip"
FILES = {"results.md": "Markdown", "results.csv": "CSV", "results.json": "JSON", ALL_FILES: "All files: plots, LaTeX"}


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
        own = _(" (own confidence)")
        names = sorted((name for name in keys if name in self.names), key=lambda name: name.endswith(".own"))
        return [(_(find(name).title) + own * name.endswith(".own"), name) for name in names]

    def methods(self) -> list[tuple[str, str]]:
        """(name, key) of the methods measured."""
        return [(METHODS[key].label, key) for key in dict.fromkeys(c["method"] for c in self.columns)]

    def kinds(self, method: str) -> list[tuple[str, str]]:
        """(name, key) of the columns of a method that are compared with softmax, the paper's first."""
        rank = {("sigmoid", True): 0, ("log-odds", True): 1}
        compared = [c for c in self.columns if c["method"] == method and c["baseline"]]
        ordered = sorted(compared, key=lambda c: rank.get(kind_of(c), 2))
        return [(source_title(kind_of(c)), c["key"]) for c in ordered]

    def summary(self) -> list[Block]:
        """The verdict in words, notes, and a small table for each topic."""
        found = {verdict.topic: verdict for verdict in verdicts(self.found)}
        blocks = [text(f"{_(said.topic.title)}. {said.headline}", "strong") for said in found.values()]
        blocks += [*([] if blocks else [text(_(NOTHING), "strong")]), *self._notes(), text(lead(self.found), "quiet")]
        blocks += [text(words, "quiet")] if (words := caution(self.found)) else []
        for small in small_tables(self.found):
            blocks.append(title(f"{_(small.topic.title)}: {_(small.topic.asks)}"))
            if said := found.get(small.topic):
                blocks += [text(said.setting), listed("", said.answers), text(said.count, "quiet")]
            blocks += [small_block(small), text(" ".join(small.notes), "quiet")]
        return blocks

    def _notes(self) -> list[Block]:
        found = self.found
        notes = [text(stopped)] if (stopped := unfinished(found)) else []
        right = next((c["metrics"]["top1_cls"] for c in self.columns if "top1_cls" in c["metrics"]), None)
        if right:
            words = _("The softmax head names {share} % of them rightly.")
            notes.append(text(words.format(share=interval(right, "top1_cls")), "quiet"))
        notes += [text(translated(note), "quiet") for note in found["notes"]]
        lost = [f"{image}: {translated(why)}" for image, why in found["unreadable"]]
        counted = _("{n:,} images counted out, and why").format(n=len(lost))
        return notes + ([listed(counted, lost, folded=True)] if lost else [])

    def blocks(self, name: str) -> list[Block]:
        """One metric: what its intervals say in a sentence, and its table."""
        return [text(verdict(self.found, name), "strong"), comparison_table(self.found, name)]

    def curves(self, group: str, method: str, clamp: bool) -> dict[str, pd.DataFrame]:
        """{kind: points of softmax unclamped and every source under a clamp} of the curves that were measured."""
        out = {}
        for kind, curve in CURVES.items():
            every = self._points(kind, method)
            kinds = [k for k, points in every if k[1] == clamp or k == (BASELINE, False)]
            rows = [(x, y, _legend(k)) for k, points in every if k in kinds for x, y in points]
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
        return [table(_("How this was measured"), [_("what"), _("how")], rows)]


def _legend(kind: Kind) -> str:
    return _("baseline") if kind == (BASELINE, False) else _(SOURCES[kind[0]].title).lower()


def _caption(row: Mapping[str, Any], name: str) -> str:
    """A picture's value and that of the baseline."""
    if name in YES_NO:
        here, there = (_("right") if row[which] else _("wrong") for which in ("value", "baseline"))
    else:
        here, there = (f"{number(row[which], name)} {find(name).unit}" for which in ("value", "baseline"))
    return _("{image}: {here} here, {there} with softmax").format(image=row["image"], here=here, there=there)
