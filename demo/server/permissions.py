"""What this server allows: whether visitors may train, with how many images, and from folders of this machine."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from urllib.parse import urlsplit

import timm
import torch

from bsoftmax.data.limits import LIMITS, Limits
from bsoftmax.models import backbones, zoo
from bsoftmax.utils.text import quoted

TRUNKS = "BSOFTMAX_TRUNKS"
VARIABLE = "BSOFTMAX_TRAINING"  # "off": no Train and Evaluate tabs; a number: the most images of a data set
MAX_MILLION_PARAMETERS = 400  # of a trunk
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def data_limits() -> Limits | None:
    """The limits on data sets, or None where training is switched off.

    Raises ValueError when the variable is neither "off" nor a number.
    """
    value = os.environ.get(VARIABLE, "").strip().lower()
    if value == "off":
        return None
    if value in ("", "on"):
        return LIMITS
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{VARIABLE} must be 'off' or the most images of a data set, got {value!r}: set it again.")
    return dataclasses.replace(LIMITS, images=min(int(value), LIMITS.images))


def is_local() -> bool:
    """Whether the page is served to this machine alone, so that its folders may be read: not behind a proxy either."""
    shared = os.environ.get("GRADIO_SHARE", "").strip().lower() == "true" or os.environ.get("GRADIO_ROOT_PATH")
    name = os.environ.get("GRADIO_SERVER_NAME", "").strip() or LOOPBACK[0]
    return "SPACE_ID" not in os.environ and not shared and name in LOOPBACK


def check_host(header: str) -> None:
    """Raises ValueError for a request to another name than this machine's: a site whose name was bound to it."""
    name = urlsplit(f"//{header}").hostname or ""
    if name not in LOOPBACK:
        raise ValueError("Folders are read for pages of this machine alone: open the app as http://127.0.0.1.")


def check_download(trunk: str) -> None:
    """Raises ValueError where a stranger's word would make a server of many download a trunk's weights.

    Those of the menu may be downloaded, those of $BSOFTMAX_TRUNKS (names with commas between them, or "any"), and all
    where the page is served to this machine alone.
    """
    more = os.environ.get(TRUNKS, "").replace(" ", "").split(",")
    known = trunk in backbones.BACKBONES or trunk in zoo.names() or trunk in more
    if not known and "any" not in more and not is_local():
        raise ValueError(
            f"This server does not download the weights of {quoted(trunk)}: choose a trunk of the menu, or run the app "
            "on your own machine."
        )


@cache
def check_trunk_size(trunk: str) -> None:
    """Raises ValueError for a trunk that does not exist, or that is too large for a server."""
    timm_name = backbones.find(trunk).timm
    with torch.device("meta"):  # parameters are counted without allocating them
        million = sum(p.numel() for p in timm.create_model(timm_name).parameters()) / 1e6
    if million > MAX_MILLION_PARAMETERS:
        raise ValueError(
            f"{timm_name!r} has {million:,.0f} million parameters, and at most {MAX_MILLION_PARAMETERS} million can be "
            "used here: choose a smaller trunk."
        )
