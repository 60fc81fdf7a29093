"""The Train tab's settings are the command line's."""

import pytest
from toys import refusal

from bsoftmax.cli import parser
from bsoftmax.training.loop import BranchConfig
from demo.train.settings import LABELS, RANGES, Settings


def test_untouched_settings_are_the_command_lines_own():
    parsed = parser().parse_args(["train", "DATA", "--out", "x.safetensors"])
    parsed.trunk = parsed.model
    default = BranchConfig()
    for name in LABELS:  # what SGD alone has is its configuration's where nothing is said
        said = getattr(parsed, name)
        assert (getattr(default, name) if said is None else said) == getattr(Settings(), name), name
    assert Settings().options() == []


def test_only_what_was_changed_is_said_on_the_command_line():
    changed = Settings.read("resnet50", 4.0, 12, "0.25", 0, "clone", "finetune", 0.5, 7, "sgd")
    words = changed.options()
    parsed = parser().parse_args(["train", "DATA", "--out", "x.safetensors", *words])
    parsed.trunk = parsed.model
    assert all(getattr(parsed, name) == getattr(changed, name) for name in LABELS)
    assert Settings(epochs=5).options() == ["--epochs", "5"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("trunk", "unicorn", "There is no trunk 'unicorn'"),
        ("trunk", "../../x.safetensors", "There is no trunk"),
        ("trunk", "vgg16_cam", "fine-tune"),
        ("trunk", "vit_giant_patch14_224", "at most 400 million"),
        ("views", 0, "Views of an image must be 1 to 16, got 0"),
        ("epochs", 100000, "Epochs must be 1 to 300"),
        ("lr", float("nan"), "Learning rate must be"),
        ("share", None, "empty or not a number"),
        ("seed", "x", "empty or not a number"),
        ("init", "--out=/etc/x", "no start"),
        ("stage1", "x", "first stage 'x'"),
        ("solver", "adam", "no solver 'adam'"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(name, value, says):
    values = {key: getattr(Settings(), key) for key in LABELS} | {name: value}
    assert says in refusal(lambda: Settings.read(*values.values()))


def test_every_number_has_a_range():
    assert {name for name in LABELS if isinstance(getattr(Settings(), name), (int, float))} == RANGES.keys()
