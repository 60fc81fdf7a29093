"""What this server allows: whether people may train here, with how many images, and from folders of this machine."""

from __future__ import annotations

import dataclasses
import os
from functools import cache

import timm
import torch

from bsoftmax.data.limits import LIMITS, Limits
from bsoftmax.models import backbones

VARIABLE = "BSOFTMAX_TRAINING"  # "off": no Train tab; a number: the most images of a data set
LARGEST = 400  # million parameters of a trunk
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def allowed() -> Limits | None:
    """The limits on data sets here, or None where training is switched off.

    Raises ValueError when the variable says neither "off" nor a number.
    """
    said = os.environ.get(VARIABLE, "").strip().lower()
    if said == "off":
        return None
    if said in ("", "on"):
        return LIMITS
    if not said.isdecimal() or int(said) < 1:
        raise ValueError(f"{VARIABLE} must be 'off' or the most images of a data set, got {said!r}: set it again.")
    return dataclasses.replace(LIMITS, images=min(int(said), LIMITS.images))


def is_local() -> bool:
    """Whether the page is for this machine alone, so that its folders may be named."""
    shared = os.environ.get("GRADIO_SHARE", "").strip().lower() == "true"
    return "SPACE_ID" not in os.environ and not shared and _server_name() in LOOPBACK


def _server_name() -> str:
    return os.environ.get("GRADIO_SERVER_NAME", "").strip() or LOOPBACK[0]


@cache
def affordable(trunk: str) -> None:
    """Raises ValueError for a trunk that there is not, or that is too large to be built on a server."""
    timm_name = backbones.find(trunk).timm
    with torch.device("meta"):  # nothing is made of what is counted
        million = sum(p.numel() for p in timm.create_model(timm_name).parameters()) / 1e6
    if million > LARGEST:
        raise ValueError(
            f"{timm_name!r} has {million:,.0f} million parameters, and at most {LARGEST} million can be used here: "
            "choose a smaller trunk."
        )
