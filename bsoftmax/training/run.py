"""A training run: from a data set to a model file with its card and report.

Two stages on features that are computed once: (1) the softmax head for the data's classes, unless the model's own
classes are kept; (2) the sigmoid branch by Eq. 12, everything else frozen.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..data.sets import ImageSet
from ..images.read import read_rgb, square
from ..models import zoo
from ..models.dual_branch import DualBranch
from ..models.heads import last_linear
from ..models.model_card import card
from ..utils import files
from ..utils.distributed import Ranks
from ..utils.events import Emit
from .feature_cache import Stopped
from .finetuning import finetune
from .fitting import fit
from .job import Data, TrainingJob, TrainRun
from .loop import Epoch
from .validation import answers, metrics, report
from .vectors import Vectors

PROVED = 4  # validation images whose logits are compared before and after


def train(
    run: TrainRun, emit: Emit = lambda event: None, stop: Callable[[], bool] = lambda: False, ranks: Ranks | None = None
) -> dict[str, Any]:
    """Runs both stages; writes `out` (.safetensors), its card (.md), its report (.json); returns the last event.

    Of several ranks the first alone returns it. Killed at any point and called again with the same options it goes on
    where it was. `stop` is asked all the time: the run then ends early and keeps what it has learnt. Raises DataError,
    WeightsError, CheckpointError or ValueError with one sentence; also ValueError when it was stopped before there was
    anything to keep.
    """
    work = TrainingJob(run, emit, stop, ranks or Ranks.current())
    try:
        data = work.read()
        model, data, kept = _starting_model(run, data, work.device)
        softmax: dict[str, Any] = {}
        if not kept and run.stage1 == "finetune":
            softmax = _finetuned(work, model, data)
        vectors = work.features(model, data, to_the_end=bool(softmax))
        if not kept and run.stage1 == "probe":
            softmax = _probed(work, model, vectors)
    except Stopped:
        raise ValueError(
            "Stopped before there was anything to keep; the features made so far are used when you start again."
        ) from None
    made = {"softmax": softmax} if softmax else {}
    if not work.stopped:
        made |= _branch(work, model, data, vectors)
    return _finish(work, model, data, vectors, made)


def _starting_model(run: TrainRun, data: Data, where: torch.device) -> tuple[DualBranch, Data, bool]:
    """The model to begin with, the data under its class numbers, and whether its classes are kept."""
    opened = zoo.open_model(run.trunk, run.weights, unfilled=run.stage1 == "finetune").to(where)
    same = len(data.train.classes) == len(opened.classes)
    kept = zoo.matched(data.train, opened.classes) if same and run.classes != "own" else None
    if kept is None and run.classes == "kept":
        raise ValueError(
            f"The {len(data.train.classes)} classes of {run.data!r} are not the {len(opened.classes)} of "
            f"{run.trunk!r}: name them alike, or train a softmax head for them with --classes own."
        )
    if kept is None:
        torch.manual_seed(run.seed)
        return opened.for_classes(data.train.classes), data, False
    val = zoo.matched(data.val, opened.classes)
    return opened, dataclasses.replace(data, train=kept, val=val), True


def _finetuned(work: TrainingJob, model: DualBranch, data: Data) -> dict[str, Any]:
    work.stage("softmax", "Softmax head and the trunk's last stage, fine-tuned")
    steps = finetune(
        model, data.train, work.run.probe, data.val, Path(f"{work.state}-finetune.state"), work.tick, work.stop,
        work.ranks,
    )  # fmt: skip
    return {"method": "last stage fine-tuned", "config": asdict(work.run.probe), **_learnt(work, "softmax", steps)}


def _probed(work: TrainingJob, model: DualBranch, vectors: tuple[Vectors, Vectors]) -> dict[str, Any]:
    work.stage("softmax", "Softmax head, on the frozen features")
    head = model.softmax
    last_linear(head).requires_grad_(True)
    state = Path(f"{work.state}-softmax.state")
    steps = fit(head, vectors[0], work.run.probe, "softmax", vectors[1], state, work.ranks, work.stop)
    last = _learnt(work, "softmax", steps)
    head.requires_grad_(False)
    return {"method": "linear probe on frozen features", "config": asdict(work.run.probe), **last}


def _learnt(work: TrainingJob, stage: str, steps: Iterable[Epoch]) -> dict[str, Any]:
    """What the last epoch of a stage said. Raises Stopped when there was none."""
    if last := work.epochs(stage, steps):
        return last
    raise Stopped


def _branch(work: TrainingJob, model: DualBranch, data: Data, vectors: tuple[Vectors, Vectors]) -> dict[str, Any]:
    """Stage 2, and the proof that nothing else moved."""
    work.stage("branch", "Sigmoid branch, everything else frozen")
    x = _few(model, data.val, vectors[1])
    before, logits = model.frozen_hash(), model(x)["softmax"]
    torch.manual_seed(work.run.seed)
    branch = model.add_branch(work.run.branch.init)
    state = Path(f"{work.state}-branch.state")
    steps = fit(branch, vectors[0], work.run.branch, "sigmoid", vectors[1], state, work.ranks, work.stop)
    last = work.epochs("branch", steps)
    branch.requires_grad_(False)
    if not last:  # stopped within the first epoch
        model.sigmoid = None
        return {}
    model.eval()
    proof = {"before": before, "after": model.frozen_hash(), "images": len(x)}
    proof["logits_equal"] = torch.equal(model(x)["softmax"], logits)
    if proof["before"] != proof["after"] or not proof["logits_equal"]:
        raise RuntimeError("training the branch changed frozen weights")
    return {"sigmoid": {"config": asdict(work.run.branch), **last}, "frozen": proof}


def _few(model: DualBranch, images: ImageSet, seen: Vectors) -> torch.Tensor:
    """A few readable validation images, preprocessed."""
    size = model.spec.preprocessing.size
    paths = [images.paths[n] for n in seen.good[:PROVED].tolist()]
    pixels = [torch.from_numpy(square(read_rgb(path), size).copy()).permute(2, 0, 1) for path in paths]
    return model.normalise(torch.stack(pixels))


def _finish(
    work: TrainingJob, model: DualBranch, data: Data, vectors: tuple[Vectors, Vectors], made: dict[str, Any]
) -> dict[str, Any]:
    """Measures, writes the three files, and tidies up."""
    run = work.run
    work.stage("measure", "Measuring both heads on the validation images")
    said = answers(model, vectors[1])
    bad = {name: len(v.bad) for name, v in zip(("train", "val"), vectors)}
    training = {**model.spec.training, **made, "data": data.described(bad), "command": list(run.command)}
    model.spec = dataclasses.replace(model.spec, training=training, metrics={"val": metrics(said)})
    work.stage("save", "Writing the model")
    paths = {"checkpoint": run.out, "card": run.out.with_suffix(".md"), "report": run.out.with_suffix(".json")}
    if work.ranks.rank == 0:
        model.save(run.out, half=run.half)
        files.write_text(paths["card"], card(model.spec, model.frozen_hash()))
        files.write_text(paths["report"], json.dumps(report(model, data.val, vectors[1], said)))
        for state in work.state.parent.glob(f"{work.state.name}-*"):
            state.unlink(missing_ok=True)
    work.ranks.barrier()
    unreadable = [
        (images.name(n), why) for images, v in zip((data.train, data.val), vectors) for n, why in v.bad.items()
    ]
    done = {"event": "done", **{k: str(v) for k, v in paths.items()}, "metrics": model.spec.metrics}
    done |= {"unreadable": unreadable, "stopped": work.stopped, "seconds": time.monotonic() - work.start}
    done["frozen"] = model.frozen_hash()
    work.emit(done)
    return done if work.ranks.rank == 0 else {}
