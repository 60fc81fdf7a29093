"""All numbers of some images at once: one run of the trunk for the images, one for every distinct mask.

`chunk` gives one plain record an image: under "looks" what does not depend on how a map is enlarged for scoring places
(fidelity, signs), under "places" what does. Columns that are one map by construction share an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cams.methods import class_map
from ..cams.sources import SOURCES
from ..cams.view import View
from ..data.sets import DataError, ImageSet
from ..images.read import ImageError
from ..models.dual_branch import DualBranch
from . import fidelity, localization
from .column import Column, representative
from .localization import Protocol
from .metrics import pack_counts, pack_hits
from .protocol import TOLERANCE
from .statistics import map_numbers

GROUPS = ("localization", "fidelity", "curves")
CURVES = ("deletion", "insertion")
Numbers = dict[str, Any]
Maps = dict[Column, Tensor]


@dataclass(frozen=True)
class Bench:
    """What is measured on what. `labelled`: whether the images' labels are class numbers of the model."""

    model: DualBranch
    images: ImageSet
    labelled: bool
    columns: tuple[Column, ...]
    rule: Protocol
    explained: dict[str, str]  # of what is measured: group -> "true" or "predicted"
    batch: int = fidelity.BATCH

    @cached_property
    def looks(self) -> tuple[Column, ...]:
        """The distinct columns, of which the others are copies by construction."""
        return tuple(dict.fromkeys(representative(self.model, column) for column in self.columns))

    def place(self, column: Column) -> str:
        """The entry of a record's "places" that a column has."""
        return f"{representative(self.model, column).key}:{self.rule.steps(column.method)['mode']}"

    @cached_property
    def places(self) -> dict[str, tuple[Column, dict[str, Any]]]:
        """Every distinct map as it is scored for places: (the map, mode and rectification)."""
        return {self.place(c): (representative(self.model, c), self.rule.steps(c.method)) for c in self.columns}


def chunk(bench: Bench, pixels: Tensor, index: Sequence[int], unread: dict[int, str]) -> list[Numbers]:
    """Records of images `index`, uint8 [B,3,S,S]; those in `unread` (place -> why) are counted out."""
    bad, targets = dict(unread), {}
    for n in index:
        try:
            targets[n] = _target(bench, n) if n not in bad else None
        except (DataError, ImageError) as error:
            bad[n] = str(error)
    rows = [b for b, n in enumerate(index) if n not in bad]
    records = {n: {"i": n, "image": bench.images.name(n), "unreadable": why} for n, why in bad.items()}
    if rows:
        pictures = pixels[rows].float() / 255
        view = View(bench.model, fidelity.normalise(bench.model, pictures))
        finite = view.F.flatten(1).isfinite().all(1).tolist()
        if not all(finite):
            blown = {index[b]: "Its features are not finite." for b, ok in zip(rows, finite) if not ok}
            return chunk(bench, pixels, index, bad | blown)
        good = [index[b] for b in rows]
        records |= zip(good, _measured(bench, view, pictures, good, [targets[n] for n in good]))
    return [records[n] for n in index]


def _target(bench: Bench, n: int) -> np.ndarray | None:
    """The pixels of the object, where places are asked for and known; None otherwise."""
    truth = bench.images.annotations[n] if bench.images.annotations else None
    if "localization" not in bench.explained or truth is None or not (truth.boxes or truth.masks):
        return None
    if truth.boxes:
        localization.true_boxes(truth, bench.rule.size)  # refuses boxes that are none before anything is computed
    return localization.true_pixels(truth, bench.rule.size)


def _measured(
    bench: Bench, view: View, pictures: Tensor, index: list[int], targets: list[np.ndarray | None]
) -> list[Numbers]:
    logits = view.logits("softmax")
    predicted = logits.argmax(1).cpu()
    labels = torch.tensor([bench.images.labels[n] for n in index]) if bench.labelled else predicted
    aims = {group: labels if what == "true" else predicted for group, what in bench.explained.items()}
    maps: dict[str, Maps] = {}
    for group, k in aims.items():  # the same classes have the same maps
        twin = next((g for g in maps if torch.equal(aims[g], k)), None)
        maps[group] = maps[twin] if twin else _maps(bench, view, k)
    main = "fidelity" if "fidelity" in aims else next(iter(aims))
    looks = [{c.key: map_numbers(S[b]) for c, S in maps[main].items()} for b in range(len(index))]
    if "fidelity" in bench.explained:
        _add(looks, faithful(bench, view, pictures, aims["fidelity"], maps["fidelity"]))
    if "curves" in bench.explained:
        _add(looks, curves(bench, pictures, aims["curves"], maps["curves"]))
    p = fidelity.confidence(logits, predicted, "softmax").tolist()
    out = []
    for b, n in enumerate(index):
        record = {"i": n, "image": bench.images.name(n), "predicted": int(predicted[b]), "p": p[b], "looks": looks[b]}
        right = bool(predicted[b] == labels[b])
        if bench.labelled:
            record |= {"label": int(labels[b]), "right": right}
        if targets[b] is not None:
            located = {c: S[b] for c, S in maps["localization"].items()}
            record["places"] = placed(bench, n, located, targets[b], right)
        out.append(record)
    return out


def _add(looks: list[Numbers], more: list[Numbers]) -> None:
    for mine, theirs in zip(looks, more):
        for key, numbers in theirs.items():
            mine[key] |= numbers


def _maps(bench: Bench, view: View, k: Tensor) -> Maps:
    """Every distinct map of these images: [B,P,Q] each, signed and unscaled."""
    evidence = {source: view.evidence(source, k) for source in {c.source for c in bench.looks}}
    return {c: class_map(evidence[c.source], c.method, c.clamp).float().cpu() for c in bench.looks}


def placed(bench: Bench, n: int, maps: Maps, target: np.ndarray, right: bool) -> Numbers:
    """Boxes, masks and points of one image: {place: {metric: number, "hits": text, "counts": text}}."""
    truth, out = bench.images.annotations[n], {}
    for place, (column, steps) in bench.places.items():
        values = localization.scale(maps[column], bench.rule.size, **steps)
        numbers: Numbers = {"pointing": localization.pointing(values, target, TOLERANCE)}
        if truth.boxes:
            levels = localization.quantise(values)
            found, hits = localization.score_boxes(levels, truth, right, bench.rule)
            known = {"gt_loc", "top1_loc"} if bench.labelled else {"gt_loc"}
            numbers |= {key: value for key, value in found.items() if key in known} | {"hits": pack_hits(hits)}
        if truth.masks:
            numbers["counts"] = pack_counts(localization.pixel_counts(values, target))
        out[place] = numbers
    return out


def faithful(bench: Bench, view: View, pictures: Tensor, k: Tensor, maps: Maps) -> list[Numbers]:
    """Average Drop and its kin of every distinct map: the trunk runs once for every distinct mask of an image."""
    model, looks = bench.model, list(maps)
    S = torch.stack([maps[c] for c in looks], 1)
    leads = torch.stack([first[kinds] for first, kinds in map(fidelity.distinct, S)])  # [B,L]: whose mask it is
    heads = sorted({fidelity.asked(c.source, scoring) for c in looks for scoring in fidelity.SCORINGS})
    p = {head: fidelity.confidence(view.logits(head), k, head) for head in heads}
    out: list[Numbers] = [{} for _ in range(len(k))]
    for lead in leads.unique().tolist():
        rows = (leads[:, lead] == lead).nonzero().flatten()
        masks = fidelity.masks(S[rows, lead], tuple(pictures.shape[2:]))
        for part, seen in fidelity.masked_views(model, pictures, masks.to(model.device), rows, bench.batch):
            b = rows[part]
            q = {head: fidelity.confidence(seen.logits(head), k[b], head) for head in heads}
            evidence = {source: seen.evidence(source, k[b]) for source in {c.source for c in looks}}
            for m in (leads[b] == lead).any(0).nonzero().flatten().tolist():
                column = looks[m]
                again = class_map(evidence[column.source], column.method, column.clamp).float().cpu()
                again = fidelity.masks(again, tuple(pictures.shape[2:]))
                for row in (leads[b, m] == lead).nonzero().flatten().tolist():
                    confident = {h: (float(p[h][b[row]]), float(q[h][row])) for h in heads}
                    out[int(b[row])][column.key] = _numbers(column, confident, masks[part][row], again[row])
    return out


def _numbers(column: Column, confident: dict[str, tuple[float, float]], mask: Tensor, again: Tensor) -> Numbers:
    out = {"coherency": fidelity.coherency(mask, again), "complexity": fidelity.complexity(mask)}
    for scoring, ending in zip(fidelity.SCORINGS, ("", ".own")):
        p, q = confident[fidelity.asked(column.source, scoring)]
        drop = fidelity.average_drop(p, q)
        out |= {f"average_drop{ending}": drop, f"increase{ending}": fidelity.increase(p, q)}
        out[f"average_gain{ending}"] = fidelity.average_gain(p, q)
        out[f"adcc{ending}"] = fidelity.adcc(out["coherency"], out["complexity"], drop)
    return out


def curves(bench: Bench, pictures: Tensor, k: Tensor, maps: Maps) -> list[Numbers]:
    """Deletion and Insertion of every distinct ranking of the pixels: areas, and the curves themselves."""
    looks, out = list(maps), []
    for b, picture in enumerate(pictures.to(bench.model.device)):
        S = torch.stack([maps[c][b] for c in looks])
        first, kinds = fidelity.distinct(S, rectify=False)
        ways = []
        for m in first.tolist():
            ranking = fidelity.order(S[m], tuple(picture.shape[1:]))
            ways.append(
                {kind: fidelity.path(bench.model, picture, int(k[b]), ranking, kind, batch=bench.batch)
                 for kind in CURVES}
            )  # fmt: skip
        out.append({c.key: _areas(c, ways[kind]) for c, kind in zip(looks, kinds.tolist())})
    return out


def _areas(column: Column, way: dict[str, dict[str, Tensor]]) -> Numbers:
    out: Numbers = {"curves": {}}
    for kind, found in way.items():
        for scoring, ending in zip(fidelity.SCORINGS, ("", ".own")):
            values = found[SOURCES[column.source].branch if scoring == "own" else "softmax"]
            out[f"{kind}{ending}"] = fidelity.auc(values)
            out["curves"][f"{kind}{ending}"] = values.tolist()
    return out
