"""The dual-branch model: a frozen classifier with a sigmoid branch beside its softmax head.

`backbones` is the registry of trunks; `surgery` splits networks into trunk, neck and classifier, `token_surgery` those
of tokens, and `stride` lowers their output stride; `heads` has necks and classifiers, `losses` Eq. 12, `class_names`
what else classes are called, `dual_branch` the model, `checkpoints` its files; `zoo` opens models by name, and any
module.
May import data, images and utils.
"""

from .backbones import BACKBONES, Backbone, Parts, Preprocessing, WeightsError, build
from .checkpoints import CheckpointError
from .dual_branch import DualBranch
from .heads import MLP, FlatGrid, GlobalAveragePool, clone_head, is_gap_linear, last_linear
from .losses import balanced_bce
from .spec import Spec
from .zoo import from_module, open_model

__all__ = [
    "BACKBONES",
    "MLP",
    "Backbone",
    "CheckpointError",
    "DualBranch",
    "FlatGrid",
    "GlobalAveragePool",
    "Parts",
    "Preprocessing",
    "Spec",
    "WeightsError",
    "balanced_bce",
    "build",
    "clone_head",
    "from_module",
    "is_gap_linear",
    "last_linear",
    "open_model",
]
