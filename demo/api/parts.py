"""What endpoints share: files in and out, tokens, what an answer says of a map, the words on their arguments."""

import inspect
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from bsoftmax.cams.effects import box_of_map
from bsoftmax.images import render

from ..components.files import used
from ..components.inputs import error_notices

WORDS = {  # of arguments; an endpoint's docstring gets those that it takes
    "photo": "A photograph: a file, its address, or data:image/...;base64,...",
    "model": "A name that `options` lists, or the token of a model that was trained or opened here.",
    "class_name": "The class to explain, by its name or number; empty: the one that the softmax head predicts.",
    "method": "A CAM method that `options` lists; empty: the model's own default.",
    "top": "How many classes.",
    "clamp": "Positive weights only: 'paper' (the branch alone), 'on' or 'off' (all).",
    "threshold": "Part of a map's maximum above which its box lies.",
    "slow": "Also the methods that run the network once for every channel.",
    "more": "Also the methods of attention, of random masks, at pixels: a few minutes.",
    "file": "figure.png, figure.pdf, maps.npz (raw signed maps) or code.py (the same in Python).",
    "channels": "Channels that `delta` is added to.",
    "delta": "Added to the weights of these channels, in every class's row (Eq. 9).",
    "flip": "Percent of the class's positive weights whose sign is turned, strongest first, in every class's row.",
    "uniform": "Subtracted from every weight (Eq. 10).",
    "centre": "Subtract the mean row of the classes.",
    "only": "Change the explained class's row alone: a contrast, which changes the probabilities.",
    "both": "Change the sigmoid branch too.",
    "animate": "A GIF of the way there and back instead of a figure.",
    "checkpoint": "A .safetensors file that `bsoftmax` wrote.",
    "zip": "A zip with a folder of images for each class, or with train and val.",
    "folder": "Instead of a zip, a folder of the machine the page is served to alone.",
    "data": "The token of a data set, from `prepare`.",
    "trunk": "The frozen network: a bundled model or any timm name.",
    "stage1": "'probe' (frozen trunk) or 'finetune' (its last stage is trained too; slow).",
    "solver": "'auto' (heads to their optimum) or 'sgd' (the paper's recipe, with the settings that follow).",
    "share": "Part of the images that is kept for validation where the data has none.",
    "seed": "Of the images drawn.",
    "views": "Views of each image whose features are learnt from.",
    "epochs": "Of sgd.", "lr": "Learning rate of sgd.", "weight_decay": "Of sgd.",
    "init": "What the branch begins as with sgd: 'fresh' or 'clone' (of the softmax head).",
    "measure": "Any of 'localization', 'fidelity' and 'curves' (slow).",
    "limit": "Images at most.",
    "methods": "CAM methods; empty: all that are quick.",
    "split": "The part of the images; empty: validation images where there are some.",
    "explain": "The class explained: 'true', 'predicted', or empty for true in localisation and predicted in fidelity.",
    "protocol": "'standard' (the WSOL benchmark's) or 'official' (the paper's code).",
    "discard": "Throw away what was learnt or measured instead of keeping it.",
}  # fmt: skip
MOST = 8  # data sets of a session


def endpoint(handler: Callable) -> Callable:
    """A handler that programs may call: arguments are checked, errors are sentences, every argument is explained."""
    guarded = error_notices(handler)
    arguments = [name for name in inspect.signature(handler).parameters if name in WORDS]
    words = "\n".join(f"    {name}: {WORDS[name]}" for name in arguments)
    guarded.__doc__ = f"{inspect.getdoc(handler)}\n\nArgs:\n{words}" if words else inspect.getdoc(handler)
    return guarded


@dataclass(frozen=True)
class Caller:
    """Stands in for the request of a browser session whose name is a token."""

    session_hash: str
    headers: Any


class Tokens:
    """Tokens that programs were given, which go with their session; those of MCP, whose session never ends, by age."""

    def __init__(self) -> None:
        self._of: dict[str, list[str]] = {}

    def new(self, kind: str, request: gr.Request) -> str:
        """A token nobody can guess. Raises ValueError when a session has as many as it may."""
        token = f"{kind}-{secrets.token_urlsafe(16)}"
        if not by_mcp(request) and request.session_hash:
            own = self._of.setdefault(request.session_hash, [])
            if len(own) >= MOST:
                raise ValueError(f"{MOST} data sets are the most of one client: go on with one of them.")
            own.append(token)
        return token

    def forget(self, token: str) -> None:
        """Takes a token back for which there is nothing."""
        for own in self._of.values():
            if token in own:
                own.remove(token)

    def leave(self, session: str) -> list[str]:
        """The tokens of a session that has ended."""
        return self._of.pop(session, [])


def by_mcp(request: gr.Request) -> bool:
    """Whether a call comes through MCP, all of whose callers share one session."""
    return request.headers.get("x-gradio-user") == "mcp"


def given(file: FileData, what: str) -> str:
    """The path of a file that came with a call. Raises ValueError for a file of this server that nobody uploaded."""
    if Path(get_upload_folder()).resolve() not in Path(file.path).resolve().parents:
        raise ValueError(f"This {what} was not sent to the server: send it as handle_file(path), or as an address.")
    return used(file.path)


def served(path: str) -> dict[str, Any]:
    """A file of Gradio's cache, as clients fetch it."""
    return FileData(path=path, orig_name=Path(path).name).model_dump()


def described(S: np.ndarray, size: tuple[int, int], threshold: float) -> dict[str, Any]:
    """A signed map in numbers; the box in pixels of an image of `size`, None where nothing is positive."""
    box = box_of_map(torch.from_numpy(S), threshold)
    return {
        "minimum": float(S.min()), "maximum": float(S.max()), "negative_share": float((S < 0).mean()),
        "box": None if box is None else in_pixels(box, size),
    }  # fmt: skip


def in_pixels(box: render.Box, size: tuple[int, int]) -> list[int]:
    """An inclusive box of a map as [x0, y0, x1, y1] in pixels of the image, x1 and y1 exclusive."""
    x0, y0, x1, y1 = box
    w, h = (length / render.SIDE for length in size)
    return [round(x0 * w), round(y0 * h), round((x1 + 1) * w), round((y1 + 1) * h)]
