"""Training of softmax heads and sigmoid branches on features that are computed once.

`feature_cache` runs the trunk over a data set and keeps the pooled vectors on disk, `fitting` trains a head on them
(the sigmoid branch by Eq. 12), `finetuning` also moves the trunk's last stage, `pretraining` starts from nothing; `run`
goes from a data set to a checkpoint. May import cams, models, data,
images and utils.
"""

from .feature_cache import Stopped, features
from .finetuning import FinetuneConfig, finetune
from .fitting import LOSSES, fit, measure, top1
from .job import TrainRun
from .loop import BranchConfig, Epoch, ProbeConfig
from .run import train
from .vectors import Vectors

__all__ = [
    "LOSSES", "BranchConfig", "Epoch", "FinetuneConfig", "ProbeConfig", "Stopped", "TrainRun", "Vectors", "features",
    "finetune", "fit", "measure", "top1", "train",
]  # fmt: skip
