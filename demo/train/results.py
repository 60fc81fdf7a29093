"""The report of a finished training: accuracies, confusions, the images its heads disagree on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from bsoftmax.utils.language import gettext as _

from ..components.report import Block, table, text

MAX_TABLE = 20  # classes; of more than these only the most confused pairs are shown
PAIRS = 20
MAX_HEAD = 8  # letters of a class name that fit over a column
PICTURES = 24
TITLES = {"softmax": "softmax head", "sigmoid": "sigmoid branch"}


class Results:
    """A training's report: every validation image with both answers."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.classes: list[str] = report["classes"]
        self.images: list[dict[str, Any]] = report["images"]
        self.recalled: dict[str, list[float | None]] = report.get("recalled", {})

    @classmethod
    def read(cls, path: str | Path) -> Results:
        """Reads the JSON file beside a checkpoint."""
        return cls(json.loads(Path(path).read_text(encoding="utf-8")))

    @property
    def heads(self) -> list[str]:
        """The heads that answered: without a branch, softmax alone."""
        branch = any(image["sigmoid"] is not None for image in self.images)
        return ["softmax", "sigmoid"] if branch else ["softmax"]

    def blocks(self, val: dict[str, Any]) -> list[Block]:
        """The accuracies as a sentence, then the errors of the heads."""
        out = [text(_accuracies(val), "strong"), *self._recall()]
        if len(self.classes) > MAX_TABLE:
            return [*out, self._pairs()]
        return [*out, *(self._confusion(head) for head in self.heads)]

    def _recall(self) -> list[Block]:
        """How many of each class's images each head finds, the least found first."""
        if not self.recalled:
            return []
        counted = Counter(image["label"] for image in self.images)
        last = self.recalled[list(self.recalled)[-1]]
        order = sorted((k for k, share in enumerate(last) if share is not None), key=last.__getitem__)[:MAX_TABLE]
        heads = {"softmax": _("softmax right, %"), "sigmoid": _("sigmoid above 0.5, %")}
        rows = [[self.classes[k], counted[k], *(round(shares[k]) for shares in self.recalled.values())] for k in order]
        some, every = _("Found of each class, the least found classes"), _("Found of each class, the least found first")
        caption = some if len(self.classes) > MAX_TABLE else every
        return [table(caption, [_("class"), _("images"), *(heads[h] for h in self.recalled)], rows)]

    def _confusion(self, head: str) -> Block:
        counted = Counter((image["label"], image[head]) for image in self.images)
        C = range(len(self.classes))
        rows = [[counted[k, j] for j in C] for k in C]
        heat = [[n / max(sum(row), 1) for n in row] for row in rows]
        words = _("{head}: what it answered (columns) to each class (rows)")
        caption = words.format(head=_(TITLES[head].capitalize()))
        head_row, names = self.classes, self.classes
        if max(map(len, self.classes)) > MAX_HEAD:  # else numbers head the columns
            head_row, names = [str(k + 1) for k in C], [f"{k + 1}. {name}" for k, name in enumerate(self.classes)]
        return table(caption, [_("class"), *head_row], [[name, *row] for name, row in zip(names, rows)], heat)

    def _pairs(self) -> Block:
        wrong = {head: Counter((i["label"], i[head]) for i in self.images if i["label"] != i[head])
                 for head in self.heads}  # fmt: skip
        pairs = sum(wrong.values(), Counter()).most_common(PAIRS)
        rows = [[self.classes[k], self.classes[j], *(wrong[h][k, j] for h in self.heads)] for (k, j), n in pairs]
        heads = [_(TITLES[head]) for head in self.heads]
        return table(_("Most often confused"), [_("class"), _("taken for"), *heads], rows)

    def disagreements(self) -> list[dict[str, Any]]:
        """Images that the heads answer differently, the surest answers first."""
        if "sigmoid" not in self.heads:
            return []
        differ = [image for image in self.images if image["softmax"] != image["sigmoid"]]
        return sorted(differ, key=lambda image: -(image["p"] + (image["s"] or 0)))[:PICTURES]

    def examples(self, most: int = 12) -> list[dict[str, Any]]:
        """A validation image of each class in turn, then a second of each."""
        seen: Counter[int] = Counter()
        turns = []
        for image in self.images:
            turns.append((seen[image["label"]], image["label"]))
            seen[image["label"]] += 1
        order = sorted(range(len(turns)), key=turns.__getitem__)
        return [self.images[n] for n in order[:most]]

    def caption(self, image: dict[str, Any]) -> str:
        """An image's class and the heads' answers."""
        answers = (f"{_(head)} {self.classes[image[head]]}" for head in self.heads)
        return f"{self.classes[image['label']]}: {', '.join(answers)}"


def _accuracies(val: dict[str, Any]) -> str:
    n, softmax, sigmoid = val["images"], val["softmax_top1"], val.get("sigmoid_top1")
    words = _(
        "On {n:,} validation images the softmax head is right in {softmax:.1f} %, "
        "the sigmoid branch in {sigmoid:.1f} %."
    )
    if sigmoid is None:
        words = _(
            "On {n:,} validation images the softmax head is right in {softmax:.1f} %; "
            "no branch was trained before the stop."
        )
    return words.format(n=n, softmax=softmax, sigmoid=sigmoid)
