"""Everything Compare shows of an analysed photograph: maps of every source, the numbers beside them, the caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bsoftmax import METHODS, SOURCES, DualBranch
from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.copies import UnsuitedError
from bsoftmax.cams.view import Tick
from bsoftmax.utils.language import gettext as _

from ..distort import panel
from ..language.visitor import translated
from ..server.session import Analysis
from .classes import TOP, readable

THUMB = 112  # cells a side of a small map
NOTHING = (
    "The branch finds none of its classes here, which a softmax cannot say: it shares 100 % among them whatever the "
    "photograph."
)


@dataclass(frozen=True)
class Presented:
    """Signed maps [P,Q] each, their description for the browser, and the numbers its Distort panel redraws from."""

    maps: list[np.ndarray]
    info: dict[str, Any]
    features: bytes | None = None
    rows: bytes | None = None


def predicted(analysis: Analysis) -> int:
    """The softmax head's first choice."""
    return int(analysis.logits["softmax"].argmax())


def method_choices(model: DualBranch) -> list[tuple[str, str]]:
    """(label, key) of the methods that suit a model, whether or not what they need is installed."""
    return [(METHODS[key].label, key) for key in cam_methods.offered(model)]


def present(
    analysis: Analysis, k: int | None = None, method: str | None = None, tick: Tick | None = None, live: bool = True
) -> Presented:
    """Every source's map of class k under one method, with and without the clamp, and everything shown beside them.

    Without k the predicted class, without a method the model's default. `live`: with what the Distort panel needs.
    Raises ValueError for an unknown method or one that this head does not allow.
    """
    if k is None:
        k = predicted(analysis)
    method = cam_methods.find(method or cam_methods.default(analysis.model)).key
    columns: list[dict[str, Any]] = []
    maps: list[np.ndarray] = []
    guard, evidence = analysis.guard(method), {s: analysis.view.evidence(s, k) for s in analysis.sources}
    for at, source in enumerate(analysis.sources):
        told = part_of(tick, at, len(analysis.sources), method)
        with guard:
            found = [
                cam_methods.class_map(evidence[source], method, clamp, told)[0].numpy() for clamp in _clamps(method)
            ]
        columns.append(_column(analysis, source, k, method, len(maps), len(maps) + len(found) - 1))
        maps += found
    info = {
        **_context(analysis, k, method),
        "columns": columns,
        "photo_token": analysis.key,
        "grid": list(maps[0].shape),
    }
    info["model_name"] = analysis.model_name if analysis.public else None  # a user model's token must not leak
    if not live or not METHODS[method].follows:
        return Presented(maps, info)
    described, features, rows = panel.pack(analysis, k, method, evidence)
    return Presented(maps, {**info, "distort": described}, features, rows)


def _clamps(method: str) -> tuple[bool, ...]:
    return (False, True) if METHODS[method].clamps else (False,)


def part_of(tick: Tick | None, at: int, count: int, method: str) -> Tick | None:
    """`tick` for one of several columns, each of which takes passes of its own."""
    if tick is None or METHODS[method].shares:
        return tick
    return lambda done, total: tick(at * total + done, count * total)


def _passes(analysis: Analysis, method: str) -> int:
    """How many passes of the trunk a row of the grid takes."""
    columns = 1 if METHODS[method].shares else len(analysis.sources)
    return METHODS[method].passes * columns * analysis.takes_seconds(method)


def _within(tick: Tick | None, spent: int, passes: int, whole: int) -> Tick | None:
    """`tick` for one map, after `spent` of all passes; of Score-CAM, whose number is its own, as it is."""
    if tick is None or not passes:
        return tick
    return lambda done, total: tick(spent + passes * done // max(total, 1), whole)


def overview(analysis: Analysis, k: int, slow: bool = False, tick: Tick | None = None, more: bool = False) -> Presented:
    """Every CAM method and source in one grid, methods that are identical by construction in one row.

    `slow`: the slow ones too; `more`: with all other methods below them. Those at pixels are averaged to a grid of at
    most THUMB cells a side.
    """
    rows: list[dict[str, Any]] = []
    maps: list[np.ndarray] = []
    groups, spent = _rows_of(analysis, more), 0
    evidence = {source: analysis.view.evidence(source, k) for source in analysis.sources}
    whole = sum(_passes(analysis, group[0]) for group in groups if METHODS[group[0]].more)
    for key, *same in groups:
        method, cells = METHODS[key], []
        for source in analysis.sources:
            if analysis.takes_seconds(key) and not (more if method.more else slow):
                cells.append({"source": source, "map": None, "note": _("on request")})
                continue
            waits = analysis.takes_seconds(key)
            told = _within(tick, spent, method.passes, whole) if waits else None
            spent += method.passes * waits
            try:
                with analysis.guard(key):
                    S = cam_methods.class_map(evidence[source], key, None, told)
            except UnsuitedError as error:
                cells.append({"source": source, "map": None, "note": translated(str(error))})
                continue
            maps.append(_thumb(S)[0].numpy())
            cells.append({"source": source, "map": len(maps) - 1, "note": ""})
        note = _("= {methods}, by construction").format(methods=", ".join(METHODS[m].label for m in same))
        rows.append({"method": key, "label": method.label, "class_free": method.class_free, "cells": cells})
        rows[-1]["note"] = note if same else ""
    titles = [_(SOURCES[source].title) for source in analysis.sources]
    info = {**_context(analysis, k, rows[0]["method"]), "rows": rows, "columns": titles}
    return Presented(maps, {**info, "grids": [list(S.shape) for S in maps]})


def _thumb(S: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(S, tuple(min(side, THUMB) for side in S.shape[1:]))


def _rows_of(analysis: Analysis, more: bool) -> list[list[str]]:
    """The methods of this head, those with the same map in every column, as it is clamped, together."""
    methods = [key for key in analysis.methods if more or not METHODS[key].more]
    found: dict[str, list[str]] = {}
    for method in methods:
        groups = [
            {m for g in cam_methods.identical_by_construction(analysis.model, source) if method in g for m in g}
            for source in analysis.sources
        ]
        same = set.intersection(*groups) | {method}
        found.setdefault(next(m for m in methods if m in same), []).append(method)
    return list(found.values())


def _column(analysis: Analysis, source: str, k: int, method: str, raw: int, clamped: int) -> dict[str, Any]:
    """One frame: its titles, the places of its maps, its head's answer."""
    entry = SOURCES[source]
    return {
        "source": source, "title": _(entry.title), "subtitle": _asked(source, method), "raw": raw, "clamped": clamped,
        "clamp_default": entry.clamp, "clamp_applies": METHODS[method].clamps, **_answer(analysis, source, k),
    }  # fmt: skip


def _asked(source: str, method: str) -> str:
    """What of the head a map explains: the source's score or, under RISE, its confidence."""
    if not METHODS[method].confidence:
        return _(SOURCES[source].subtitle)
    if SOURCES[source].branch == "softmax":
        return _("softmax probability of the frozen classifier")
    return _("sigmoid of the trained branch")


def _context(analysis: Analysis, k: int, method: str) -> dict[str, Any]:
    F, model = analysis.view.F, analysis.model
    groups = [g for g in cam_methods.identical_by_construction(model, "sigmoid", clamp=False) if method in g]
    return {
        "grid": [F.shape[2], F.shape[3]],
        "image_size": list(analysis.image.size),
        "class": readable(model.classes[k]),
        "class_index": k,
        "method": method,
        "method_label": METHODS[method].label,
        "model": f"{analysis.title} · {model.spec.trunk}",
        "identical": [METHODS[m].label for m in METHODS if groups and m in groups[0] and m != method],
        "caption": caption(analysis, k, method),
    }


def _answer(analysis: Analysis, source: str, k: int) -> dict[str, Any]:
    """The answer of a source's head: bars of its first classes, its score for k."""
    classes = analysis.model.classes
    logits = analysis.logits[SOURCES[source].branch]
    p = logits.softmax(0) if SOURCES[source].branch == "softmax" else logits.sigmoid()
    top = p.argsort(descending=True)[:TOP].tolist()
    top = top if k in top else [*top[:-1], k]
    scores = dict(zip(top, SOURCES[source].score(logits.expand(len(top), -1), torch.tensor(top)).tolist()))
    texts = {j: f"{scores[j]:+.1f}" if SOURCES[source].invariant else f"{p[j]:.2f}" for j in top}
    return {
        **found(analysis, source),
        "bars": [{"name": readable(classes[j]), "value": p[j].item(), "text": texts[j]} for j in top],
        "bars_label": _(SOURCES[source].answer),
        "score_text": f"{_(SOURCES[source].score_name)} {scores[k]:.2f}",
    }


def found(analysis: Analysis, source: str) -> dict[str, Any]:
    """How many classes a sigmoid branch gives a probability of 0.5 or more, which softmax cannot say, and in words."""
    if SOURCES[source].branch == "softmax":
        return {}
    logits = analysis.logits[SOURCES[source].branch]
    count, classes = int((logits >= 0).sum()), len(logits)
    words = _("The branch finds {count} of its {classes} classes here.")
    if not count:
        words = _("The branch finds none of its {classes} classes here.")
    return {"found": count, "found_text": words.format(count=count, classes=classes)}


def caption(analysis: Analysis, k: int, method: str) -> str:
    """What the frames show and what to look for, and whether the branch finds nothing at all."""
    if analysis.model.sigmoid is None or found(analysis, "sigmoid")["found"]:
        return _what_is_shown(analysis, k, method)
    return f"{_what_is_shown(analysis, k, method)} {_(NOTHING)}"


def _what_is_shown(analysis: Analysis, k: int, method: str) -> str:
    """One sentence: what the frames show and what to look for."""
    classes = analysis.model.classes
    p = analysis.logits["softmax"].softmax(0)
    name, best = readable(classes[k]), int(p.argmax())
    entry = METHODS[method]
    if entry.class_free:
        words = _("{method} asks neither head and no class: it shows {what}.")
        return words.format(method=entry.label, what=_(entry.shows))
    if not entry.clamps:
        words = _("{method} of {name}: {what}. It has no channel weights, so that there is nothing to clamp.")
        return words.format(method=entry.label, name=name, what=_(entry.shows))
    if k != best:
        words = _(
            "You asked for {name}, which softmax gives {p:.1%}; it answers {best}. "
            "What little speaks for {name} is what lights up."
        )
        return words.format(name=name, p=p[k], best=readable(classes[best]))
    if analysis.model.sigmoid is None:
        words = _("Where does {name} come from? Left, the raw logit; right, log-odds, which no common shift can move.")
        return words.format(name=name)
    words = _(
        "One photograph, one pass: left, what raises the softmax logit of {name}; "
        "right, what the sigmoid branch counts as evidence for {name}."
    )
    return words.format(name=name)
