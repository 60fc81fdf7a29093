"""Methods that take many passes of the trunk take few here."""

import pytest

from bsoftmax.cams import channels, pixels, rise

FEW = {rise: {"MASKS": 7}, channels: {"STEPS": 3}, pixels: {"SAMPLES": 4, "STEPS": 8}}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for module, values in FEW.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
