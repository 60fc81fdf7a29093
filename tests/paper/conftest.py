"""The four data sets under one folder, and a table's run made small."""

from __future__ import annotations

import pytest
import timm
from archives_made import make_cars, make_cub, make_imagenet_kaggle, make_openimages
from paper_made import NAMES
from toys import small_model

from bsoftmax.models import backbones
from bsoftmax.paper.presets import Reproduction


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The four data sets under one folder, and a tiny network of a thousand classes in place of every trunk."""
    base = tmp_path_factory.mktemp("paper")
    root = base / "root"
    make_cub(root, classes=2)
    make_cars(root, classes=2)
    make_openimages(root, classes=2)
    imagenet, info = make_imagenet_kaggle(root, classes=2), timm.data.ImageNetInfo()
    wnids = [info.index_to_label_name(k) for k in range(1000)]
    (imagenet / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} a thing\n" for wnid in wnids))
    small_model(backbones.class_names(1000, native=True), branch=False).save(base / "tiny.safetensors")
    return base


@pytest.fixture(scope="module")
def asked(made):
    """A table's run, small: one epoch of everything."""
    trunks = dict.fromkeys(NAMES, str(made / "tiny.safetensors"))

    def asked(table, out="out", **options):
        options = {"stage1_epochs": 1, "epochs": 1, "views": 1, "trunks": trunks, **options}
        return Reproduction(table, made / "root", made / out, made / "cache", **options)

    return asked
