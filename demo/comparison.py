"""From a look to what the page shows: maps of every source, the numbers beside them, the sentence under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bsoftmax import METHODS, SOURCES, cams
from bsoftmax.view import Tick

from .session import Look

TOP = 5


def shown(name: str) -> str:
    """A class name as people read it."""
    return name.replace("_", " ")


@dataclass(frozen=True)
class Comparison:
    """Signed maps [n,P,Q] and what the browser needs to know about them."""

    maps: np.ndarray
    info: dict[str, Any]


def sources_of(look: Look) -> list[str]:
    """The sources this model can answer for: without a branch, log-odds takes its place."""
    return [key for key, s in SOURCES.items() if s.branch == "softmax" or look.model.sigmoid is not None]


def methods_of(look: Look) -> list[str]:
    """The methods this model's head allows."""
    return [key for key in METHODS if cams.unavailable(look.model, key) is None]


def ranked_classes(look: Look) -> list[tuple[str, int]]:
    """(name, number) of every class, the softmax head's first choices first, then by the alphabet."""
    order = look.view.logits("softmax")[0].argsort(descending=True).tolist()
    rest = sorted(order[TOP:], key=lambda k: shown(look.model.classes[k]).lower())
    return [(shown(look.model.classes[k]), k) for k in [*order[:TOP], *rest]]


def compare(look: Look, k: int, method: str, tick: Tick | None = None) -> Comparison:
    """Every source's map of class k under one method, with and without the clamp.

    Raises ValueError for an unknown method or one that this head does not allow.
    """
    columns, maps = [], []
    for key in sources_of(look):
        source = SOURCES[key]
        with look.lock:
            evidence = look.view.evidence(key, k)
            pair = [cams.class_map(evidence, method, clamp, tick)[0].numpy() for clamp in (False, True)]
        columns.append(
            {
                "source": key,
                "title": source.title,
                "subtitle": source.subtitle,
                "raw": len(maps),
                "clamped": len(maps) + 1,
                "clamp_default": source.clamp,
                "clamp_applies": not METHODS[method].class_free,
                **_answer(look, key, k),
            }
        )
        maps += pair
    return Comparison(np.stack(maps), {**_context(look, k, method), "columns": columns})


def _context(look: Look, k: int, method: str) -> dict[str, Any]:
    F = look.view.F
    groups = [group for group in cams.identical_by_construction(look.model, "sigmoid", clamp=False) if method in group]
    return {
        "grid": [F.shape[2], F.shape[3]],
        "image_size": list(look.image.size),
        "class": shown(look.model.classes[k]),
        "class_index": k,
        "method": method,
        "method_label": METHODS[method].label,
        "model": f"{look.title} · {look.model.spec.trunk}",
        "identical": [METHODS[m].label for m in METHODS if groups and m in groups[0] and m != method],
        "caption": caption(look, k, method),
    }


def _answer(look: Look, source: str, k: int) -> dict[str, Any]:
    """What the head behind a source says about the picture: bars for its first classes, its score for k."""
    logits = look.view.logits(SOURCES[source].branch)
    every = torch.arange(logits.shape[1])
    scores = SOURCES[source].score(logits.expand(len(every), -1), every)
    p = logits.softmax(1)[0] if SOURCES[source].branch == "softmax" else logits.sigmoid()[0]
    top = p.argsort(descending=True)[:TOP].tolist()
    top = top if k in top else [*top[:-1], k]
    texts = {j: f"{scores[j]:+.1f}" if source == "log-odds" else f"{p[j]:.2f}" for j in top}
    return {
        "bars": [{"name": shown(look.model.classes[j]), "value": p[j].item(), "text": texts[j]} for j in top],
        "bars_label": SOURCES[source].answer,
        "score_text": f"{'log-odds' if source == 'log-odds' else 'logit'} {scores[k]:.2f}",
    }


def caption(look: Look, k: int, method: str) -> str:
    """One plain sentence: what the frames show and what to look for."""
    p = look.view.logits("softmax").softmax(1)[0]
    name, best = shown(look.model.classes[k]), int(p.argmax())
    if METHODS[method].class_free:
        return f"{METHODS[method].label} asks neither head and no class: it shows where the features vary most."
    if k != best:
        return (
            f"You asked for {name}, which softmax gives {p[k]:.1%}; it answers {shown(look.model.classes[best])}. "
            f"What little speaks for {name} is what lights up."
        )
    if look.model.sigmoid is None:
        return f"Where does {name} come from? Left, the raw logit; right, log-odds, which no common shift can move."
    return (
        f"One photograph, one pass: left, what raises the softmax logit of {name}; "
        f"right, what the sigmoid branch counts as evidence for {name}."
    )


def overview(look: Look, k: int, slow: bool = False, tick: Tick | None = None) -> Comparison:
    """Every method and source in one grid; the slow methods only when asked for."""
    rows, maps, keys = [], [], sources_of(look)
    for key in methods_of(look):
        method = METHODS[key]
        cells: list[dict[str, Any]] = []
        for source in keys:
            if cams.takes_seconds(look.model, key) and not (slow or (method.slow and look.view.has_masked)):
                cells.append({"source": source, "map": None, "note": "on request"})
                continue
            with look.lock:
                maps.append(cams.class_map(look.view.evidence(source, k), key, None, tick)[0].numpy())
            cells.append({"source": source, "map": len(maps) - 1, "note": ""})
        rows.append({"method": key, "label": method.label, "class_free": method.class_free, "cells": cells})
        rows[-1]["note"] = _same(look, key, keys)
    info = {**_context(look, k, rows[0]["method"]), "rows": rows, "columns": [SOURCES[s].title for s in keys]}
    return Comparison(np.stack(maps), info)


def _same(look: Look, method: str, sources: Sequence[str]) -> str:
    """Which methods give the same map as this one in every column, as the columns are clamped."""
    groups = [{m for g in cams.identical_by_construction(look.model, s) if method in g for m in g} for s in sources]
    same = set.intersection(*groups) - {method}
    return "identical to " + ", ".join(METHODS[m].label for m in METHODS if m in same) if same else ""
