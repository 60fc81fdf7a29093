"""What a training would learn from and how long it would take, before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from bsoftmax.data.layouts import train_val
from bsoftmax.data.sets import DataSet, ImageSet, Skipped
from bsoftmax.training.loop import ProbeConfig
from bsoftmax.utils.language import gettext as _

from ..components.report import Block, table, text
from ..language.visitor import translated
from ..workspace.preview import SHOWN, duration, passes_a_second, skipped_list
from .settings import Settings

HEADS = 2e-9  # seconds for an image, class and feature in an epoch of one head: a small part of the whole
OPTIMUM = 200  # evaluations of a head's loss until its optimum and its penalty are found, about


@dataclass(frozen=True)
class Plan:
    """A data set as it would be split."""

    train: ImageSet
    val: ImageSet
    split: str
    skipped: tuple[Skipped, ...]

    @classmethod
    def of(cls, data: DataSet, settings: Settings) -> Plan:
        """Raises ValueError (or a kind of it) when the set cannot be split."""
        return cls(*train_val(data, settings.share, settings.seed), data.skipped)

    def blocks(self, estimate: str) -> list[Block]:
        """Classes and counts, the split, what was left out and why, the time."""
        names, C = self.train.classes, len(self.train.classes)
        rows = list(zip(names, self.train.counts(), self.val.counts()))
        n = len(self.train) + len(self.val)
        counted = _("{n:,} images of {classes:,} classes.").format(n=n, classes=C)
        out = [text(counted, "strong"), text(translated(self.split)), text(estimate, "quiet")]
        first = _("Images of each class, the first {n}").format(n=SHOWN)
        caption = first if C > SHOWN else _("Images of each class")
        out.append(table(caption, (_("class"), _("training"), _("validation")), rows[:SHOWN]))
        return [*out, *skipped_list(self.skipped)]


def estimate(plan: Plan, settings: Settings) -> str:
    """How long training would take, as a sentence. Raises ValueError for an unknown trunk."""
    rate = passes_a_second(settings.trunk)
    passes = settings.views * len(plan.train) + len(plan.val)
    epochs, heads = settings.epochs, _("then {epochs} epochs of the branch").format(epochs=settings.epochs)
    if settings.solver == "auto":
        epochs, heads = OPTIMUM, _("then both heads to their optimum")
    about = _("{passes:,} passes of the trunk at {rate:,.0f} a second, {heads}")
    about = about.format(passes=passes, rate=rate, heads=heads)
    seconds = passes / rate + HEADS * 2 * epochs * len(plan.train) * len(plan.train.classes) * 1024
    if settings.stage1 == "finetune":  # a pass back costs twice a pass forth, but only through the last stage
        seconds += 2 * ProbeConfig.epochs * len(plan.train) / rate
        about = _("{about}, the trunk's last stage trained with the first").format(about=about)
    return _("About {time}: {about}.").format(time=duration(seconds + 6), about=about)
