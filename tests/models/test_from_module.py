"""Any image classifier opens by `from_module`: torchvision's, one that answers as transformers', and an untraceable."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.functional import relu
from torchvision.models import VisionTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.resnet import BasicBlock, ResNet
from toys import counted, refusal, shake

from bsoftmax import View, class_map, from_module, open_model
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.heads import GlobalAveragePool, is_gap_linear, pools_first
from bsoftmax.models.model_card import card

SIDE = 32


@dataclass
class Output:
    """What transformers' classifiers return."""

    logits: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] = ()


class Answering(nn.Module):
    """A convolution and a linear layer that answer as transformers does, with names of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.ReLU())
        self.classifier = nn.Linear(6, 5)

    def forward(self, pixel_values, labels=None):
        maps = self.encoder(pixel_values)
        return Output(self.classifier(maps.mean((2, 3))), (maps,))


class Branching(Answering):
    """Python asks for a number, which torch.fx cannot follow."""

    def forward(self, x):
        maps = self.encoder(x)
        return self.classifier((maps if float(maps.sum()) > 0 else -maps).mean((2, 3)))


class ChannelsLast(Answering):
    """Maps [B,P,Q,N], and a norm behind the pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(6), nn.Identity()

    def forward(self, x):
        maps = self.last(self.encoder(x).permute(0, 2, 3, 1))
        return self.classifier(self.norm(maps.mean((1, 2))))


class Dense(Answering):
    """As torchvision's DenseNet: F has both signs, and the ReLU behind it is in place."""

    def forward(self, x):
        maps = relu(self.encoder[0](x), inplace=True)
        return self.classifier(maps.mean((2, 3)))


class Asking(Answering):
    """As transformers: it asks for shapes, which torch.fx has not and torch.export has."""

    def forward(self, pixel_values, labels=None):
        maps = self.encoder(pixel_values)
        if maps.ndim != 4 or maps.shape[1] != 6:
            raise ValueError("Expected maps.")
        h = maps.reshape(pixel_values.shape[0], maps.shape[1], -1).mean(2)
        return Output(self.classifier(h), (maps,))


class Several(Answering):
    """As detectors and distilled networks."""

    def forward(self, x):
        logits = self.classifier(self.encoder(x).mean((2, 3)))
        return logits, logits


# name -> module, layer of F, shape of F, whether the head pools first
MODULES = {
    "resnet": (lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5), "layer3", (256, 2, 2), False),
    "convnext": (lambda: ConvNeXt([CNBlockConfig(8, None, 2)], num_classes=5), "features.1", (8, 8, 8), True),
    "vit": (
        lambda: VisionTransformer(SIDE, 8, 2, 2, 16, 32, num_classes=5), "encoder.layers.encoder_layer_1.ln_1",
        (16, 4, 4), False,
    ),
    "answering": (Answering, "encoder", (6, 4, 4), True),
    "channels last": (ChannelsLast, "last", (6, 4, 4), True),
    "asking": (Asking, "encoder", (6, 4, 4), True),
    "dense": (Dense, "encoder.0", (6, 4, 4), False),
}  # fmt: skip


def made(name, seed=0):
    torch.manual_seed(seed)
    return shake(MODULES[name][0]()).eval()


def own(net, x):
    out = net(x)
    return out.logits if isinstance(out, Output) else out


@pytest.mark.parametrize("name", MODULES)
def test_logits_are_the_modules_own_and_maps_lie_at_the_layer(name):
    net, (_, layer, shape, uniform) = made(name), MODULES[name]
    model = from_module(net, layer, size=SIDE, classes=list("abcde"))
    x = torch.randn(3, 3, SIDE, SIDE)
    with torch.no_grad(), counted(model) as calls:
        view = View(model, x)
        torch.testing.assert_close(view.logits("softmax"), own(net, x))
        F = view.F.clone()
        S = class_map(view.evidence("softmax", 2), "gradcam")
    assert torch.equal(view.F, F)  # also where the next layer is in place
    assert calls == [3]  # one pass
    assert view.F.shape[1:] == shape
    assert S.shape == (3, *shape[1:])
    assert pools_first(model.neck) == uniform
    assert model.classes == tuple("abcde")
    G = view.evidence("softmax", 2).G
    assert torch.allclose(G, G[..., :1, :1].expand_as(G), atol=1e-6 * float(G.abs().max())) == uniform


def test_average_pooling_and_one_linear_layer_are_found():
    model = from_module(made("answering"), "encoder", size=SIDE)
    assert isinstance(model.neck, GlobalAveragePool)
    assert is_gap_linear(model.neck, model.softmax)
    assert model.classes == tuple(f"class {k}" for k in range(5))


def test_what_nothing_can_trace_opens_by_two_functions():
    net = shake(Branching()).eval()
    message = refusal(lambda: from_module(net, "encoder", size=SIDE))
    assert "two functions" in message
    x = torch.randn(2, 3, SIDE, SIDE)
    model = from_module(net, trunk=net.encoder, neck=lambda F: F.mean((2, 3)), size=SIDE)
    with torch.no_grad():
        torch.testing.assert_close(model(x)["softmax"], net(x))
    assert "do not give" in refusal(
        lambda: from_module(net, trunk=net.encoder, neck=lambda F: F.amax((2, 3)), size=SIDE)
    )


def test_several_outputs_are_refused_with_what_to_do():
    message = refusal(lambda: from_module(Several(), "encoder", size=SIDE))
    assert message.startswith("Several returns a tuple, not logits [B,C] or an object with them as .logits")


@pytest.mark.parametrize(
    ("name", "layer", "why"),
    [("answering", "encodr", "encoder"), ("answering", "", "no layer"), ("vit", "encoder.ln", "every position"),
     ("convnext", "avgpool", "not maps"), ("convnext", "classifier.2", "do not depend")],
)  # fmt: skip
def test_layers_that_cannot_be_f_are_refused(name, layer, why):
    assert why in refusal(lambda: from_module(made(name), layer, size=SIDE))


def test_names_of_classes_are_as_many_as_logits():
    assert "5 classes" in refusal(lambda: from_module(made("answering"), "encoder", size=SIDE, classes=["one"]))


def test_heads_are_saved_alone_and_open_on_the_same_weights(tmp_path):
    model = from_module(made("vit"), MODULES["vit"][1], size=SIDE).for_classes(("cat", "dog"))
    shake(model.softmax)
    shake(model.add_branch()).requires_grad_(False)
    path = model.save(tmp_path / "heads.safetensors")
    x = torch.randn(2, 3, SIDE, SIDE)
    opened = from_module(made("vit"), MODULES["vit"][1], size=SIDE, heads=path)
    assert opened.classes == ("cat", "dog")
    for branch, expected in model(x).items():
        torch.testing.assert_close(opened(x)[branch], expected)
    assert path.stat().st_size < 10_000
    assert 'from_module(net, layer, heads="model.safetensors")' in card(model.spec, "")
    assert "from_module" in refusal(lambda: open_model(path), CheckpointError)
    other = lambda: from_module(made("vit", seed=1), MODULES["vit"][1], size=SIDE, heads=path)
    assert "other weights" in refusal(other, CheckpointError)
