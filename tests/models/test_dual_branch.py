"""Training the branch leaves the rest untouched to the bit; one trunk run gives the logits of both heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from saved_models import same
from toys import C, ToyTrunk, counted, images, randomise, refusal, toy

from bsoftmax.models.backbones import Parts, Preprocessing
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.heads import MLP, FlatGrid
from bsoftmax.models.spec import Spec
from bsoftmax.training.fitting import fit
from bsoftmax.training.loop import BranchConfig
from bsoftmax.training.vectors import Vectors

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
