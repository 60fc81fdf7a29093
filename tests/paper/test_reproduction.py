"""The paper's tables: every cell run on stand-ins laid out as the official archives."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from paper_made import NAMES, TABLES

from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.paper import published
from bsoftmax.paper.reproduction import reproduce
from bsoftmax.utils import files


@pytest.fixture(scope="module")
def both(asked):
    """Both tables run: (last event, the table's JSON) each."""
    found = {}
    for table in TABLES:
        done = reproduce(asked(table))
        found[table] = done, json.loads((asked(table).out / f"{table}.json").read_text())
    return found


@pytest.mark.parametrize("table", TABLES)
def test_every_number_of_the_paper_stands_beside_one_found(both, table):
    done, found = both[table]
    assert (done["problems"], done["stopped"]) == ({}, False)
    protocols = ["either"] if table == "table1" else ["official", "standard"]
    beside = {(r["backbone"], r["method"], r["dataset"], r["metric"], r["protocol"]): r for r in found["rows"]}
    wanted = 0
    for row in published.TABLES[table].rows:
        for n, column in enumerate(published.TABLES[table].columns):
            for protocol in protocols:
                line = beside[(row.backbone, row.method, *column, protocol)]
                wanted += 1
                assert line["paper"] == {"baseline": row.baseline[n], "ours": row.ours[n], "change": row.change[n]}
                assert {part for part, cell in line["here"].items() if cell is None} == {
                    part for part, value in line["paper"].items() if value is None
                }
                assert (line["n"], line["note"]) == (4, None)
                for cell in filter(None, line["here"].values()):
                    assert -100 <= cell["low"] <= cell["high"] <= 100
    assert wanted == len(found["rows"]) == (40 if table == "table1" else 72)


def test_the_means_are_those_of_the_records(both, asked):
    """Re-derived from the records of images: baseline, + Ours, and their difference."""
    for row in both["table1"][1]["rows"]:
        folder = asked("table1").out / f"{row['cell']}-fidelity-standard"
        results = json.loads((folder / "results.json").read_text())
        looks = {(c["method"], c["source"], c["clamp"]): c["look"] for c in results["columns"]}
        records = [json.loads(line) for line in (folder / "records-0.jsonl").read_text().splitlines()[1:]]
        means = {}
        for part, source, clamp in (("baseline", "softmax", False), ("ours", "sigmoid", True)):
            look = looks[row["method"], source, clamp]
            means[part] = sum(record["looks"][look][row["metric"]] for record in records) / len(records)
            assert row["here"][part]["value"] == pytest.approx(means[part])
        assert row["here"]["change"]["value"] == pytest.approx(means["ours"] - means["baseline"])


def test_places_are_scored_under_the_protocol_of_their_row(both, asked):
    cell = both["table2"][1]["cells"]["imagenet-resnet50"]
    assert cell["results"].keys() == {"official", "standard"}
    for name, stamp in cell["results"].items():
        assert stamp["protocol"]["places"]["name"] == name
        assert stamp["protocol"]["explained"] == {"localization": "true"}
        assert (stamp["data"]["split"], stamp["data"]["source"]) == ("val", "ImageNet-1K")
    assert both["table1"][1]["cells"]["cub-vgg16"]["results"]["standard"]["protocol"]["explained"] == {
        "fidelity": "predicted"
    }


def test_imagenets_classes_are_kept_where_public_weights_fill_the_network(both, asked, made):
    found, out = both["table2"][1]["cells"], asked("table2").out
    given = DualBranch.load(made / "tiny.safetensors")
    for name in NAMES:
        cell, model = found[f"imagenet-{name}"], DualBranch.load(out / f"imagenet-{name}.safetensors")
        same = torch.equal(model.softmax.weight, given.softmax.weight)
        kept = name != "vgg16_cam"  # conv6 is not public
        assert cell["classes"] == ("kept" if kept else "own")
        assert (cell["training"]["stage1"] is None) == same == kept
    assert found["openimages-resnet50"]["training"]["stage1"]["epochs"] == 1
    assert found["openimages-resnet50"]["training"]["branch"]["lr"] == 0.03


def test_a_second_run_trains_nothing_and_finds_the_same(both, asked, monkeypatch):
    monkeypatch.setattr("bsoftmax.paper.reproduction.train", lambda *a: pytest.fail("trained again"))
    hashes = {path: files.file_hash(path) for path in asked("table2").out.glob("*.safetensors")}
    again = reproduce(asked("table2"))
    assert again["rows"] == both["table2"][1]["rows"]
    assert len(hashes) == 14
    assert hashes == {path: files.file_hash(path) for path in hashes}


@pytest.mark.parametrize("table", TABLES)
def test_the_files_say_the_same(both, asked, table):
    done, found = both[table]
    out = asked(table).out
    assert [Path(file).name for file in done["files"]] == [f"{table}.{end}" for end in ("md", "csv", "tex", "json")]
    lines = [line for line in (out / f"{table}.csv").read_text().splitlines() if not line.startswith("# ")]
    number = lambda text: float(text) if text else None
    for line, row in zip(csv.DictReader(lines), found["rows"], strict=True):
        for part in ("baseline", "ours", "change"):
            assert number(line[f"paper_{part}"]) == row["paper"][part]
            for bound in ("value", "low", "high"):
                assert number(line[f"here_{part}_{bound}"]) == (row["here"][part] or {}).get(bound)
    text = (out / f"{table}.md").read_text()
    shown = [line for line in text.splitlines() if line.startswith(("| VGG", "| ResNet", "| Inception"))]
    assert len(shown) == len(found["rows"])
    for line, row in zip(shown, found["rows"], strict=True):
        cells = line.replace("\\", "").split(" | ")
        assert cells[4] == f"{row['paper']['baseline']:.2f}"
        assert cells[7].split()[0] == f"{row['here']['baseline']['value']:.2f}"
    for said in (*published.DIFFERS, "0.03", "95 % intervals"):
        assert said in text
    assert all(f"{key}.training" in text.replace("\\", "") for key in found["cells"])


@pytest.mark.parametrize("table", TABLES)
def test_the_latex_table_is_even_and_plain(both, asked, table):
    text = (asked(table).out / f"{table}.tex").read_text()
    body = [line for line in text.splitlines() if not line.startswith("%")]
    rows = [line.split(" & ") for line in body if line.endswith(r"\\")]
    columns = 3 + len(published.TABLES[table].columns)
    assert {len(row) for row in rows} == {columns}
    assert body[0] == rf"\begin{{tabular}}{{lll{'r' * (columns - 3)}}}"
    assert all(ord(c) < 128 for line in body for c in line)
    printed = next(row for row in rows if row[0] == "ResNet-50" and row[1] == "+ Ours" and row[2] == "paper")
    assert printed[3:] == (["13.86", "18.42", "3.77", r"40.62 \\"] if table == "table1" else
                           ["--", "49.44", "62.68", "64.73", "--", r"60.49 \\"])  # fmt: skip
