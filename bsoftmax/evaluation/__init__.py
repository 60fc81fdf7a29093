"""Evaluation of class activation maps: fidelity and localisation metrics with intervals.

`metrics` is the registry; `localization` has MaxBoxAcc, GT-known Loc, PxAP and the pointing game, `fidelity` Average
Drop and the others, `statistics` the intervals. `plan` prepares an evaluation, `measure` computes a chunk of images,
`run` a data set; `results` gathers the numbers. May import cams, models, data, images and utils.
"""

from .column import Column
from .localization import PROTOCOLS, Protocol
from .metrics import METRICS, Metric
from .plan import EvalRun
from .run import evaluate
from .statistics import Estimate, bootstrap

__all__ = ["METRICS", "PROTOCOLS", "Column", "Estimate", "EvalRun", "Metric", "Protocol", "bootstrap", "evaluate"]
