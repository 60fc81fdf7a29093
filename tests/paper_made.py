"""The networks and tables of the paper."""

from __future__ import annotations

from bsoftmax.paper import published

NAMES = ("vgg16_cam", "vgg16", "resnet50", "inception_v3")
TABLES = tuple(published.TABLES)
