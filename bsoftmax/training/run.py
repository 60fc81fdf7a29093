"""Training: from a data set to a checkpoint with its model card and report.

Two stages on features that are computed once: (1) the softmax head for the data's classes, unless the model's classes
are kept; (2) the sigmoid branch by Eq. 12, everything else frozen.
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
from torch import nn

from ..cams.breaking import breaking
from ..cams.methods import default
from ..data.sets import ImageSet
from ..images.read import read_rgb, square
from ..models import zoo
from ..models.dual_branch import DualBranch
from ..models.heads import last_linear
from ..models.model_card import card
from ..utils import files
from ..utils.distributed import Ranks
from ..utils.events import Emit
from . import calibration
from .feature_cache import Stopped
from .finetuning import finetune
from .fitting import fit
from .gauge import linear
from .job import Data, TrainingJob, TrainRun
from .loop import BranchConfig, Epoch
from .solver import Optimiser, solvable
from .validation import evenly, metrics, predict, report, views
from .vectors import Vectors

CHECKED = 4  # validation images whose logits are compared before and after stage 2
JUDGED = 32  # validation images whose boxes are followed under shifts of the weights: 0.2 s each


def train(
    run: TrainRun, emit: Emit = lambda event: None, stop: Callable[[], bool] = lambda: False, ranks: Ranks | None = None
) -> dict[str, Any]:
    """Runs both stages; writes `out` (.safetensors), its card (.md), its report (.json); returns the last event.

    Rank 0 alone returns it. A killed run called again with the same options resumes. `stop` is called between batches;
    the run then ends early with what it has learned. Raises DataError, WeightsError, CheckpointError or ValueError with
    one sentence; ValueError also when it was stopped before anything was trained.
    """
    job = TrainingJob(run, emit, stop, ranks or Ranks.current())
    try:
        data = job.read()
        model, data, kept = _initial_model(run, data, job.device)
        softmax: dict[str, Any] = {}
        if not kept and run.stage1 == "finetune":
            softmax = _finetuned(job, model, data)
        vectors = job.features(model, data, ignore_stop=bool(softmax))
        if not kept and run.stage1 == "probe":
            softmax = _probed(job, model, vectors)
    except Stopped:
        raise ValueError(
            "Stopped before there was anything to keep; the features made so far are used when you start again."
        ) from None
    made = {"softmax": softmax} if softmax else {}
    if not job.stopped:
        made |= _branch(job, model, data, vectors)
    return _finish(job, model, data, vectors, made)


def _initial_model(run: TrainRun, data: Data, device: torch.device) -> tuple[DualBranch, Data, bool]:
    """The initial model, the data under its class numbers, and whether its classes are kept."""
    opened = zoo.open_model(run.trunk, run.weights, unfilled=run.stage1 == "finetune", headless=True).to(device)
    if run.heads and (run.stage1 == "finetune" or not opened.has_public_trunk):
        raise ValueError(
            "Heads alone belong to a bundled or public trunk that nothing changed: save the whole model, or train on "
            "one of those."
        )
    same = len(data.train.classes) == len(opened.classes)
    train = zoo.matched(data.train, opened.classes) if same and run.classes != "own" else None
    val = None if train is None else zoo.matched(data.val, opened.classes)
    if run.classes == "kept" and (train is None or val is None):
        raise ValueError(
            f"The {len(data.train.classes)} classes of {run.data!r} are not the {len(opened.classes)} of "
            f"{run.trunk!r}: name them alike, or train a softmax head for them with --classes own."
        )
    if train is None or val is None:
        torch.manual_seed(run.seed)
        return opened.for_classes(data.train.classes), data, False
    return opened, dataclasses.replace(data, train=train, val=val), True


def _finetuned(job: TrainingJob, model: DualBranch, data: Data) -> dict[str, Any]:
    job.stage("softmax", "Softmax head and the trunk's last stage, fine-tuned")
    config, state = job.run.probe, Path(f"{job.state}-finetune.state")
    steps = finetune(model, data.train, config, data.val, state, job.tick, job.stop, job.ranks)
    return {"method": "last stage fine-tuned", "config": asdict(config), **_last_epoch(job, "softmax", steps)}


def _probed(job: TrainingJob, model: DualBranch, vectors: tuple[Vectors, Vectors]) -> dict[str, Any]:
    job.stage("softmax", "Softmax head, on the frozen features")
    head = model.softmax
    last_linear(head).requires_grad_(True)
    state = Path(f"{job.state}-softmax.state")
    steps, found = _steps(job, head, vectors, job.run.probe, "softmax", state)
    last = _last_epoch(job, "softmax", steps)
    head.requires_grad_(False)
    return {"method": "linear probe on frozen features", "config": asdict(job.run.probe), **last, **found()}


def _steps(
    job: TrainingJob, head: nn.Module, vectors: tuple[Vectors, Vectors], config: BranchConfig, loss: str, state: Path
) -> tuple[Iterable[Epoch], Callable[[], dict[str, Any]]]:
    """The training of a head by the solver of its configuration, and what the card says of its end.

    Raises ValueError where L-BFGS is asked for and cannot be used.
    """
    can = isinstance(head, nn.Linear) and solvable(head, vectors[0]) and job.ranks.world == 1
    if config.solver == "lbfgs" and not can:
        raise ValueError(
            "L-BFGS needs one linear layer, vectors that fit in memory, and one process: use --solver sgd."
        )
    if config.solver == "sgd" or not can or not isinstance(head, nn.Linear):
        return fit(head, vectors[0], config, loss, vectors[1], state, job.ranks, job.stop), dict
    optimiser = Optimiser(head, vectors[0], loss, vectors[1], config.seed)
    return optimiser(job.stop), optimiser.describe


def _last_epoch(job: TrainingJob, stage: str, steps: Iterable[Epoch]) -> dict[str, Any]:
    """The numbers of a stage's last epoch. Raises Stopped when there was none."""
    if last := job.epochs(stage, steps):
        return last
    raise Stopped


def _branch(job: TrainingJob, model: DualBranch, data: Data, vectors: tuple[Vectors, Vectors]) -> dict[str, Any]:
    """Stage 2, and the check that nothing else changed."""
    job.stage("branch", "Sigmoid branch, everything else frozen")
    x = _sample(model, data.val, vectors[1])
    before, logits = model.frozen_hash(), model(x)["softmax"]
    torch.manual_seed(job.run.seed)
    steps, found = _branch_steps(job, model, vectors)
    last = job.epochs("branch", steps)
    if not last or model.sigmoid is None:  # stopped within the first epoch
        model.sigmoid = None
        return {}
    model.sigmoid.requires_grad_(False)
    model.eval()
    check = {"before": before, "after": model.frozen_hash(), "images": len(x)}
    check["logits_equal"] = torch.equal(model(x)["softmax"], logits)
    if check["before"] != check["after"] or not check["logits_equal"]:
        raise RuntimeError("training the branch changed frozen weights")
    return {"sigmoid": {"config": asdict(job.run.branch), **last, **found()}, "frozen": check}


def _branch_steps(
    job: TrainingJob, model: DualBranch, vectors: tuple[Vectors, Vectors]
) -> tuple[Iterable[Epoch], Callable[[], dict[str, Any]]]:
    """The training of the branch, and what the card says of its end. Raises ValueError as `_steps` does."""
    config = job.run.branch
    if config.init == "gauge":
        linear(model.softmax)
        return calibration.epochs(model, *vectors), lambda: {"method": calibration.METHOD}
    branch = model.add_branch(config.init)
    return _steps(job, branch, vectors, config, "sigmoid", Path(f"{job.state}-branch.state"))


def _sample(model: DualBranch, images: ImageSet, vectors: Vectors) -> torch.Tensor:
    """A few readable validation images, preprocessed."""
    size = model.spec.preprocessing.size
    paths = [images.paths[n] for n in vectors.good[:CHECKED].tolist()]
    pixels = [torch.from_numpy(square(read_rgb(path), size).copy()).permute(2, 0, 1) for path in paths]
    return model.normalise(torch.stack(pixels))


def _breaking(job: TrainingJob, model: DualBranch, images: ImageSet, vectors: Vectors) -> dict[str, float]:
    """Where the boxes of the softmax head's maps break, on up to JUDGED validation images."""
    index = evenly(vectors.good, JUDGED)
    return breaking(job.counted(views(model, images, index), len(index)), default(model))


def _finish(
    job: TrainingJob, model: DualBranch, data: Data, vectors: tuple[Vectors, Vectors], stages: dict[str, Any]
) -> dict[str, Any]:
    """Measures both heads, writes the three files and removes the states."""
    run = job.run
    job.stage("measure", "Measuring both heads on the validation images")
    found = predict(model, vectors[1])
    bad = {name: len(v.bad) for name, v in zip(("train", "val"), vectors)}
    training = {**model.spec.training, **stages, "data": data.describe(bad), "command": list(run.command)}
    measured: dict[str, Any] = {"val": metrics(found)}
    if job.ranks.rank == 0 and not job.stopped:
        measured["breaking"] = _breaking(job, model, data.val, vectors[1])
    model.spec = dataclasses.replace(model.spec, training=training, metrics=measured)
    job.stage("save", "Writing the model")
    paths = {"checkpoint": run.out, "card": run.out.with_suffix(".md"), "report": run.out.with_suffix(".json")}
    if job.ranks.rank == 0:
        model.save(run.out, half=run.half, heads=run.heads)
        files.write_text(paths["card"], card(model.spec, model.frozen_hash()))
        files.write_text(paths["report"], json.dumps(report(model, data.val, vectors[1], found)))
        for state in job.state.parent.glob(f"{job.state.name}-*"):
            state.unlink(missing_ok=True)
    job.ranks.barrier()
    unreadable = [
        (images.name(n), reason) for images, v in zip((data.train, data.val), vectors) for n, reason in v.bad.items()
    ]
    done: dict[str, Any] = {"event": "done", **{k: str(v) for k, v in paths.items()}, "metrics": model.spec.metrics}
    done |= {"unreadable": unreadable, "stopped": job.stopped, "seconds": time.monotonic() - job.start}
    done["frozen"] = model.frozen_hash()
    job.emit(done)
    return done if job.ranks.rank == 0 else {}
