"""Everything Compare shows of an analysed photograph: maps of every source, the numbers beside them, the caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bsoftmax import METHODS, SOURCES, DualBranch
from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.view import Tick
from bsoftmax.utils.language import gettext as _

from ..distort import panel
from ..server.session import Analysis
from .classes import TOP, readable

NOTHING = (
    "The branch finds none of its classes here, which a softmax cannot say: it shares 100 % among them whatever the "
    "photograph."
)


@dataclass(frozen=True)
class Presented:
    """Signed maps [n,P,Q], their description for the browser, and the numbers its Distort panel redraws from."""

    maps: np.ndarray
    info: dict[str, Any]
    features: bytes | None = None
    rows: bytes | None = None


def predicted(analysis: Analysis) -> int:
    """The softmax head's first choice."""
    return int(analysis.logits["softmax"].argmax())


def method_choices(model: DualBranch) -> list[tuple[str, str]]:
    """(label, key) of the methods that a model's head allows."""
    return [(method.label, key) for key, method in METHODS.items() if cam_methods.unavailable(model, key) is None]


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
    for source in analysis.sources:
        columns.append(_column(analysis, source, k, method, len(maps)))
        with guard:
            maps += [cam_methods.class_map(evidence[source], method, clamp, tick)[0].numpy() for clamp in (False, True)]
    info = {**_context(analysis, k, method), "columns": columns, "photo_token": analysis.key}
    info["model_name"] = analysis.model_name if analysis.public else None  # a user model's token must not leak
    if not live:
        return Presented(np.stack(maps), info)
    described, features, rows = panel.pack(analysis, k, method, evidence)
    return Presented(np.stack(maps), {**info, "distort": described}, features, rows)


def overview(analysis: Analysis, k: int, slow: bool = False, tick: Tick | None = None) -> Presented:
    """Every method and source in one grid, methods that are identical by construction in one row.

    The slow methods only when asked for.
    """
    rows: list[dict[str, Any]] = []
    maps: list[np.ndarray] = []
    for key, *same in _rows_of(analysis):
        method, cells = METHODS[key], []
        for source in analysis.sources:
            if analysis.takes_seconds(key) and not slow:
                cells.append({"source": source, "map": None, "note": _("on request")})
                continue
            with analysis.guard(key):
                evidence = analysis.view.evidence(source, k)
                maps.append(cam_methods.class_map(evidence, key, None, tick)[0].numpy())
            cells.append({"source": source, "map": len(maps) - 1, "note": ""})
        note = _("= {methods}, by construction").format(methods=", ".join(METHODS[m].label for m in same))
        rows.append({"method": key, "label": method.label, "class_free": method.class_free, "cells": cells})
        rows[-1]["note"] = note if same else ""
    titles = [_(SOURCES[source].title) for source in analysis.sources]
    return Presented(np.stack(maps), {**_context(analysis, k, rows[0]["method"]), "rows": rows, "columns": titles})


def _rows_of(analysis: Analysis) -> list[list[str]]:
    """The methods of this head, those with the same map in every column, as it is clamped, together."""
    found: dict[str, list[str]] = {}
    for method in analysis.methods:
        groups = [
            {m for g in cam_methods.identical_by_construction(analysis.model, source) if method in g for m in g}
            for source in analysis.sources
        ]
        same = set.intersection(*groups) | {method}
        found.setdefault(next(m for m in analysis.methods if m in same), []).append(method)
    return list(found.values())


def _column(analysis: Analysis, source: str, k: int, method: str, at: int) -> dict[str, Any]:
    """One frame: its titles, the places of its maps, its head's answer."""
    entry = SOURCES[source]
    return {
        "source": source, "title": _(entry.title), "subtitle": _(entry.subtitle), "raw": at, "clamped": at + 1,
        "clamp_default": entry.clamp, "clamp_applies": not METHODS[method].class_free, **_answer(analysis, source, k),
    }  # fmt: skip


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
    if METHODS[method].class_free:
        words = _("{method} asks neither head and no class: it shows where the features vary most.")
        return words.format(method=METHODS[method].label)
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
