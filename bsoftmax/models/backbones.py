"""Networks, cut in three: trunk -> F [B,N,P,Q], neck -> h [B,N_pen], classifier -> logits [B,C].

BACKBONES names those with an entry of their own (the paper's three, the bundled one); any other timm name goes through
the generic cut at output stride 16 where the architecture supports it.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from . import checkpoints, heads, surgery


@dataclass(frozen=True)
class Preprocessing:
    """The whole picture squeezed to size x size (bicubic), scaled to [0,1], then (x - mean) / std per channel."""

    size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Parts:
    """A network after the cut, what its input must look like, where F is taken, and what its logits are called."""

    trunk: nn.Module
    neck: nn.Module
    classifier: nn.Module
    preprocessing: Preprocessing
    layer: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Backbone:
    """A registry entry: the timm model behind it, how it is cut, the input size, and what a reader should know."""

    timm: str
    cut: Callable[[nn.Module], surgery.Pieces]
    note: str
    size: int | None = 224
    stride: int | None = None  # output stride asked of timm; None leaves the network as it is
    complete: bool = True  # False: the cut adds layers that no public weights fill


BACKBONES: dict[str, Backbone] = {
    "resnet10t": Backbone("resnet10t", surgery.generic, "small, 512x14x14; the bundled model's trunk", stride=16),
    "resnet50": Backbone("resnet50.tv_in1k", surgery.resnet50, "the paper's: layer4 at stride 1, 2048x14x14"),
    "vgg16": Backbone(
        "vgg16.tv_in1k", surgery.vgg16, "the paper's, gradient methods: no last pool, MLP kept, 512x14x14"
    ),
    "vgg16_cam": Backbone(
        "vgg16.tv_in1k", surgery.vgg16_cam, "the paper's, CAM: conv6 + GAP + linear, 1024x14x14", complete=False
    ),
    "inception_v3": Backbone(
        "inception_v3.tv_in1k", surgery.inception_v3, "the paper's: Mixed_6a at stride 1, 2048x14x14"
    ),
}


class WeightsError(ValueError):
    """Weights that cannot be had or do not fit; the message names the file to bring and where to put it."""


def find(name: str) -> Backbone:
    """The registry's entry, or the generic one for any other timm name.

    Raises ValueError for a name neither knows, with the nearest names.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if is_trunk(name):
        return Backbone(name, surgery.generic, "generic cut", size=None, stride=16)
    known = [*BACKBONES, *timm.list_models()]
    near = difflib.get_close_matches(name.split(".")[0], known, n=3, cutoff=0.5)
    raise ValueError(
        f"There is no trunk {name!r}{'; nearest: ' + ', '.join(near) if near else ''}. Any timm name works."
    )


def is_trunk(name: str) -> bool:
    """Whether timm knows an architecture, and the tag behind its dot if there is one."""
    if not timm.is_model(name):
        return False
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:  # timm knows the architecture but not the tag behind the dot
        return False
    return True


@torch.enable_grad()  # a cut looks at gradients to see which layers belong to the head
def build(
    name: str, weights: str | Path | None = "hub", num_classes: int | None = None, stride: int | None = None
) -> Parts:
    """Builds a network and cuts it, frozen and in eval mode.

    `weights`: "hub" (a local file where there is one, else the Hub), the path of a safetensors file in timm's names, or
    None for fresh parameters. `num_classes` replaces the classifier by a fresh one; `stride` sets the output stride.
    Raises ValueError for an unknown name, WeightsError when weights are missing or do not fit.
    """
    backbone = find(name)
    net = _create(backbone, weights, num_classes, stride or backbone.stride)
    pieces = backbone.cut(net)
    cfg = net.pretrained_cfg
    size = backbone.size or cfg["input_size"][-1]
    parts = Parts(
        pieces.trunk, pieces.neck, pieces.classifier, Preprocessing(size, tuple(cfg["mean"]), tuple(cfg["std"])),
        pieces.layer, class_names(heads.last_linear(pieces.classifier).out_features, native=num_classes is None),
    )  # fmt: skip
    for module in (parts.trunk, parts.neck, parts.classifier):
        module.requires_grad_(False).eval()
    return parts


def _create(backbone: Backbone, weights: str | Path | None, num_classes: int | None, stride: int | None) -> nn.Module:
    options: dict = {} if num_classes is None else {"num_classes": num_classes}
    if weights is not None:
        path = local_weights(backbone.timm) if weights == "hub" else Path(weights)
        options |= {
            "pretrained": True,
            "pretrained_cfg_overlay": {"state_dict": _state(path or _download(backbone.timm))},
        }
    try:
        if stride is not None:
            try:
                return timm.create_model(backbone.timm, output_stride=stride, **options)
            except (TypeError, NotImplementedError, AssertionError):
                pass  # this architecture has no such option: its own stride is used
        return timm.create_model(backbone.timm, **options)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"The weights do not fit {backbone.timm!r}: {checkpoints.mismatch(error)}.") from error


def class_names(count: int, native: bool) -> tuple[str, ...]:
    """Readable names of the pretrained classes (ImageNet-1K from timm's own list), else numbered ones."""
    if native and count == 1000:
        info = timm.data.ImageNetInfo()
        return tuple(info.index_to_description(i).split(",")[0] for i in range(1000))
    return tuple(f"class {i}" for i in range(count))


def weights_folder() -> Path:
    """Where weights are looked for before the Hub is asked: $BSOFTMAX_WEIGHTS, else ./checkpoints."""
    return Path(os.environ.get("BSOFTMAX_WEIGHTS", "checkpoints"))


def local_weights(timm_name: str) -> Path | None:
    """The local file `<timm name>.safetensors` in `weights_folder()`, if there is one."""
    path = weights_folder() / f"{timm_name}.safetensors"
    return path if path.is_file() else None


def _download(timm_name: str) -> Path:
    cfg = timm.get_pretrained_cfg(timm_name)
    if cfg is None or not cfg.hf_hub_id:
        raise WeightsError(f"The Hub has no weights for {timm_name!r}: name one of its tags, as in 'resnet50.tv_in1k'.")
    try:
        return _from_hub(cfg.hf_hub_id, "model.safetensors")
    except Exception as error:  # offline, missing, denied: the remedy is the same
        raise WeightsError(
            f"The weights of {timm_name!r} could not be downloaded: bring 'model.safetensors' of the Hub's "
            f"{cfg.hf_hub_id!r} and save it as {str(weights_folder() / (timm_name + '.safetensors'))!r}."
        ) from error


def _from_hub(repo: str, file: str) -> Path:
    try:
        return Path(hf_hub_download(repo, file, local_files_only=True))
    except OSError:  # not in the cache
        if not getproxies():  # offline, the Hub's own client would try for half a minute
            address = urlsplit(constants.ENDPOINT)
            socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
        return Path(hf_hub_download(repo, file))


def _state(path: Path) -> dict:
    if not path.is_file():
        raise WeightsError(f"There is no file of weights {str(path)!r}: check the path.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path.name!r} is not a readable safetensors file; pickled weights are never opened."
        ) from error
