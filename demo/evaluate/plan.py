"""The settings of an evaluation, and what it would measure, before it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bsoftmax import METHODS, DualBranch
from bsoftmax.data.layouts import train_val
from bsoftmax.data.sets import DataSet, ImageSet
from bsoftmax.evaluation.column import Column, columns, representative
from bsoftmax.evaluation.localization import PROTOCOLS
from bsoftmax.evaluation.measure import GROUPS, passes
from bsoftmax.evaluation.plan import SPLIT_ORDER, EvalRun
from bsoftmax.models import zoo
from bsoftmax.reports.text import joined
from bsoftmax.utils.language import gettext as _
from bsoftmax.utils.text import quoted

from ..components.report import Block, listed, text
from ..workspace.preview import duration, passes_of, skipped_list

IMAGES = 200  # measured unless more are chosen
BATCH = 8  # small, so that the bar moves and a stop takes effect soon
STARTING, SCORING = 10.0, 0.015  # seconds until the child works; and to score a map's localisation
SWEPT = 32  # maps of a sweep whose masks pass the network
MEASURES = {"localization": "Localisation", "fidelity": "Fidelity", "curves": "Deletion and insertion (slow)"}
EXPLAINING = {"true": "{measure}, explaining the true class", "predicted": "{measure}, explaining the predicted class"}
EXPLAINED = {"": "As usual: true for places, predicted for fidelity", "true": "The true class",
             "predicted": "The predicted class"}  # fmt: skip


@dataclass(frozen=True)
class EvalSettings:
    """The options of an evaluation; empty: the command line's default. Raises ValueError for an invalid one."""

    metrics: tuple[str, ...] = ("localization", "fidelity")
    limit: int = IMAGES
    methods: tuple[str, ...] = ()
    split: str = ""
    explain: str = ""
    protocol: str = "standard"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("Choose at least one thing to measure.")
        offered = (GROUPS, METHODS, EXPLAINED, PROTOCOLS)
        for names, all_ in zip((self.metrics, self.methods, [self.explain], [self.protocol]), offered):
            if odd := [name for name in names if name not in all_]:
                raise ValueError(f"There is no {quoted(odd[0])}: choose from what is offered.")
        if not 1 <= self.limit <= 10**6 or not 0 <= self.seed < 2**31:
            raise ValueError("Images must be 1 to 1,000,000 and the seed 0 or more: set them again.")

    @classmethod
    def read(cls, *values: Any) -> EvalSettings:
        """From the values of the widgets, in the order of the fields. Raises ValueError for an invalid one."""
        try:
            read = [kind(value or kind()) for kind, value in zip(_KINDS, values, strict=True)]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError("A setting is empty or of the wrong kind: fill it in.") from error
        return cls(*read)

    def options(self) -> list[str]:
        """Only what differs from the command line's own defaults."""
        options, default = ["--limit", str(self.limit)], EvalSettings()
        if self.methods:
            options += ["--methods", ",".join(self.methods)]
        if self.metrics != default.metrics:
            options += ["--metrics", ",".join(self.metrics)]
        for name in ("split", "explain", "protocol", "seed"):
            if getattr(self, name) != getattr(default, name):
                value = str(getattr(self, name))
                # one word where it could be taken for an option: a folder of a zip names the split
                options += [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]
        return [*options, "--batch", str(BATCH)]


_KINDS = (tuple, int, tuple, str, str, str, int)


def with_holdout(data: DataSet, holdout: tuple[float, int] | None) -> DataSet:
    """The data split as a training split it, where it has no split of its own."""
    if holdout is None or list(data.splits) != ["all"]:
        return data
    train, val = train_val(data, *holdout)[:2]
    return dataclasses.replace(data, splits={"train": train, "val": val})


def default_split(data: DataSet) -> str:
    """The split that is measured where none is chosen."""
    return next((name for name in SPLIT_ORDER if name in data.splits), next(iter(data.splits)))


@dataclass(frozen=True)
class EvalPlan:
    """What would be measured on which images."""

    data: DataSet
    split: str
    name: str
    model: DualBranch
    settings: EvalSettings

    @classmethod
    def of(cls, data: DataSet, name: str, model: DualBranch, settings: EvalSettings) -> EvalPlan:
        """Raises ValueError for a split that the data does not have, or a method that the model does not allow."""
        split = settings.split or default_split(data)
        if split not in data.splits:
            raise ValueError(f"There is no part {quoted(split)} in these images: choose {', '.join(data.splits)}.")
        plan = cls(data, split, name, model, settings)
        plan.columns()
        return plan

    @property
    def images(self) -> ImageSet:
        """All images of the split."""
        return self.data.splits[self.split]

    @property
    def count(self) -> int:
        """How many are measured."""
        return min(len(self.images), self.settings.limit)

    def columns(self) -> tuple[Column, ...]:
        """Every method, source and clamp."""
        return columns(self.model, self.settings.methods or None, clamps=EvalRun.clamps)

    def maps(self) -> int:
        """How many of them differ."""
        return len({representative(self.model, column) for column in self.columns()})

    def measured(self) -> tuple[dict[str, str], list[str]]:
        """{what is measured: of which class}, and a sentence for each thing left out."""
        settings, images = self.settings, self.images
        usual = {"localization": "true", "fidelity": "predicted", "curves": "predicted"}
        found = {group: settings.explain or usual[group] for group in GROUPS if group in settings.metrics}
        matched, out = zoo.matched(images, self.model.classes) is not None, []
        if "localization" in found and not any(t.boxes or t.masks for t in images.annotations):
            del found["localization"]
            out.append(_("Localisation is left out: these images have no boxes and no masks."))
        if not matched and (strange := [group for group, which in found.items() if which == "true"]):
            words = _(
                "{measures} of the true class cannot be measured: the images' classes are not the model's. Choose the "
                "predicted class under Settings, or another model."
            )
            out.append(words.format(measures=joined(_(MEASURES[group]) for group in strange)))
            found = {group: which for group, which in found.items() if group not in strange}
        return found, out

    def blocks(self, sweep: bool = False) -> list[Block]:
        """The model, the images, what will be measured, what was left out, the time; `sweep`: of `bsoftmax gauge`."""
        found, out = self.measured()
        blocks = [text(self._counted(), "strong"), text(self._heads()), text(self._places())]
        items = [_(EXPLAINING[which]).format(measure=_(MEASURES[group])) for group, which in found.items()]
        blocks.append(listed(_("What will be measured"), items or [_("Nothing.")]))
        blocks += [text(sentence) for sentence in out]
        if found:
            blocks.append(text(self.estimate(found, SWEPT if sweep else None), "quiet"))
        images = self.images
        counts = [f"{name}: {count:,}" for name, count in zip(images.classes, images.counts()) if count]
        blocks.append(listed(_("{n:,} classes").format(n=len(counts)), counts[:IMAGES], folded=True))
        return [*blocks, *skipped_list(self.data.skipped)]

    def _counted(self) -> str:
        n, every = self.count, len(self.images)
        words = _("{n:,} of {every:,} images, every class in proportion, of {split}.")
        if n == every:
            words = _("{n:,} images, of {split}.")
        return words.format(n=n, every=every, split=self.split)

    def _heads(self) -> str:
        both, one = _("Model: {name}, both heads."), _("Model: {name}, its softmax head alone: it has no branch.")
        return (one if self.model.sigmoid is None else both).format(name=self.name)

    def _places(self) -> str:
        boxes, masks = (sum(bool(getattr(t, kind)) for t in self.images.annotations) for kind in ("boxes", "masks"))
        if not boxes and not masks:
            return _("They come without boxes and without masks.")
        said = ((boxes, _("{n:,} have boxes")), (masks, _("{n:,} have masks")))
        have = joined(words.format(n=count) for count, words in said if count)
        return _("Of all {n:,}, {have}.").format(n=len(self.images), have=have)

    def estimate(self, found: Sequence[str], maps: int | None = None) -> str:
        """How long it would take, as a sentence; `maps`: how many differ, if not those of the columns."""
        columns, rate = maps or len(self.columns()), passes_of(self.name, self.model)
        own = sum(METHODS[c.method].passes for c in {representative(self.model, c) for c in self.columns()})
        maps = maps or self.maps()
        each = passes(maps, own, found)
        seconds = STARTING + self.count * (each / rate + maps * SCORING * ("localization" in found))
        words = _(
            "About {time}: at most {passes:,} passes of the network at {rate:,.0f} a second, for {maps} different maps "
            "({columns} columns) of each image."
        )
        most = self.count * each
        return words.format(time=duration(seconds), passes=most, rate=rate, maps=maps, columns=columns)
