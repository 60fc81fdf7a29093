"""Training the branch leaves the rest untouched to the bit; what is saved comes back; what is not ours is refused."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import C, ToyTrunk, counted, images, randomise, refusal, shake, small_model, toy

from bsoftmax.models import checkpoints, zoo
from bsoftmax.models.backbones import Parts, Preprocessing, WeightsError, build
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.dual_branch import FILE, DualBranch
from bsoftmax.models.heads import MLP, FlatGrid
from bsoftmax.models.spec import Spec
from bsoftmax.training.fitting import fit
from bsoftmax.training.loop import BranchConfig
from bsoftmax.training.vectors import Vectors
from bsoftmax.utils import files

CLASSES = ("cat", "dog", "fox")


@pytest.fixture
def model():
    return small_model(CLASSES)


@pytest.fixture
def x():
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- frozen -----------------------------------------------------------------------------------------------------------


class ShakyTrunk(ToyTrunk):
    """BatchNorm and dropout: in train mode every run gives other features and moves the running statistics."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(self.net[0], torch.nn.BatchNorm2d(6), torch.nn.ReLU(), torch.nn.Dropout(0.5))


def shaky():
    torch.manual_seed(0)
    preprocessing = Preprocessing(24)
    classes = tuple(f"class {i}" for i in range(C))
    parts = Parts(ShakyTrunk(), FlatGrid(2), MLP(24, 7, C), preprocessing, "relu", classes)
    return DualBranch(parts, Spec("toy", classes, preprocessing, "relu"))


@pytest.mark.parametrize("where", ["before", "during", "after"])
def test_fit_leaves_everything_but_the_branch_equal_to_the_bit(where):
    model, x = shaky(), images(16, double=False)
    labels = torch.arange(16) % C
    frozen, logits = model.frozen_hash(), model(x)["softmax"]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    branch = model.add_branch()
    start = {k: v.clone() for k, v in branch.state_dict().items()}
    if where == "before":
        model.train()
    h = model.neck(*model.features(x))[None]
    for _ in fit(branch, Vectors.of(h, labels), BranchConfig(epochs=3, batch=4, lr=0.1)):
        if where == "during":
            model.train()
            model(x)
    if where == "after":
        model.train()
        model(x)
    assert model.frozen_hash() == frozen
    assert torch.equal(model(x)["softmax"], logits)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items() if not k.startswith("sigmoid."))
    assert not same(branch.state_dict(), start)  # and the branch did learn


def test_train_mode_reaches_the_branch_alone():
    model = shaky()
    model.add_branch()
    assert not any(m.training for m in model.modules())
    assert model.train() is model
    training = {name for name, m in model.named_modules() if m.training}
    assert training == {"", *(f"sigmoid{'.' if n else ''}{n}" for n, _ in model.sigmoid.named_modules())}
    model.eval()
    assert not any(m.training for m in model.modules())


def test_only_the_branch_wants_gradients_and_only_when_it_is_added():
    model = shaky()
    assert not any(p.requires_grad for p in model.parameters())
    model.add_branch()
    wanting = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert wanting == {"sigmoid"}


@pytest.mark.parametrize("part", ["trunk.net.0.weight", "trunk.net.1.running_mean", "softmax.6.bias"])
def test_the_frozen_hash_sees_the_smallest_change_in_any_frozen_part(part):
    model = shaky()
    before = model.frozen_hash()
    randomise(model.add_branch())
    assert model.frozen_hash() == before
    entry = model.state_dict()[part].view(-1)
    entry[-1] = torch.nextafter(entry[-1], torch.tensor(9.0))
    assert model.frozen_hash() != before


def test_the_two_heads_share_nothing():
    model = toy("mlp")
    own = {p.data_ptr() for p in model.softmax.parameters()}
    assert own.isdisjoint(p.data_ptr() for p in model.sigmoid.parameters())
    clone = model.add_branch("clone")
    assert same(clone.state_dict(), model.softmax.state_dict())
    assert own.isdisjoint(p.data_ptr() for p in clone.parameters())


# --- forward ----------------------------------------------------------------------------------------------------------


def test_forward_gives_the_logits_of_both_heads_from_one_trunk_run():
    model, x = toy("token"), images()
    with counted(model) as calls:
        z = model(x)
    assert calls == [2]
    h = model.neck(*model.trunk(x))
    assert torch.equal(z["softmax"], model.softmax(h))
    assert torch.equal(z["sigmoid"], model.sigmoid(h))
    assert set(toy(branch=False)(x)) == {"softmax"}


def test_classifier_without_a_branch_says_what_to_do():
    assert "train" in refusal(lambda: toy(branch=False).classifier("sigmoid"))


def test_preprocess_is_squeeze_scale_normalise():
    model = toy()
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 255, (31, 77, 3), dtype=np.uint8))
    x = model.preprocess([wide, Image.new("RGB", (24, 24), (255, 0, 51))])
    assert x.shape == (2, 3, 24, 24)
    assert x.dtype == torch.float32
    expected = np.asarray(wide.resize((24, 24), Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 255
    torch.testing.assert_close(x[0], torch.tensor((expected - 0.5) / 0.5).float())
    torch.testing.assert_close(x[1].mean((1, 2)), torch.tensor([1.0, -1.0, -0.6]))
    assert torch.equal(model.preprocess(wide)[0], x[0])


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


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A model whose frozen part comes from "the Hub": here a folder of local weights, and no network."""
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    local_weights(tmp_path / "weights", seed=1)
    model = DualBranch.pretrained("test_resnet")
    randomise(model.add_branch())
    return model


def local_weights(folder, seed):
    import timm

    torch.manual_seed(0)
    net = shake(timm.create_model("test_resnet"), seed)
    save_file(net.state_dict(), folder / "test_resnet.safetensors")


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


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.file_hash(tmp_path / "f") == expected
    with open(tmp_path / "f", "rb") as file:
        assert files._digest(file) == expected  # what Python 3.10 uses


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


# --- the Hub ----------------------------------------------------------------------------------------------------------


def test_hub_round_trip_in_a_folder(model, tmp_path, x):
    model.save_pretrained(tmp_path / "repo")
    assert {FILE, "config.json"} <= {p.name for p in (tmp_path / "repo").iterdir()}
    config = json.loads((tmp_path / "repo" / "config.json").read_text())
    assert config == {"trunk": "test_resnet", "layer": model.spec.layer, "classes": list(CLASSES)}
    again = DualBranch.from_pretrained(str(tmp_path / "repo"))
    assert same(again(x), model(x))
    assert again.spec == model.spec


def test_hub_download_asks_for_the_one_file(model, tmp_path, monkeypatch, x):
    stored, asked = model.save(tmp_path / "cached"), []

    def download(repo, file, **options):
        asked.append((repo, file, options["revision"]))
        return str(stored)

    monkeypatch.setattr("bsoftmax.models.dual_branch.hf_hub_download", download)
    again = DualBranch._from_pretrained(model_id="someone/branch", revision="v1")
    assert asked == [("someone/branch", "model.safetensors", "v1")]
    assert same(again(x), model(x))


# --- names of models --------------------------------------------------------------------------------------------------


def test_models_open_by_bundled_name_path_or_trunk(model, tmp_path, monkeypatch, x):
    monkeypatch.setattr(zoo, "CHECKPOINTS", tmp_path)
    model.save(tmp_path / "mini.safetensors")
    model.save(tmp_path / "resnet50.tv_in1k.safetensors")  # weights kept beside the bundled models are not one of them
    assert list(zoo.bundled()) == ["mini"]
    assert zoo.names()[:2] == ["mini", "resnet10t"]
    for name in ("mini", tmp_path / "mini.safetensors", str(tmp_path / "mini.safetensors")):
        assert same(zoo.open_model(name)(x), model(x))
    assert zoo.open_model("test_resnet", weights=None).sigmoid is None
    assert "mini2" in refusal(lambda: zoo.open_model("mini2"))
    assert "absent.safetensors" in refusal(lambda: zoo.open_model(tmp_path / "absent.safetensors"))
