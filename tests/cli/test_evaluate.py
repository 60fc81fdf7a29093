"""bsoftmax evaluate and compare: what they write, what they print, and one sentence for whatever goes wrong."""

from __future__ import annotations

import json
import re

import pytest
from toys import coloured

E = ("evaluate", "@/data", "--model", "@/both.safetensors", "--methods", "cam", "--out", "out")


def results(tmp_path, folder="out"):
    return json.loads((tmp_path / folder / "results.json").read_text())


def test_evaluate_writes_results_and_prints_the_verdict_and_tables(run, folder, tmp_path):
    code, out, _ = run(*E, "--sources", "softmax,sigmoid", "--full")
    assert code == 0
    found = results(tmp_path)
    assert [c["key"] for c in found["columns"]] == [
        "cam/softmax/off", "cam/softmax/on", "cam/sigmoid/off", "cam/sigmoid/on"
    ]  # fmt: skip
    assert found["n"] == 6
    assert found["data"]["split"] == "val"
    for name in ("results.json", "results.md", "results.csv", "contrasts.csv", "table1.tex"):
        assert (tmp_path / "out" / name).is_file()
        assert name in out
    assert all(name in out for name in ("forest.png", "forest.svg"))
    assert "note: The data has no boxes" in out
    cell = found["columns"][3]["metrics"]["average_drop"]
    assert re.search(rf"cam/sigmoid/on +{cell['value']:.2f} \[{cell['low']:.2f}, {cell['high']:.2f}\]", out)
    assert f"6 images of {folder}/data" in " ".join(out.split())
    assert "- The paper's step (branch clamped, softmax not): " in out
    row = next(line for line in out.splitlines() if line.startswith("  CAM "))  # of the small table: Average Drop
    assert [float(x) for x in re.findall(r"[\d.]+", row)] == [
        round(c["metrics"]["average_drop"]["value"], 1) for c in found["columns"]
    ]
    assert "## Every metric" in (tmp_path / "out" / "results.md").read_text()
    assert "--full" in found["command"]


def test_without_full_every_metric_is_in_the_csv_alone(run, tmp_path):
    code, out, _ = run(*E, "--sources", "softmax")
    assert code == 0
    text = (tmp_path / "out" / "results.md").read_text()
    assert "Sparsity" not in out + text
    assert "sparsity" in (tmp_path / "out" / "results.csv").read_text()
    assert len(text.partition("## Protocol")[0].splitlines()) < 60  # a screen


def test_evaluate_options_reach_the_evaluation(run, tmp_path):
    code, _, _ = run(
        *E, "--sources", "sigmoid,softmax", "--clamp", "paper", "--split", "train", "--limit", "5", "--seed", "3",
        "--explain", "true", "--metrics", "fidelity", "--protocol", "official", "--batch", "2", "--called", "colours",
        "--precision", "bfloat16",
    )  # fmt: skip
    assert code == 0
    found = results(tmp_path)
    assert [c["key"] for c in found["columns"]] == ["cam/sigmoid/on", "cam/softmax/off"]
    assert (found["n"], found["seed"], found["data"]["split"], found["data"]["source"]) == (5, 3, "train", "colours")
    assert found["protocol"]["explained"] == {"fidelity": "true"}
    assert found["protocol"]["precision"] == "bfloat16"
    assert found["protocol"]["places"]["name"] == "official"
    assert found["command"][:3] == ["bsoftmax", "evaluate", "colours"]
    assert found["command"][-2:] == ["--out", "out"]


def test_boxes_may_be_brought_in_a_file(run, tmp_path):
    lines = [f"val/{k}/{n}.png,5,5,30,30" for k in ("blue", "green", "red") for n in (0, 1)]
    (tmp_path / "b.csv").write_text("path,x0,y0,x1,y1\n" + "\n".join(lines) + "\n")
    code, out, _ = run(*E, "--boxes", "b.csv", "--metrics", "localization")
    assert code == 0
    assert "GT-known Loc" in out
    assert "max_box_acc_v2" in results(tmp_path)["columns"][0]["metrics"]
    assert (tmp_path / "out" / "table2.tex").is_file()


def test_events_are_json_lines_and_end_with_the_files(run, tmp_path):
    code, out, _ = run(*E, "--events", "--nice", "1")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["event"] for e in events][:2] == ["data", "size"]
    assert events[-1]["event"] == "done"
    assert (tmp_path / events[-1]["results"]).is_file()
    assert events[-1]["complete"] is True


def test_a_stop_file_that_is_there_before_anything_is_one_sentence(run, tmp_path):
    (tmp_path / "stop").touch()
    code, _, err = run(*E, "--stop-file", "stop")
    assert code == 2
    assert "None of the 6 images" in err


def test_a_second_run_finds_everything_done(run, tmp_path):
    run(*E, "--metrics", "fidelity")
    first = results(tmp_path)
    code, out, _ = run(*E, "--metrics", "fidelity", "--events")
    assert code == 0
    assert "progress" not in [json.loads(line)["event"] for line in out.splitlines()]
    assert results(tmp_path)["columns"] == first["columns"]


def test_an_unreadable_image_is_named(run, tmp_path):
    root = coloured(tmp_path / "d", {"val": 2})
    broken = root / "val" / "red" / "1.png"
    broken.write_bytes(broken.read_bytes()[:-400])
    code, out, _ = run("evaluate", "d", *E[2:])
    assert code == 0
    assert re.search(r"counted out: .*red/1\.png \(.+\)", out)


def test_compare_prints_differences_and_refuses_other_images(run, tmp_path):
    run(*E)
    run(*E[:-1], "other", "--split", "train")
    run(*E[:-1], "again", "--protocol", "official")
    code, out, _ = run("compare", "out", "again")
    assert code == 0
    assert "paired over images" in out
    assert "- protocol.places.name: standard / official" in out
    code, _, err = run("compare", "out", "other/results.json")
    assert code == 2
    assert "--anyway" in err
    assert run("compare", "out", "other", "--anyway")[0] == 0


BAD = {
    "no data": ("evaluate", "@/absent", *E[2:]),
    "no model": (*E[:2], "--model", "absent.safetensors", *E[4:]),
    "no such method": (*E, "--methods", "nocam"),
    "no such source": (*E, "--sources", "softmax,tanh"),
    "no such metrics": (*E, "--metrics", "speed"),
    "no metrics": (*E, "--metrics", ","),
    "no such split": (*E, "--split", "dev"),
    "nothing to measure": (*E, "--metrics", "localization"),
    "a limit of none": (*E, "--limit", "0"),
    "a method the head does not allow": ("evaluate", "@/data", "--model", "@/vit.safetensors", *E[4:]),
    "a branch there is not": ("evaluate", "@/data", "--model", "@/softmax.safetensors", *E[4:], "--sources", "sigmoid"),
    "no workers": (*E, "--workers", "0"),
    "nothing to compare": ("compare", "@/absent", "@/absent"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(bad, run, tmp_path):
    code, _, err = run(*BAD[bad])
    assert code == 2
    assert re.fullmatch(r"bsoftmax: .+[.]\n", err.rsplit("\r", 1)[-1])
    assert not (tmp_path / "out" / "results.json").exists()


def test_with_events_an_error_is_an_event_too(run, capsys):
    with pytest.raises(SystemExit) as caught:
        run("evaluate", "@/absent", *E[2:], "--events")
    assert caught.value.code == 2
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["event"] == "error"
    assert last["message"].endswith(".")
