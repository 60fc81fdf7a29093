"""The paper's numbers as printed, and its presets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from paper_made import NAMES, TABLES
from toys import refusal

from bsoftmax.cams import methods
from bsoftmax.evaluation import metrics
from bsoftmax.models import backbones
from bsoftmax.paper import published
from bsoftmax.paper.presets import Reproduction, cells, evaluation_options, training_options
from bsoftmax.training.loop import set_lr

# --- the paper --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_the_differences_printed_are_those_of_the_numbers_printed(table):
    for row in published.TABLES[table].rows:
        assert len(row.baseline) == len(row.ours) == len(row.change) == len(published.TABLES[table].columns)
        for (_, metric), base, ours, change in zip(
            published.TABLES[table].columns, row.baseline, row.ours, row.change, strict=True
        ):
            assert (ours is None) == (change is None) == (metric == "top1_cls")
            assert ours is None or round(ours - base, 2) == change


def test_the_tables_have_the_papers_shape():
    one, two = published.TABLES.values()
    assert [len(t.rows) for t in (one, two)] == [10, 6]
    assert sum(value is not None for t in (one, two) for row in t.rows for value in (*row.baseline, *row.ours)) == 140
    assert one.rows[5].ours == (13.86, 18.42, 3.77, 40.62)  # CAM on ResNet-50, as the text has it
    assert one.rows[6].baseline == one.rows[8].baseline  # Grad-CAM and XGrad-CAM are one map there
    assert two.rows[1].change == (None, 7.64, 10.41, 7.68, None, 1.28)


def test_everything_named_exists():
    for table in published.TABLES.values():
        for corpus, metric in table.columns:
            assert corpus in published.CORPORA
            assert metric in metrics.METRICS
        for row in table.rows:
            assert row.method in methods.METHODS
            assert published.trunk_of(row.backbone, row.method).backbone == row.backbone
    for trunk in published.TRUNKS:
        assert backbones.BACKBONES[trunk.name].complete == trunk.pretrained
    refusal(lambda: published.trunk_of("vgg16", "scorecam"))


def test_the_recipe_is_the_one_published():
    """Nesterov momentum .9, 3 epochs, batch 32, .003 x 10 on the branch, x 0.1 as epoch 3 begins, weight decay 5e-4."""
    r = published.RECIPE
    assert (r.epochs, r.batch, r.lr, r.momentum, r.weight_decay, r.init) == (3, 32, 0.003 * 10, 0.9, 5e-4, "fresh")
    weight, steps = torch.nn.Parameter(torch.zeros(1)), 7
    optimizer, rates = torch.optim.SGD([weight], 1), []
    for step in range(3 * steps):
        set_lr(optimizer, r, step / (3 * steps))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.03] * 2 * steps + [pytest.approx(0.003)] * steps


# --- what is run ------------------------------------------------------------------------------------------------------


def test_the_presets_are_the_papers(tmp_path):
    run = Reproduction("table2", tmp_path, tmp_path / "out", tmp_path / "cache")
    found = {cell.key: cell for cell in cells(run)}
    assert list(found) == [f"{data}-{name}" for data in ("imagenet", "openimages") for name in NAMES]
    assert found["imagenet-vgg16_cam"].methods == ("cam",)
    assert found["imagenet-resnet50"].methods == ("cam", "gradcam")
    job = training_options(run, found["imagenet-vgg16"], tmp_path)
    assert (job.trunk, job.classes, job.weights, job.branch) == ("vgg16", "kept", "hub", published.RECIPE)
    job = training_options(run, found["imagenet-vgg16_cam"], tmp_path)
    assert (job.trunk, job.classes, job.stage1) == ("vgg16_cam", "own", "finetune")
    asked = evaluation_options(run, found["imagenet-vgg16"], tmp_path, "val", "official")
    assert (asked.methods, asked.sources, asked.clamps) == (("gradcam",), ("softmax", "sigmoid"), ("paper",))
    assert (asked.protocol, asked.metrics, asked.limit) == ("official", ("localization",), None)
    few = replace(run, table="table1", backbones=("vgg16",), datasets=("cub",))
    assert [cell.key for cell in cells(few)] == ["cub-vgg16_cam", "cub-vgg16"]
