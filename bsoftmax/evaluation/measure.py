"""All numbers of a chunk of images: the trunk runs once for the images and once for every distinct mask.

`measure_chunk` gives one record an image (see `aggregate`). Columns whose maps are equal by construction share one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..cams.distortions import Shift, spearman
from ..cams.methods import class_map
from ..cams.sources import SOURCES
from ..cams.view import Evidence, View
from ..data.sets import DataError, ImageSet
from ..images.read import ImageError
from ..models.dual_branch import DualBranch
from . import fidelity, localization
from .aggregate import Entry, Record
from .column import Column, representative
from .localization import Protocol
from .metrics import map_numbers, pack_counts, pack_hits
from .protocol import POINTING_TOLERANCE

GROUPS = ("localization", "fidelity", "curves")
CURVES = ("deletion", "insertion")
Numbers = dict[str, Any]
Maps = dict[Column, Tensor]


@dataclass(frozen=True)
class Setup:
    """What is measured on what. `labelled`: whether the images' labels are class numbers of the model."""

    model: DualBranch
    images: ImageSet
    labelled: bool
    columns: tuple[Column, ...]
    rule: Protocol
    explained: dict[str, str]  # group of metrics -> the class explained, "true" or "predicted"
    batch: int = fidelity.BATCH
    shifts: tuple[Shift, ...] = ()
    unmasked: frozenset[str] = frozenset()  # shifts without fidelity, which takes a trunk pass for every mask

    @cached_property
    def shifted(self) -> dict[str, nn.Module]:
        """The softmax classifier after each shift."""
        return {shift.key: shift.apply(self.model.softmax) for shift in self.shifts}

    def evidence(self, view: View, k: Tensor, columns: Iterable[Column]) -> dict[tuple[str, str], Evidence]:
        """The evidence of every (source, shift) of some columns; the branch stands still. Raises KeyError."""
        pairs = {(c.source, c.shift) for c in columns}
        moved = {(s, shift) for s, shift in pairs if shift and SOURCES[s].branch == "softmax"}
        return {at: view.evidence(at[0], k, self.shifted[at[1]] if at in moved else None) for at in pairs}

    def entry(self, column: Column) -> Entry:
        """The keys of a column's numbers in a record."""
        key = representative(self.model, column).key
        return Entry(column, key, f"{key}:{self.rule.steps(column.method)['mode']}")

    @cached_property
    def maps(self) -> tuple[Column, ...]:
        """The representatives of the columns: one for every distinct map."""
        return tuple(dict.fromkeys(representative(self.model, column) for column in self.columns))

    @cached_property
    def scaled_maps(self) -> dict[str, tuple[Column, dict[str, Any]]]:
        """The distinct maps as they are scored for localisation: (representative, mode and rectification) by key."""
        steps = self.rule.steps
        return {self.entry(c).scaled_key: (representative(self.model, c), steps(c.method)) for c in self.columns}


def passes(maps: int, own: int, groups: Collection[str]) -> int:
    """The most passes of the trunk for an image, of which `maps` differ; `own`: those that methods take by themselves.

    One for the image; in fidelity one for every map's mask, and the methods' again to see whether the map stays; in
    curves those of Deletion and of Insertion.
    """
    fidelity_maps, curves = maps * ("fidelity" in groups), maps * ("curves" in groups)
    return 1 + fidelity_maps + 2 * (fidelity.STEPS + 1) * curves + own * (1 + ("fidelity" in groups))


def measure_chunk(setup: Setup, pixels: Tensor, index: Sequence[int], unreadable: Mapping[int, str]) -> list[Record]:
    """The records of images `index`, uint8 [B,3,S,S]; `unreadable`: the reason of each image that has no numbers."""
    bad, targets = dict(unreadable), {}
    for n in index:
        try:
            targets[n] = _target(setup, n) if n not in bad else None
        except (DataError, ImageError) as error:
            bad[n] = str(error)
    rows = [b for b, n in enumerate(index) if n not in bad]
    name = setup.images.name
    records: dict[int, Record] = {n: {"i": n, "image": name(n), "unreadable": bad[n]} for n in bad}
    if rows:
        pictures = pixels[rows].float() / 255
        view = View(setup.model, fidelity.normalise(setup.model, pictures))
        finite = view.F.flatten(1).isfinite().all(1).tolist()
        if not all(finite):
            infinite = {index[b]: "Its features are not finite." for b, ok in zip(rows, finite) if not ok}
            return measure_chunk(setup, pixels, index, bad | infinite)
        good = [index[b] for b in rows]
        records |= zip(good, _records(setup, view, pictures, good, [targets[n] for n in good]))
    return [records[n] for n in index]


def _target(setup: Setup, n: int) -> np.ndarray | None:
    """The pixels of the object where localisation is measured and annotated, else None."""
    truth = setup.images.annotations[n] if setup.images.annotations else None
    if "localization" not in setup.explained or truth is None or not (truth.boxes or truth.masks):
        return None
    if truth.boxes:
        localization.true_boxes(truth, setup.rule.size)  # raises for malformed boxes before anything is computed
    return localization.true_pixels(truth, setup.rule.size)


def _records(
    setup: Setup, view: View, pictures: Tensor, index: list[int], targets: list[np.ndarray | None]
) -> list[Record]:
    logits = view.logits("softmax")
    predicted = logits.argmax(1).cpu()
    labels = torch.tensor([setup.images.labels[n] for n in index]) if setup.labelled else predicted
    classes = {group: labels if which == "true" else predicted for group, which in setup.explained.items()}
    maps: dict[str, Maps] = {}
    for group, k in classes.items():  # equal classes have equal maps
        computed = next((g for g in maps if torch.equal(classes[g], k)), None)
        maps[group] = maps[computed] if computed else _maps(setup, view, k)
    main = "fidelity" if "fidelity" in classes else next(iter(classes))
    looks = [{c.key: map_numbers(S[b]) for c, S in maps[main].items()} for b in range(len(index))]
    for alike in by_size(maps.get("fidelity", {})):
        _merge(looks, fidelity_numbers(setup, view, pictures, classes["fidelity"], alike))
    for alike in by_size(maps.get("curves", {})):
        _merge(looks, curve_numbers(setup, pictures, classes["curves"], alike))
    if setup.shifts:
        _merge(looks, centred_ranks(maps[main]))
    changes = largest_change(setup, view) if setup.shifts else []
    p = fidelity.confidence(logits, predicted, "softmax").tolist()
    out = []
    for b, (n, target) in enumerate(zip(index, targets)):
        record = {"i": n, "image": setup.images.name(n), "predicted": int(predicted[b]), "p": p[b], "looks": looks[b]}
        right = bool(predicted[b] == labels[b])
        record |= {"dp": changes[b]} if changes else {}
        if setup.labelled:
            record |= {"label": int(labels[b]), "right": right}
        if target is not None:
            mine = {c: S[b] for c, S in maps["localization"].items()}
            record["places"] = localization_numbers(setup, n, mine, target, right)
        out.append(record)
    return out


def _merge(numbers: Sequence[Numbers], more: Sequence[Numbers]) -> None:
    for image, added in zip(numbers, more):
        for key, values in added.items():
            image[key] |= values


def _maps(setup: Setup, view: View, k: Tensor) -> Maps:
    """Every distinct map of these images: [B,P,Q] each, signed and unscaled."""
    evidence = setup.evidence(view, k, setup.maps)
    return {c: class_map(evidence[c.source, c.shift], c.method, c.clamp).float().cpu() for c in setup.maps}


def by_size(maps: Maps) -> list[Maps]:
    """The maps of one size together: those of attributions at pixels are larger."""
    sizes = dict.fromkeys(S.shape for S in maps.values())
    return [{c: S for c, S in maps.items() if S.shape == size} for size in sizes]


def largest_change(setup: Setup, view: View) -> list[float]:
    """max |p' - p| of each image over classes and shifts: what rounding leaves of 0."""
    p = view.logits("softmax").softmax(1)
    with torch.no_grad():
        changes = [(classifier(view.h).softmax(1) - p).abs().amax(1) for classifier in setup.shifted.values()]
    found: list[float] = torch.stack(changes).amax(0).tolist()
    return found


def centred_ranks(maps: Maps) -> list[Numbers]:
    """Spearman's correlation of every map with that of the centred rows under the same method and clamp, by image.

    0 where either map is constant; nothing for maps whose centred one is not there.
    """
    out: list[Numbers] = [{} for _ in next(iter(maps.values()))]
    for c, S in maps.items():
        centred = maps.get(Column(c.method, "centred", c.clamp))
        for image, a, b in zip(out, S, S if centred is None else centred):
            rho = spearman(a, b)
            image[c.key] = {} if centred is None else {"centred_rank": rho if math.isfinite(rho) else 0.0}
    return out


def localization_numbers(setup: Setup, n: int, maps: Maps, target: np.ndarray, right: bool) -> Numbers:
    """Localisation of one image: {scaled key: {metric: number, "hits": text, "counts": text}}."""
    truth, out = setup.images.annotations[n], {}
    for key, (column, steps) in setup.scaled_maps.items():
        values = localization.scale(maps[column], setup.rule.size, **steps)
        numbers: Numbers = {"pointing": localization.pointing(values, target, POINTING_TOLERANCE)}
        if truth.boxes:
            levels = localization.quantise(values)
            scores, hits = localization.score_boxes(levels, truth, right, setup.rule)
            names = ("gt_loc", "top1_loc") if setup.labelled else ("gt_loc",)
            numbers |= {name: scores[name] for name in names} | {"hits": pack_hits(hits)}
        if truth.masks:
            numbers["counts"] = pack_counts(localization.pixel_counts(values, target))
        out[key] = numbers
    return out


def fidelity_numbers(setup: Setup, view: View, pictures: Tensor, k: Tensor, maps: Maps) -> list[Numbers]:
    """Average Drop, ADCC and the others for every distinct map, with one trunk pass for every distinct mask."""
    columns = [c for c in maps if c.shift not in setup.unmasked]
    model, height, width = setup.model, pictures.shape[2], pictures.shape[3]
    S = torch.stack([maps[c] for c in columns], 1)
    # owners[b,m]: the first of image b's maps that has the same mask as map m
    owners = torch.stack([first[kinds] for first, kinds in map(fidelity.distinct, S)])
    heads = sorted({fidelity.scoring_head(c.source, scoring) for c in columns for scoring in fidelity.SCORINGS})
    p = {head: fidelity.confidence(view.logits(head), k, head) for head in heads}
    out: list[Numbers] = [{} for _ in range(len(k))]
    for owner in sorted(set(owners.flatten().tolist())):
        rows = (owners[:, owner] == owner).nonzero().flatten()
        masks = fidelity.masks(S[rows, owner], (height, width))
        for part, masked in fidelity.masked_views(model, pictures, masks.to(model.device), rows, setup.batch):
            b = rows[part]
            q = {head: fidelity.confidence(masked.logits(head), k[b], head) for head in heads}
            evidence = setup.evidence(masked, k[b], columns)
            for m in (owners[b] == owner).any(0).nonzero().flatten().tolist():
                column = columns[m]
                again = class_map(evidence[column.source, column.shift], column.method, column.clamp).float().cpu()
                again = fidelity.masks(again, (height, width))
                for row in (owners[b, m] == owner).nonzero().flatten().tolist():
                    confidence = {h: (float(p[h][b[row]]), float(q[h][row])) for h in heads}
                    out[int(b[row])][column.key] = _fidelity_of(column, confidence, masks[part][row], again[row])
    return out


def _fidelity_of(column: Column, confidence: dict[str, tuple[float, float]], mask: Tensor, again: Tensor) -> Numbers:
    out = {"coherency": fidelity.coherency(mask, again), "complexity": fidelity.complexity(mask)}
    for scoring, suffix in zip(fidelity.SCORINGS, ("", ".own")):
        p, q = confidence[fidelity.scoring_head(column.source, scoring)]
        drop = fidelity.average_drop(p, q)
        out |= {f"average_drop{suffix}": drop, f"increase{suffix}": fidelity.increase(p, q)}
        out[f"average_gain{suffix}"] = fidelity.average_gain(p, q)
        out[f"adcc{suffix}"] = fidelity.adcc(out["coherency"], out["complexity"], drop)
    return out


def curve_numbers(setup: Setup, pictures: Tensor, k: Tensor, maps: Maps) -> list[Numbers]:
    """Deletion and Insertion of every distinct ranking of the pixels: areas, and the curves themselves."""
    columns, out = list(maps), []
    for b, picture in enumerate(pictures.to(setup.model.device)):
        S = torch.stack([maps[c][b] for c in columns])
        first, kinds = fidelity.distinct(S, rectify=False)
        found = []
        for m in first.tolist():
            ranking = fidelity.order(S[m], (picture.shape[1], picture.shape[2]))
            found.append(
                {kind: fidelity.path(setup.model, picture, int(k[b]), ranking, kind, batch=setup.batch)
                 for kind in CURVES}
            )  # fmt: skip
        out.append({c.key: _areas(c, found[kind]) for c, kind in zip(columns, kinds.tolist())})
    return out


def _areas(column: Column, curves: dict[str, dict[str, Tensor]]) -> Numbers:
    out: Numbers = {"curves": {}}
    for kind, confidence in curves.items():
        for scoring, suffix in zip(fidelity.SCORINGS, ("", ".own")):
            values = confidence[SOURCES[column.source].branch if scoring == "own" else "softmax"]
            out[f"{kind}{suffix}"] = fidelity.auc(values)
            out["curves"][f"{kind}{suffix}"] = values.tolist()
    return out
