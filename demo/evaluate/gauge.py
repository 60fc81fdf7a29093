"""How far off centre a head may be: a sweep of `bsoftmax gauge` on a visitor's images, as the page shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax.gauge import report
from bsoftmax.utils.language import gettext as _

from ..components.files import copy_to_cache, zip_to_cache
from ..components.report import Block, ReportData, listed, text
from ..language.visitor import translated
from .plan import EvalSettings
from .progress import EvalProgress

QUESTIONS = {"evaluate": "Who is right?", "gauge": "How far off centre may this head be?"}
FIGURE, ALL_FILES = "gauge.png", "gauge.zip"
READ = (
    "The head's rows are moved by one vector, the same for every class, so that no probability changes. Softmax's own "
    "map is red (clamped: orange); the branch and the centred rows stand still. Where the red curve is worse than the "
    "blue one, the branch pays. The dotted line is where this head itself stands."
)


def words(source: str, model: Sequence[str], settings: EvalSettings) -> list[str]:
    """The command line of a sweep; `model`: nothing for the default, else --model and its name."""
    named = list(model[1:])
    some = ["--limit", str(settings.limit), "--seed", str(settings.seed), "--protocol", settings.protocol]
    some += ["--metrics", ",".join(m for m in settings.metrics if m != "curves") or "localization"]
    some += [f"--split={settings.split}"] if settings.split else []
    some += ["--method", settings.methods[0]] if settings.methods else []
    return ["gauge", *named, f"--data={source}", *some]


class GaugeProgress(EvalProgress):
    """The progress of a sweep, whose columns are too many for a table on the way."""

    LABEL = "Sweep"

    def receive(self, kind: str, event: dict[str, Any]) -> bool:
        """Without tables."""
        return kind != "table" and super().receive(kind, event)


def shown(done: dict[str, Any]) -> dict[str, Any]:
    """The widgets of a finished sweep: words, figure, files."""
    found = json.loads(Path(done["results"]).read_text(encoding="utf-8"))
    files = {Path(path).name: path for path in done["files"]}
    return {
        "gauge_outcome": gr.Column(visible=True), "gauge_words": ReportData(blocks=_blocks(found)),
        "gauge_figure": gr.Image(value=copy_to_cache(files[FIGURE])),
        "gauge_files": gr.DownloadButton(value=zip_to_cache(ALL_FILES, done["files"])),
    }  # fmt: skip


def _blocks(found: dict[str, Any]) -> list[Block]:
    first, *others = report.verdict(found)
    notes = [text(translated(note), "quiet") for note in found["notes"]]
    stopped = _("Stopped early: {n:,} of {asked:,} images.").format(n=found["n"], asked=found["asked"])
    part = [] if found["complete"] else [text(stopped)]
    return [text(first, "strong"), listed("", others), *part, *notes, text(_(READ), "quiet")]
