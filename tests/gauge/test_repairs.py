"""Heads put beside a trunk, measured, and compared with their centred rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from slow_evaluation import write_pictures
from toys import C, N, counted, refusal, toy

from bsoftmax.evaluation import aggregate, plan
from bsoftmax.evaluation.column import Column
from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.gauge import repairs
from bsoftmax.gauge.repairs import MEASURED, repair, with_head
from bsoftmax.training.feature_cache import Stopped
from bsoftmax.training.vectors import Vectors

KINDS = [(source, clamp) for source in ("softmax", "sigmoid", "log-odds", "centred") for clamp in (False, True)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data, out = write_pictures(tmp_path_factory.mktemp("pictures")), tmp_path_factory.mktemp("out")
    return EvalRun(str(data), out, batch=4, cache=out / "cache", device="cpu", rounds=20)


def spoiled(patch):
    """A toy whose rows have much in common, which `prepare` finds in place of the file."""
    made = toy()
    made.softmax.weight -= 5
    patch.setattr(plan.zoo, "open_model", lambda *_: made)
    return made


@pytest.fixture(scope="module")
def found(run):
    """What `repair` found of a toy whose rows have much in common."""
    with pytest.MonkeyPatch.context() as patch:
        made = spoiled(patch)
        return repair(made, run)


def test_the_numbers_are_those_of_the_records_of_an_evaluation(found, run):
    columns = found.json()["columns"]
    assert [(c["source"], c["clamp"]) for c in columns] == KINDS
    (folder,) = (path.parent for path in run.out.rglob("records-0.jsonl"))
    records = list(aggregate.read(folder, aggregate.read_header(folder)["key"]))
    assert found.n == len(records) == 2 * C
    for c in columns:
        key = f"cam/{c['source']}/{'on' if c['clamp'] else 'off'}"
        hits = [record["places"][f"{key}:bicubic"]["gt_loc"] for record in records]
        assert c["metrics"]["gt_loc"]["value"] == pytest.approx(sum(hits) / len(hits))
        assert c["metrics"]["blank"]["value"] == pytest.approx(np.mean([r["looks"][key]["blank"] for r in records]))


def test_differences_are_from_the_centred_rows(found):
    columns = {(c["source"], c["clamp"]): c for c in found.json()["columns"]}
    base = columns["centred", False]
    assert base["difference"] == {}
    for kind in set(KINDS) - {("centred", False)}:
        for name in MEASURED:
            expected = columns[kind]["metrics"][name]["value"] - base["metrics"][name]["value"]
            assert columns[kind]["difference"][name]["value"] == pytest.approx(expected)
    softmax, centred = (found.columns[Column("cam", s, False)]["gt_loc"] for s in ("softmax", "centred"))
    difference = columns["softmax", False]["difference"]["gt_loc"]
    assert difference == softmax.minus(centred).json()
    assert difference["value"] == pytest.approx((softmax.per_image - centred.per_image).mean())
    assert columns["softmax", False]["metrics"]["blank"]["value"] == 100
    assert base["metrics"]["blank"]["value"] == 0


def test_a_stopped_measurement_goes_on_and_another_head_does_not_run_the_trunk(found, run, tmp_path, monkeypatch):
    model, once, events, earlier, kept = spoiled(monkeypatch), [], [], {}, {}
    mine = replace(run, out=tmp_path)
    with pytest.raises(Stopped):
        repair(model, mine, stop=lambda: len(once) > 1 or once.append(1), kept=earlier)
    with counted(model) as calls:
        again = repair(model, mine, events.append, kept=kept)
    assert 0 < sum(calls) < found.n  # one pass more than photographs left, to learn the size of the maps
    assert events[-1]["done"] == events[-1]["total"] == found.n
    assert again.json() == found.json()
    with counted(model) as calls:
        shared = repair(model, replace(mine, out=tmp_path / "other"), kept=kept | earlier)
    assert sum(calls) == 1
    assert shared.json() == found.json()


def test_a_head_stands_beside_the_trunk_with_its_branch():
    trunk, head, branch = toy(double=False), torch.nn.Linear(N, 3), torch.nn.Linear(N, 3)
    made = with_head(trunk, head, ("a", "b", "c"), branch)
    assert made.trunk is trunk.trunk
    assert torch.equal(made.softmax.weight, head.weight)
    assert torch.equal(made.classifier("sigmoid").bias, branch.bias)
    assert "2 classes" in refusal(lambda: with_head(trunk, head, ("a", "b"), branch))


def test_the_branch_of_a_gauge_moves_all_rows_alike_and_the_trained_one_forgets_the_head():
    generator = torch.Generator().manual_seed(0)
    vectors = Vectors.of(torch.rand(1, 40, N, generator=generator), torch.arange(40) % C)
    heads = [torch.nn.Linear(N, C).requires_grad_(False) for _ in range(2)]
    for head in heads:
        moved = repairs.gauge_branch(head, vectors).weight.detach()
        apart, before = moved - moved[0], head.weight - head.weight[0]
        scale = float((apart * before).sum() / before.square().sum())
        assert torch.allclose(apart, scale * before, atol=1e-5)
    one, other = (repairs.trained_branch(head, vectors) for head in heads)
    assert torch.equal(one.weight, other.weight)
    right = sum(int(one(h).argmax()) == int(y) for h, y in zip(vectors.take(vectors.good), vectors.labels))
    assert repairs.top1(one, vectors) == pytest.approx(100 * right / 40)


def test_the_table_marks_what_differs_from_the_centred_map():
    cell = {"value": 50.0, "low": 40.0, "high": 60.0, "n": 9}

    def column(source, low, high):
        minus = {} if source == "centred" else {"gt_loc": {"value": (low + high) / 2, "low": low, "high": high}}
        return {"method": "cam", "source": source, "clamp": False, "metrics": {"gt_loc": cell}, "difference": minus}

    columns = [column("softmax", -9, -1), column("centred", 0, 0), column("log-odds", -1, 1), column("sigmoid", 1, 9)]
    line = repairs.markdown({"text": {"columns": columns}}, "gt_loc", {"text": "Zero-shot"}).splitlines()[-1]
    title, *cells = (cell.strip() for cell in line.strip("| ").split("|"))
    assert title == "Zero-shot"
    assert [cell[-1] for cell in cells] == ["↓", "]", "]", "↑"]
