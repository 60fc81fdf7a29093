"""What is saved comes back to the bit, whole or not at all; files that do not fit are refused."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from saved_models import CLASSES, local_weights, same
from toys import randomise, refusal, small_model

from bsoftmax.models import checkpoints
from bsoftmax.models.backbones import WeightsError, build
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.spec import Spec

# --- save and load ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize(
    "trunk", ["test_resnet", "test_convnext", "test_vit", "test_vit2", "mobilenetv3_small_050", "test_mambaout"]
)
def test_round_trip(trunk, branch, tmp_path):
    model = small_model(CLASSES, trunk, branch)
    path = model.save(tmp_path / "deep" / "m.safetensors")
    again = DualBranch.load(path)
    size = 160 if "vit" in trunk else 96
    x = torch.randn(1, 3, size, size)
    assert path == tmp_path / "deep" / "m.safetensors"
    assert again.spec == model.spec
    assert again.frozen_hash() == model.frozen_hash()
    assert same(again(x), model(x))
    assert set(again(x)) == ({"softmax", "sigmoid"} if branch else {"softmax"})
    assert not any(m.training for m in again.modules())
    assert not any(p.requires_grad for p in again.parameters())


def test_round_trip_of_a_public_network_with_imagenet_classes(tmp_path, x):
    model = DualBranch.pretrained("test_resnet", weights=None)
    again = DualBranch.load(model.save(tmp_path / "m.safetensors"))
    assert same(again(x), model(x))
    assert again.classes == model.classes
    assert len(again.classes) == 1000


def test_round_trip_keeps_the_output_stride(tmp_path, x):
    model = DualBranch.pretrained("test_resnet", weights=None, stride=32)
    again = DualBranch.load(model.save(tmp_path / "m.safetensors"))
    assert again.features(x)[0].shape == model.features(x)[0].shape == (2, 96, 3, 3)


def test_half_precision_halves_the_trunk_and_stays_close(model, tmp_path, x):
    whole, half = model.save(tmp_path / "whole.safetensors"), model.save(tmp_path / "half.safetensors", half=True)
    assert os.path.getsize(half) < 0.6 * os.path.getsize(whole)
    tensors = load_file(half)
    assert {v.dtype for k, v in tensors.items() if k.startswith(("softmax.", "sigmoid."))} == {torch.float32}
    again = DualBranch.load(half)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    for head, z in model(x).items():
        torch.testing.assert_close(again(x)[head], z, rtol=0.02, atol=0.02 * float(z.abs().max()))
    twice = DualBranch.load(again.save(tmp_path / "twice.safetensors", half=True))
    assert twice.frozen_hash() == again.frozen_hash()
    assert same(twice(x), again(x))


@pytest.mark.parametrize("half", [False, True])
def test_a_branch_on_public_weights_is_saved_alone(hub, half, tmp_path, x):
    path = hub.save(tmp_path / "m.safetensors", half)
    assert {k.split(".")[0] for k in load_file(path)} == {"sigmoid"}
    assert os.path.getsize(path) < 1.1 * sum(p.numel() * 4 for p in hub.sigmoid.parameters()) + 60_000
    again = DualBranch.load(path)
    assert same(again(x), hub(x))
    assert again.spec.origin == {"trunk": "hub", "softmax": "hub"}


def test_a_branch_refuses_other_public_weights_than_its_own(hub, tmp_path):
    path = hub.save(tmp_path / "m.safetensors")
    local_weights(tmp_path / "weights", seed=2)
    assert "other weights" in refusal(lambda: DualBranch.load(path), CheckpointError)


def test_a_branch_whose_public_weights_cannot_be_had_says_what_to_bring(hub, tmp_path, monkeypatch):
    path = hub.save(tmp_path / "m.safetensors")
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path / "empty"))
    monkeypatch.setattr("bsoftmax.models.backbones.hf_hub_download", lambda *_, **__: 1 / 0)
    assert "model.safetensors" in refusal(lambda: DualBranch.load(path), WeightsError)


def test_a_new_softmax_head_on_a_public_trunk_is_saved_with_the_branch(hub, tmp_path, x):
    parts = build("test_resnet", num_classes=3)
    spec = Spec("test_resnet", CLASSES, parts.preprocessing, parts.layer, None, {"trunk": "hub", "softmax": "file"})
    model = DualBranch(parts, spec)
    randomise(model.add_branch())
    path = model.save(tmp_path / "m.safetensors")
    assert {k.split(".")[0] for k in load_file(path)} == {"sigmoid", "softmax"}
    assert same(DualBranch.load(path)(x), model(x))


def test_the_file_says_everything_about_itself(model, tmp_path):
    from dataclasses import replace

    recipe = {"sigmoid": {"command": "bsoftmax train", "config": {"lr": 0.5, "views": [1, 2]}}}
    model.spec = replace(model.spec, training=recipe, metrics={"val": {"softmax_top1": 50.0}})
    path = model.save(tmp_path / "m.safetensors")
    with safe_open(path, "pt") as file:
        meta = {k: json.loads(v) for k, v in file.metadata().items()}
    assert meta["format"] == "bsoftmax/1"
    assert meta["trunk"] == "test_resnet"
    assert meta["classes"] == list(CLASSES)
    assert meta["preprocessing"] == {
        "size": 160, "mean": list(model.spec.preprocessing.mean), "std": list(model.spec.preprocessing.std)
    }  # fmt: skip
    assert meta["layer"] == model.spec.layer
    assert meta["training"] == recipe
    assert meta["metrics"] == {"val": {"softmax_top1": 50.0}}
    assert meta["frozen_sha256"] == model.frozen_hash()
    assert meta["versions"]["torch"] == torch.__version__
    assert {"timm", "torchvision"} <= meta["versions"].keys()
    assert DualBranch.load(path).spec == model.spec


# --- whole or not at all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["os.replace", "os.fsync", "bsoftmax.models.checkpoints.save_file"])
def test_an_interrupted_write_keeps_the_old_file_and_leaves_no_scraps(step, tmp_path, monkeypatch):
    path = checkpoints.write(tmp_path / "m.safetensors", {"a": torch.ones(3)}, {"n": 1})

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(step, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.write(path, {"a": torch.zeros(3)}, {"n": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    tensors, meta = checkpoints.read(path)
    assert torch.equal(tensors["a"], torch.ones(3))
    assert meta["n"] == 1
    checkpoints.write(path, {"a": torch.zeros(3)}, {"n": 2})
    assert checkpoints.read(path)[1]["n"] == 2


def test_a_file_is_readable_by_others_and_takes_any_layout_of_tensors(tmp_path):
    odd = torch.arange(6.0).reshape(2, 3).T
    path = checkpoints.write(
        tmp_path / "m.safetensors", {"a": odd, "b": odd.to(memory_format=torch.contiguous_format)}, {}
    )
    assert oct(path.stat().st_mode & 0o777) == "0o644"
    assert torch.equal(checkpoints.read(path)[0]["a"], odd)


def test_hashes_see_names_shapes_types_and_bytes():
    base = {"a": torch.tensor([1.0, 2.0])}
    others = [
        {"b": torch.tensor([1.0, 2.0])},
        {"a": torch.tensor([[1.0, 2.0]])},
        {"a": torch.tensor([1.0, 2.0]).double()},
        {"a": torch.tensor([1.0, 2.0000002])},
        {"a": torch.tensor([1.0, 2.0]), "c": torch.empty(0)},
    ]
    hashes = {checkpoints.tensor_hash(t) for t in [base, *others]}
    assert len(hashes) == 6
    two = {"x": torch.ones(2), "y": torch.zeros(1)}
    assert checkpoints.tensor_hash(two) == checkpoints.tensor_hash(dict(reversed(two.items())))


# --- refused ----------------------------------------------------------------------------------------------------------


def rewritten(path, change):
    """The same file with its tensors and metadata changed in place."""
    with safe_open(path, "pt") as file:
        meta, tensors = dict(file.metadata()), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change(tensors, meta)
    save_file(tensors, path, metadata=meta)


BAD = {
    "another network": lambda t, m: m.update(trunk='"test_convnext"'),
    "an unknown network": lambda t, m: m.update(trunk='"resnetti"'),
    "missing tensor": lambda t, m: t.pop("softmax.bias"),
    "extra tensor": lambda t, m: t.update(extra=torch.zeros(1)),
    "wrong shape": lambda t, m: t.update({"softmax.bias": torch.zeros(4)}),
    "NaN": lambda t, m: t["sigmoid.weight"].fill_(float("nan")),
    "infinity": lambda t, m: t["trunk.net.conv1.0.weight"].view(-1)[3:4].fill_(float("inf")),
    "changed frozen weights": lambda t, m: t["softmax.bias"].add_(1),
    "no hash": lambda t, m: m.pop("frozen_sha256"),
    "no format": lambda t, m: m.pop("format"),
    "a later format": lambda t, m: m.update(format='"bsoftmax/99"'),
    "no classes": lambda t, m: m.pop("classes"),
    "classes of another number": lambda t, m: m.update(classes='["a", "b"]'),
    "classes that are no list": lambda t, m: m.update(classes="3"),
    "no preprocessing": lambda t, m: m.pop("preprocessing"),
    "preprocessing that is no table": lambda t, m: m.update(preprocessing="7"),
    "pictures of any size": lambda t, m: m.update(
        preprocessing='{"size": 2000000, "mean": [0, 0, 0], "std": [1, 1, 1]}'
    ),
    "origin that is no table": lambda t, m: m.update(origin='"hub"'),
    "metadata that is no JSON": lambda t, m: m.update(classes="[oops"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_does_not_fit_is_refused(bad, model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    rewritten(path, BAD[bad])
    message = refusal(lambda: DualBranch.load(path), ValueError if bad == "an unknown network" else CheckpointError)
    assert message.count(". ") <= (1 if bad == "an unknown network" else 0)
    rewritten(model.save(path), lambda t, m: None)
    DualBranch.load(path)  # the rewriting itself breaks nothing


@pytest.mark.parametrize(
    "content", ["half of it", "nothing", "text", "pickle", "plain safetensors", "a folder", "absent"]
)
def test_a_file_of_another_kind_is_refused(content, model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    whole = path.read_bytes()
    path.unlink()
    if content == "half of it":
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "nothing":
        path.touch()
    elif content == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    elif content == "pickle":
        torch.save({"a": Trap(str(tmp_path / "sprung"))}, path)
    elif content == "plain safetensors":
        save_file({"a": torch.ones(1)}, path)
    elif content == "a folder":
        path.mkdir()
    message = refusal(lambda: DualBranch.load(path), CheckpointError)
    assert "m.safetensors" in message
    assert ". " not in message
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Unpickling this creates a folder: proof that something was unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)
