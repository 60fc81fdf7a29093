"""The dual-branch model: a frozen classifier, and a sigmoid branch with the architecture of its head."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tvf

from ..images.read import square
from ..utils.text import quoted
from . import backbones, checkpoints
from .backbones import Parts
from .bundled import BUNDLED, bundled
from .checkpoints import COUNTERS
from .class_names import find_class
from .gauge import Gauge
from .heads import clone_head, last_linear, resized
from .model_card import card
from .spec import MODULE, Spec

FILE = "model.safetensors"
FROZEN = ("trunk", "neck", "softmax")


class DualBranch(
    nn.Module, PyTorchModelHubMixin, library_name="bsoftmax", license="apache-2.0", tags=["class-activation-maps"]
):
    """Trunk and softmax head, frozen and always in eval mode; the sigmoid branch, trained (Sec. 3.3, Fig. 2)."""

    def __init__(self, parts: Parts, spec: Spec, sigmoid: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        # for config.json on the Hub; loading needs only the checkpoint
        self._hub_mixin_config = {"trunk": spec.trunk, "layer": spec.layer, "classes": list(spec.classes)}
        self.trunk, self.neck, self.softmax, self.sigmoid = parts.trunk, parts.neck, parts.classifier, sigmoid
        self.gauge: Gauge | None = None  # what the branch was made of, where that is fewer numbers than its rows
        self.requires_grad_(False)
        self.train(False)

    @classmethod
    def pretrained(cls, trunk: str, weights: str | Path | None = "hub", stride: int | None = None) -> DualBranch:
        """A public pretrained classifier without a branch, at the output stride of its entry, or 16 where that can be.

        Raises as `backbones.build` does.
        """
        stride = stride or backbones.find(trunk).stride
        parts = backbones.build(trunk, weights, stride=stride)
        origin = "hub" if weights == "hub" else "file"
        spec = Spec(
            trunk, parts.classes, parts.preprocessing, parts.layer, stride, {"trunk": origin, "softmax": origin}
        )
        return cls(parts, spec)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.spec.classes

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.trunk.parameters()).device

    def class_number(self, name: str | int) -> int:
        """The label of a class given by number, name or another name of ImageNet's. Raises as `find_class` does."""
        return find_class(self.classes, name)

    def classifier(self, branch: str) -> nn.Module:
        """The "softmax" or the "sigmoid" classifier. Raises ValueError when the branch has not been trained."""
        module = {"softmax": self.softmax, "sigmoid": self.sigmoid}[branch]
        if module is None:
            raise ValueError("This model has no sigmoid branch yet: train one, or compare with log-odds.")
        return module

    def add_branch(self, init: str = "fresh") -> nn.Module:
        """Clones the softmax head as the sigmoid branch (Eq. 11) and returns it, trainable."""
        self.gauge = None
        self.sigmoid = clone_head(self.softmax, init).to(self.device)
        return self.sigmoid

    def set_gauge(self, gauge: Gauge) -> None:
        """Makes the branch of the softmax head by a gauge. Raises ValueError where it does not fit the head."""
        if not isinstance(self.softmax, nn.Linear):
            raise ValueError("A gauge belongs to one linear layer, and this head has several: train its branch.")
        self.gauge, self.sigmoid = gauge, gauge.applied(self.softmax).to(self.device).requires_grad_(False)

    def for_classes(self, classes: Sequence[str]) -> DualBranch:
        """The same frozen trunk with a softmax head for other classes, whose last layer is random; no branch.

        Raises ValueError for fewer than two classes, or repeated names.
        """
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError(f"Expected at least two classes, each named once, got {len(classes)}.")
        spec = dataclasses.replace(
            self.spec, classes=tuple(classes), metrics={},
            origin={part: where for part, where in self.spec.origin.items() if part == "trunk"},
            training={part: made for part, made in self.spec.training.items() if part == "trunk"},
        )  # fmt: skip
        head = resized(self.softmax, len(classes)).to(self.device)
        return DualBranch(Parts(self.trunk, self.neck, head, spec.preprocessing, spec.layer, spec.classes), spec)

    def train(self, mode: bool = True) -> DualBranch:
        """As nn.Module.train, but trunk, neck and softmax head stay in eval mode."""
        super().train(False)
        self.training = mode
        if self.sigmoid is not None:
            self.sigmoid.train(mode)
        return self

    def preprocess(self, images: Image.Image | list[Image.Image]) -> Tensor:
        """Images of any size, resized to the model's square and normalised: [B,3,S,S]."""
        images = [images] if isinstance(images, Image.Image) else images
        size = self.spec.preprocessing.size
        pixels = torch.stack([torch.from_numpy(square(image, size).copy()).permute(2, 0, 1) for image in images])
        return self.normalise(pixels)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 pixels [B,3,S,S] -> the trunk's input, on its device."""
        pre = self.spec.preprocessing
        x: Tensor = tvf.normalize(pixels.to(self.device).float() / 255, list(pre.mean), list(pre.std))
        return x

    @torch.no_grad()
    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Runs the trunk: F [B,N,P,Q] and, for transformers, the tokens that the neck needs besides."""
        F: Tensor
        tokens: Tensor | None
        F, tokens = self.trunk(x)
        return F, tokens

    @torch.no_grad()
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits [B,C] of the softmax head and, if there is one, of the sigmoid branch."""
        h = self.neck(*self.features(x))
        branches = {"softmax": self.softmax, "sigmoid": self.sigmoid}
        return {name: module(h) for name, module in branches.items() if module is not None}

    def frozen_hash(self) -> str:
        """SHA-256 over all tensors that training the branch must not change."""
        return checkpoints.parts_hash(self.state_dict(), FROZEN)

    @property
    def has_public_trunk(self) -> bool:
        """Whether the trunk can be had without this model: a bundled one, the Hub's, or the caller's module."""
        origin = self.spec.origin.get("trunk", "file")
        return origin in ("hub", MODULE) or origin.startswith(BUNDLED)

    def trunk_hash(self) -> str:
        """SHA-256 over the tensors of trunk and neck: which network a file of heads belongs to."""
        return checkpoints.parts_hash(self.state_dict(), ("trunk", "neck"))

    def _stored_parts(self, heads: bool) -> set[str]:
        """The parts that a checkpoint contains: those that can be had nowhere else."""
        origin = self.spec.origin
        parts = {"softmax"} if origin.get("softmax") != "hub" else set()
        if not heads and origin.get("trunk") not in ("hub", MODULE):
            parts |= {"trunk", "neck"}
        return parts | ({"sigmoid"} if self.sigmoid is not None else set())

    def save(self, path: str | Path, half: bool = False, heads: bool = False) -> Path:
        """Writes one safetensors file: the branch, and the frozen parts that do not come from the Hub.

        Matrices are stored in half precision where that is lossless, those of the trunk always with `half`. `heads`:
        without the trunk, which is named with its hash: a bundled or public one. Raises ValueError for a trunk that
        nobody else has, OSError when the folder cannot be written.
        """
        if heads and not self.has_public_trunk:
            raise ValueError("This trunk is in no other file (it was fine-tuned or brought): save the whole model.")
        stored, state = self._stored_parts(heads), self.state_dict()
        wide = {k: v for k, v in state.items() if v.ndim > 1 and k.split(".")[0] in stored}
        forced = half and "trunk" in stored
        state |= {
            k: v.half() for k, v in wide.items() if (forced and k.startswith("trunk.")) or checkpoints.fits_half(v)
        }
        tensors = {k: v for k, v in state.items() if k.split(".")[0] in stored and not k.endswith(COUNTERS)}
        if self.gauge is not None:
            tensors = {k: v for k, v in tensors.items() if not k.startswith("sigmoid.")}
            tensors |= {f"gauge.{k}": v for k, v in self.gauge.tensors().items()}
        meta = dataclasses.asdict(self.spec) | {"versions": checkpoints.versions()}
        meta |= {
            "frozen_sha256": checkpoints.parts_hash(state, FROZEN),
            "trunk_sha256": checkpoints.parts_hash(state, ("trunk", "neck")),
        }
        return checkpoints.write(path, tensors, meta)

    @classmethod
    def load(cls, path: str | Path, most: float = checkpoints.MOST_PARAMETERS) -> DualBranch:
        """Reads a file written by `save`; a trunk that is not in it is a bundled one, or comes from the Hub.

        Names, shapes and numbers are compared before anything is allocated. Raises CheckpointError when the file was
        not written by `save`, is damaged, does not fit, or asks for more than `most` parameters; WeightsError when the
        frozen weights are missing.
        """
        header, name = checkpoints.header(path), Path(path).name
        spec = Spec.from_metadata(header.metadata)
        heads = not any(key.startswith("trunk.") for key in header.shapes)
        cls._check(spec, header.shapes, heads, name, most)
        tensors, meta = checkpoints.read(path)
        model = cls(_frozen_parts(spec, heads, name), spec)
        if any(key.startswith("sigmoid.") for key in tensors):
            model.add_branch().requires_grad_(False)
        model.fill(tensors, name)
        if meta.get("frozen_sha256") != model.frozen_hash():
            raise checkpoints.CheckpointError(
                f"{quoted(name)} was trained beside other weights of {quoted(spec.trunk)}: bring those it was made "
                "with."
            )
        return model.eval()

    @classmethod
    def _check(cls, spec: Spec, found: checkpoints.Shapes, heads: bool, name: str, most: float) -> None:
        """Raises CheckpointError where the tensors of a file are not those of its network; allocates nothing."""
        checkpoints.check_classes(found, len(spec.classes), name)
        with torch.device("meta"):
            model = cls(_frozen_parts(spec, heads, name, empty=True), spec)
            if any(key.startswith("sigmoid.") for key in found):
                model.add_branch()
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if not k.endswith(COUNTERS)}
        checkpoints.check_size(shapes, most, spec.trunk)
        stored = model._stored_parts(heads)
        needed = {k: shape for k, shape in shapes.items() if k.split(".")[0] in stored}
        own = {k: shape for k, shape in found.items() if not k.startswith("gauge.")}
        checkpoints.check_fit(needed, own, name, spec.trunk)
        if (rows := last_linear(model.softmax).out_features) != len(spec.classes):
            raise checkpoints.CheckpointError(
                f"{quoted(name)} names {len(spec.classes):,} classes, and {quoted(spec.trunk)} has {rows:,}: save it "
                "again."
            )

    def fill(self, tensors: dict[str, Tensor], name: str) -> None:
        """Copies a file's tensors into the model. Raises CheckpointError where they do not fit."""
        parts = {k.removeprefix("gauge."): v for k, v in tensors.items() if k.startswith("gauge.")}
        try:
            self.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("gauge.")}, strict=False)
            if parts:
                self.set_gauge(Gauge.from_tensors(parts))
        except (RuntimeError, KeyError, ValueError) as error:
            reason = checkpoints.mismatch(error)
            raise checkpoints.CheckpointError(
                f"{quoted(name)} does not fit {quoted(self.spec.trunk)}: {reason}."
            ) from None

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(Path(save_directory) / FILE)
        (Path(save_directory) / "README.md").write_text(card(self.spec, self.frozen_hash()), encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, revision: str | None = None, cache_dir: str | Path | None = None,
        force_download: bool = False, local_files_only: bool = False, token: str | bool | None = None, **_: Any,
    ) -> DualBranch:  # fmt: skip
        path = Path(model_id) / FILE
        if not path.is_file():
            path = Path(hf_hub_download(
                model_id, FILE, revision=revision, cache_dir=cache_dir, force_download=force_download,
                local_files_only=local_files_only, token=token,
            ))  # fmt: skip
        return cls.load(path)


def _frozen_parts(spec: Spec, heads: bool, name: str, empty: bool = False) -> Parts:
    """The network of a checkpoint: `empty`, or where the file fills it, without weights, else with its origin's."""
    origin = spec.origin.get("trunk", "file")
    if origin == MODULE:
        raise checkpoints.CheckpointError(
            f"{quoted(name)} holds heads for a module of your own, {quoted(spec.trunk)}: open it by from_module(net, "
            "layer, heads=path)."
        )
    if heads and origin.startswith(BUNDLED):
        path = bundled().get(origin.removeprefix(BUNDLED))
        if path is None or path.name == name:
            raise checkpoints.CheckpointError(
                f"{quoted(name)} holds heads of the bundled model {quoted(origin.removeprefix(BUNDLED))}, which is not "
                "here: bring the whole model."
            )
        whole = _outlined(path) if empty else DualBranch.load(path)
        fresh = resized(whole.softmax, len(spec.classes))
        return Parts(whole.trunk, whole.neck, fresh, spec.preprocessing, spec.layer, spec.classes)
    weights = "hub" if origin == "hub" and not empty else None
    classes = None if spec.origin.get("softmax") == "hub" else len(spec.classes)
    return backbones.build(spec.trunk, weights, classes, spec.stride)


def _outlined(path: Path) -> DualBranch:
    """The network of a bundled model, without weights."""
    spec = Spec.from_metadata(checkpoints.header(path).metadata)
    return DualBranch(_frozen_parts(spec, heads=False, name="", empty=True), spec)
