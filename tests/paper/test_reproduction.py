"""The paper's tables: its numbers as printed, and every cell run on stand-ins laid out as the official archives."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from archives_made import make_cars, make_cub, make_imagenet_kaggle, make_openimages
from toys import refusal, small_model

from bsoftmax.cams import methods
from bsoftmax.cli import reproduce as reproduce_command
from bsoftmax.evaluation import metrics
from bsoftmax.models import backbones
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.paper import published
from bsoftmax.paper.presets import Reproduction, cells, find_data, measuring, training
from bsoftmax.paper.reproduction import NOT_YET, reproduce
from bsoftmax.paper.side_by_side import compared
from bsoftmax.training.loop import set_lr
from bsoftmax.utils import files

NAMES = ("vgg16_cam", "vgg16", "resnet50", "inception_v3")
TABLES = tuple(published.TABLES)


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
        assert backbones.BACKBONES[trunk.name].complete == trunk.filled
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


# --- every cell -------------------------------------------------------------------------------------------------------


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


# --- the files --------------------------------------------------------------------------------------------------------


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
    for said in (*published.DIFFERS, "0.03", "bootstrap"):
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


# --- what is missing --------------------------------------------------------------------------------------------------


def alone(made, tmp_path, *names):
    """A root that has some of the data sets."""
    for name in names:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made / "root" / name, tmp_path / "root" / name)
    (tmp_path / "root").mkdir(exist_ok=True)
    return tmp_path / "root"


def test_a_missing_data_set_says_what_to_bring_and_the_rest_goes_on(asked, made, tmp_path):
    run = replace(asked("table1", backbones=("resnet50",)), root=alone(made, tmp_path, "CUB_200_2011"), out=tmp_path)
    events = []
    done = reproduce(run, events.append)
    assert done["problems"].keys() == {"cars-resnet50"}
    message = done["problems"]["cars-resnet50"]
    assert "cars_test_annos_withlabels.mat" in message
    assert "stanford_cars/" in message
    assert repr(str(run.root)) in message
    assert message.endswith(".")
    assert len(message) < 500
    assert {"event": "problem", "cell": "cars-resnet50", "message": message} in events
    for row in done["rows"]:
        assert (row["n"] is None) == (row["dataset"] == "cars")
        assert row["paper"]["baseline"] is not None
        assert row["dataset"] == "cub" or (set(row["here"].values()), row["note"]) == ({None}, message)
    rows = [line for line in (tmp_path / "table1.csv").read_text().splitlines() if line.startswith("cars,")]
    assert len(rows) == 10
    assert all("withlabels" in line for line in rows)


def test_missing_weights_say_which_file_to_bring(asked, tmp_path, monkeypatch):
    def offline(repo, file):
        raise OSError("offline")

    monkeypatch.setattr(backbones, "_from_hub", offline)
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path / "weights"))
    trunks = {name: path for name, path in asked("table1").trunks.items() if name != "vgg16"}
    done = reproduce(replace(asked("table1", trunks=trunks, datasets=("cub",)), out=tmp_path))
    assert done["problems"].keys() == {"cub-vgg16"}
    assert str(tmp_path / "weights" / "vgg16.tv_in1k.safetensors") in done["problems"]["cub-vgg16"]
    assert sum(row["n"] is None for row in done["rows"]) == 8  # four gradient methods, two metrics


def test_nothing_is_measured_on_the_images_it_was_trained_on(asked, made, tmp_path):
    """Stanford Cars without the labels of its test images; ImageNet without train."""
    root = alone(made, tmp_path, "stanford_cars", "imagenet")
    (root / "stanford_cars/devkit/cars_test_annos_withlabels.mat").unlink()
    shutil.rmtree(root / "imagenet/ILSVRC/Data/CLS-LOC/train")
    for table, data, missing in (("table1", "cars", "to measure"), ("table2", "imagenet", "to train on")):
        run = asked(table, datasets=(data,), backbones=("resnet50",))
        done = reproduce(replace(run, root=root, out=tmp_path / "out"))
        assert missing in done["problems"][f"{data}-resnet50"]
        assert all(row["n"] is None for row in done["rows"])
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_an_image_that_cannot_be_read_is_counted_out_and_named(asked, made, tmp_path):
    root = alone(made, tmp_path, "CUB_200_2011")
    broken = sorted((root / "CUB_200_2011/images").glob("001*/*"))[-1]
    broken.write_bytes(broken.read_bytes()[:-200])
    run = asked("table1", datasets=("cub",), backbones=("resnet50",))
    rows = reproduce(replace(run, root=root, out=tmp_path / "out"))["rows"]
    assert {(row["n"], row["note"]) for row in rows} == {(3, "counted out, as they cannot be read: 1 of 4 images")}
    results = json.loads((tmp_path / "out/cub-resnet50-fidelity-standard/results.json").read_text())
    found = {"cub-resnet50": {"training": {}, "standard": {**results, "complete": False, "asked": 9}}}
    stopped = compared(published.TABLES["table1"], cells(run), found, ("standard",))
    assert {row["note"] for row in stopped["rows"]} == {
        "stopped early: 4 of 9 images were looked at; counted out, as they cannot be read: 1 of 4 images"
    }


def test_data_without_places_is_left_out_with_a_sentence(asked, made, tmp_path):
    root = alone(made, tmp_path, "metadata/OpenImages", "dataset/OpenImages")
    (root / "metadata/OpenImages/test/localization.txt").unlink()
    run = asked("table2", datasets=("openimages",), backbones=("resnet50",), protocols=("standard",))
    done = reproduce(replace(run, root=root, out=tmp_path / "out"))
    assert "no masks" in done["problems"]["openimages-resnet50"]


def test_data_is_found_by_its_makers_names_in_any_case(made, tmp_path):
    cub = published.CORPORA["cub"]
    (tmp_path / "cub").mkdir()
    assert find_data(tmp_path, cub) == tmp_path / "cub"
    (tmp_path / "CUB_200_2011").mkdir()
    assert find_data(tmp_path, cub) == tmp_path / "CUB_200_2011"
    assert find_data(made / "root", published.CORPORA["openimages"]) == made / "root/metadata/OpenImages"
    (tmp_path / "cars").write_text("a file")
    assert "stanford_cars" in refusal(lambda: find_data(tmp_path, published.CORPORA["cars"]))


@pytest.mark.parametrize(
    "options",
    [{"table": "table3"}, {"datasets": ("imagenet",)}, {"backbones": ("inception_v3",)}, {"protocols": ("own",)},
     {"limit": 0}, {"epochs": 0}, {"views": 0}, {"stage1_epochs": 0}, {"root": Path("nowhere")}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_at_once(asked, tmp_path, options):
    refusal(lambda: reproduce(replace(asked("table1"), out=tmp_path / "out", **options)))
    assert not (tmp_path / "out").exists()


# --- going on ---------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.fixture
def one(asked, tmp_path):
    """A single cell, in a folder of its own."""
    return replace(asked("table1", datasets=("cub",), backbones=("resnet50",), epochs=2), out=tmp_path / "out")


@pytest.mark.parametrize(("step", "kind"), [("train", "epoch"), ("train", "did"), ("measure, standard", "progress")])
def test_killed_anywhere_it_goes_on_to_the_same_table(one, tmp_path, step, kind):
    def die(event):
        if (event.get("step"), event["event"]) == (step, kind):
            raise Killed

    with pytest.raises(Killed):
        reproduce(one, die)
    whole = reproduce(replace(one, out=tmp_path / "whole"))
    assert reproduce(one)["rows"] == whole["rows"]
    assert not whole["problems"]


@pytest.mark.parametrize("where", ["softmax", "branch", "measure"])
def test_stopped_anywhere_it_says_so_and_goes_on(one, tmp_path, where):
    """What was stopped half-way is never taken for a trained model."""
    seen = []
    reached = lambda: any(e.get("stage") == where or e.get("step", "").startswith(where) for e in seen)
    done = reproduce(one, seen.append, reached)
    assert done["stopped"] is True
    assert done["problems"] == {"cub-resnet50": NOT_YET}
    assert all(row["n"] is None and row["note"] == NOT_YET for row in done["rows"])
    assert (one.out / "cub-resnet50.safetensors").exists() == (where == "measure")
    assert reproduce(one)["rows"] == reproduce(replace(one, out=tmp_path / "whole"))["rows"]


def test_models_of_other_options_are_not_taken_for_this_runs(one):
    assert not reproduce(one)["problems"]
    message = reproduce(replace(one, epochs=3))["problems"]["cub-resnet50"]
    assert "other options" in message
    assert "--out" in message


def test_a_model_that_was_brought_is_measured_and_named(one):
    one.out.mkdir()
    names = tuple(line.split()[1] for line in (one.root / "CUB_200_2011/classes.txt").read_text().splitlines())
    small_model(names).save(one.out / "cub-resnet50.safetensors")
    done = reproduce(one)
    found = json.loads((one.out / "table1.json").read_text())
    assert not done["problems"]
    assert found["cells"]["cub-resnet50"]["training"] == {"brought": "cub-resnet50.safetensors"}


def test_a_limit_measures_fewer_images_in_a_folder_of_its_own(one):
    assert {row["n"] for row in reproduce(replace(one, limit=2))["rows"]} == {2}
    assert {row["n"] for row in reproduce(one)["rows"]} == {4}


# --- what is run ------------------------------------------------------------------------------------------------------


def test_the_presets_are_the_papers(tmp_path):
    run = Reproduction("table2", tmp_path, tmp_path / "out", tmp_path / "cache")
    found = {cell.key: cell for cell in cells(run)}
    assert list(found) == [f"{data}-{name}" for data in ("imagenet", "openimages") for name in NAMES]
    assert found["imagenet-vgg16_cam"].methods == ("cam",)
    assert found["imagenet-resnet50"].methods == ("cam", "gradcam")
    job = training(run, found["imagenet-vgg16"], tmp_path)
    assert (job.trunk, job.classes, job.weights, job.branch) == ("vgg16", "kept", "hub", published.RECIPE)
    job = training(run, found["imagenet-vgg16_cam"], tmp_path)
    assert (job.trunk, job.classes, job.stage1) == ("vgg16_cam", "own", "finetune")
    asked = measuring(run, found["imagenet-vgg16"], tmp_path, "val", "official")
    assert (asked.methods, asked.sources, asked.clamps) == (("gradcam",), ("softmax", "sigmoid"), ("paper",))
    assert (asked.protocol, asked.metrics, asked.limit) == ("official", ("localization",), None)
    few = replace(run, table="table1", backbones=("vgg16",), datasets=("cub",))
    assert [cell.key for cell in cells(few)] == ["cub-vgg16_cam", "cub-vgg16"]


# --- the command ------------------------------------------------------------------------------------------------------


def command(*words):
    parser = argparse.ArgumentParser()
    reproduce_command.add_options(parser)
    options = parser.parse_args(list(map(str, words)))
    options.words = ["reproduce", *map(str, words)]
    reproduce_command.run(options)


def test_the_command_prints_both_numbers(asked, made, tmp_path, monkeypatch, capsys):
    trunks = asked("table2").trunks
    tiny = lambda run, *rest: reproduce(replace(run, trunks=trunks), *rest)
    monkeypatch.setattr(reproduce_command, "reproduce", tiny)
    few = ("--datasets", "openimages", "--backbones", "resnet50", "--protocol", "official")
    where = ("--data", made / "root", "--out", tmp_path / "out", "--cache", made / "cache")
    command("table2", *where, *few, "--epochs", 1, "--stage1-epochs", 1)
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("ResNet-50  CAM") and "PxAP" in line)
    assert line.split()[5:8] == ["59.36", "60.49", "+1.13"]
    assert line.split()[-1] == "4"
    assert "standard" not in out
    found = json.loads((tmp_path / "out/table2.json").read_text())
    assert found["options"]["command"][:2] == ["bsoftmax", "reproduce"]
    assert found["options"]["protocols"] == ["official"]


def test_the_command_ends_in_a_sentence_when_nothing_could_be_measured(tmp_path, capsys):
    message = refusal(lambda: command("table1", "--data", tmp_path, "--out", tmp_path / "out", "--cache", tmp_path))
    assert "table1.md" in message
    assert "CUB_200_2011/" in capsys.readouterr().out
    assert (tmp_path / "out/table1.tex").is_file()
