"""The settings of a training, and the command-line options they become."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from bsoftmax.models import backbones, zoo
from bsoftmax.training.loop import BranchConfig
from bsoftmax.utils.text import quoted

from ..server.permissions import check_download, check_trunk_size

STAGES = {"probe": "Linear probe, trunk frozen", "finetune": "Fine-tune the last stage (slow)"}
SOLVERS = {"auto": "To their optimum (L-BFGS)", "sgd": "SGD, the paper's recipe"}
STARTS = {"fresh": "Fresh numbers", "clone": "A clone of the softmax head"}


@dataclass(frozen=True)
class Settings:
    """The options of a training. Raises ValueError with a sentence for an invalid one."""

    trunk: str = zoo.DEFAULT
    views: int = BranchConfig.views
    epochs: int = BranchConfig.epochs
    lr: float = BranchConfig.lr
    weight_decay: float = BranchConfig.weight_decay
    init: str = BranchConfig.init
    stage1: str = "probe"
    share: float = 0.2
    seed: int = 0
    solver: str = "auto"

    def __post_init__(self) -> None:
        if self.trunk not in zoo.bundled():
            check_trunk_size(self.trunk)
            check_download(self.trunk)
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{LABELS[name]} must be {low:g} to {high:g}, got {getattr(self, name):g}.")
        if self.init not in STARTS or self.stage1 not in STAGES:
            raise ValueError(
                f"There is no start {quoted(self.init)} or first stage {quoted(self.stage1)}: choose from the menus."
            )
        if self.solver not in SOLVERS:
            raise ValueError(f"There is no solver {quoted(self.solver)}: choose from the menu.")
        if self.stage1 == "probe" and self.trunk in backbones.BACKBONES:
            self._check_weights()

    def _check_weights(self) -> None:
        if not backbones.BACKBONES[self.trunk].complete:
            raise ValueError(
                f"{quoted(self.trunk)} has layers that no public weights fill: choose to fine-tune its last stage."
            )

    @classmethod
    def read(cls, *values: Any) -> Settings:
        """From the values of the widgets, in the order of the fields. Raises ValueError for a missing one."""
        try:
            read = [kind(value) for kind, value in zip(_KINDS, values, strict=True)]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError("A setting is empty or not a number: fill it in.") from error
        return cls(*read)

    def options(self) -> list[str]:
        """Only what differs from the command line's own defaults."""
        default, options = Settings(), [] if self.trunk == zoo.DEFAULT else ["--trunk", self.trunk]
        for field in fields(self)[1:]:
            if getattr(self, field.name) != getattr(default, field.name):
                value = getattr(self, field.name)
                word = f"{value:g}" if isinstance(value, float) else str(value)
                options += [f"--{field.name.replace('_', '-')}", word]
        return options


_KINDS = (str, int, int, float, float, str, str, float, int, str)
RANGES = {"views": (1, 16), "epochs": (1, 300), "lr": (1e-5, 10), "weight_decay": (0, 1), "share": (0.05, 0.5),
          "seed": (0, 2**31 - 1)}  # fmt: skip
LABELS = {
    "trunk": "Trunk", "views": "Views of an image", "epochs": "Epochs", "lr": "Learning rate",
    "weight_decay": "Weight decay", "init": "The branch begins as", "stage1": "Softmax head",
    "share": "Share for validation", "seed": "Seed", "solver": "Heads are trained",
}  # fmt: skip
