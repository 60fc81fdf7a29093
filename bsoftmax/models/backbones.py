"""timm networks split into trunk -> F [B,N,P,Q], neck -> h [B,N_pen] and classifier -> logits [B,C].

BACKBONES lists the paper's networks and the bundled one; any other timm name is split by `surgery.generic`, at output
stride 16 where timm has that option, or where `stride.lift` can do without it.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants, hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn

from ..utils.text import quoted
from . import checkpoints, heads, surgery
from . import stride as strides


@dataclass(frozen=True)
class Preprocessing:
    """The whole image resized to size x size (bicubic), scaled to [0,1], then (x - mean) / std per channel."""

    size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Parts:
    """A split network with its preprocessing, the layer of F, and the names of its classes.

    An encoder without a softmax head has no classes, and a classifier with no outputs. `lifted`: what was done to the
    output stride.
    """

    trunk: nn.Module
    neck: nn.Module
    classifier: nn.Module
    preprocessing: Preprocessing
    layer: str
    classes: tuple[str, ...]
    lifted: str = ""


@dataclass(frozen=True)
class Backbone:
    """A registry entry: the timm model, the function that splits it, the input size, and a note for users."""

    timm: str
    cut: Callable[[heads.TimmNet], heads.Pieces]
    note: str
    size: int | None = 224
    stride: int | None = None  # output stride passed to timm; None: the network's own
    complete: bool = True  # False: `cut` adds layers without public weights


BACKBONES: dict[str, Backbone] = {
    "resnet10t": Backbone("resnet10t", surgery.generic, "small, 512x14x14; what `pretrain` trains", stride=16),
    "efficientnet_lite0": Backbone(
        "tf_efficientnet_lite0.in1k", surgery.generic, "small, 1280x14x14; the bundled models' trunk", stride=16
    ),
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


LONGEST_NAME = 200  # characters of a timm name

DISTINCT = {  # WordNet IDs of ImageNet classes whose first name another class has too
    "n02012849": "crane (bird)", "n03126707": "crane (machine)", "n02113186": "Cardigan Welsh corgi",
    "n03710721": "tank suit",
}  # fmt: skip


class WeightsError(ValueError):
    """Weights that are missing or do not fit; the message names the file and where to put it."""


def find(name: str) -> Backbone:
    """The entry of BACKBONES, or a generic one for any other timm name.

    Raises ValueError for an unknown name, with the most similar names.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if is_trunk(name):
        return Backbone(name, surgery.generic, "generic cut", size=None, stride=16)
    known = [*BACKBONES, *timm.list_models()]
    near = difflib.get_close_matches(name.split(".")[0][:80], known, n=3, cutoff=0.5)
    raise ValueError(
        f"There is no trunk {quoted(name)}{'; nearest: ' + ', '.join(near) if near else ''}. Any timm name works."
    )


def is_trunk(name: str) -> bool:
    """Whether timm has the architecture, and the pretrained tag after its dot, if any."""
    if len(name) > LONGEST_NAME or not timm.is_model(name):
        return False
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        return False
    return True


@torch.enable_grad()  # gradients show which layers belong to the head
def build(
    name: str, weights: str | Path | None = "hub", num_classes: int | None = None, stride: int | None = None
) -> Parts:
    """Builds a network and splits it, frozen and in eval mode.

    `weights`: "hub" (a local file if there is one, else the Hub), the path of a safetensors file with timm's names, or
    None for random ones. `num_classes` replaces the classifier by a random one; `stride` sets the output stride, by
    timm's option or else by `stride.lift` (None: by that option alone, as the entry says).
    Raises ValueError for an unknown name or a network that cannot be split, WeightsError when weights are missing or do
    not fit.
    """
    backbone = find(name)
    net, lifted = create(backbone, weights, num_classes, stride)
    pieces = backbone.cut(net)
    cfg = net.pretrained_cfg
    size = backbone.size or cfg["input_size"][-1]
    parts = Parts(
        pieces.trunk, pieces.neck, pieces.classifier, Preprocessing(size, tuple(cfg["mean"]), tuple(cfg["std"])),
        pieces.layer, class_names(heads.last_linear(pieces.classifier).out_features, native=num_classes is None),
        lifted,
    )  # fmt: skip
    for module in (parts.trunk, parts.neck, parts.classifier):
        module.requires_grad_(False).eval()
    return parts


def create(
    backbone: Backbone, weights: str | Path | None, num_classes: int | None = None, stride: int | None = None
) -> tuple[heads.TimmNet, str]:
    """timm's network at an output stride, uncut, and what was done for that. Arguments and errors as in `build`."""
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if weights is not None:
        path = local_weights(backbone.timm) if weights == "hub" else Path(weights)
        options |= {
            "pretrained": True,
            "pretrained_cfg_overlay": {"state_dict": _state(path or _download(backbone.timm))},
        }
    wanted = stride or backbone.stride
    try:
        if wanted is not None:
            try:
                net = timm.create_model(backbone.timm, output_stride=wanted, **options)
                return cast(heads.TimmNet, net), f"timm's output_stride={wanted}"
            except (TypeError, NotImplementedError, AssertionError):
                pass  # this architecture has no such option
        net = timm.create_model(backbone.timm, **options)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"The weights do not fit {backbone.timm!r}: {checkpoints.mismatch(error)}.") from error
    return cast(heads.TimmNet, net), strides.lift(cast(heads.TimmNet, net), stride) if stride else ""


def class_names(count: int, native: bool) -> tuple[str, ...]:
    """timm's names of the ImageNet-1K classes for a `native` classifier of 1000 classes, else numbered names."""
    if native and count == 1000:
        info = ImageNetInfo()
        first = [info.index_to_description(k).split(",")[0] for k in range(1000)]
        return tuple(DISTINCT.get(info.index_to_label_name(k), name) for k, name in enumerate(first))
    return tuple(f"class {i}" for i in range(count))


def weights_folder() -> Path:
    """The folder of local weights, which precede those of the Hub: $BSOFTMAX_WEIGHTS, else ./checkpoints."""
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
    except Exception as error:  # offline, missing or denied
        raise WeightsError(
            f"The weights of {timm_name!r} could not be downloaded: bring 'model.safetensors' of the Hub's "
            f"{cfg.hf_hub_id!r} and save it as {str(weights_folder() / (timm_name + '.safetensors'))!r}."
        ) from error


def _from_hub(repo: str, file: str) -> Path:
    try:
        return Path(hf_hub_download(repo, file, local_files_only=True))
    except OSError:  # not in the cache
        if not getproxies():  # offline, the client of the Hub would retry for half a minute
            address = urlsplit(constants.ENDPOINT)
            socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
        return Path(hf_hub_download(repo, file))


def _state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"There is no file of weights {str(path)!r}: check the path.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path.name!r} is not a readable safetensors file; pickled weights are never opened."
        ) from error
