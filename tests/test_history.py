"""benchmarks/history.py on histories made up here."""

import importlib.util
import json

import pytest
from paths import ROOT

spec = importlib.util.spec_from_file_location("history", ROOT / "benchmarks" / "history.py")
history = importlib.util.module_from_spec(spec)
spec.loader.exec_module(history)


def lines(*ratios, machine="a", protocol="speed 15", name="maps"):
    return [
        {
            "date": f"2026-01-{n + 1:02d}", "commit": f"c{n}", "machine": machine, "protocol": protocol, "name": name,
            "ratio": r,
        }
        for n, r in enumerate(ratios)
    ]  # fmt: skip


def test_the_last_run_is_compared_with_the_median_of_earlier_ones():
    assert history.check(lines(1.0, 9.0, 1.2, 1.7)) == []  # the median is 1.2
    (said,) = history.check(lines(1.0, 9.0, 1.2, 1.8))
    assert said == "maps (speed 15) is 1.50 times the median of earlier runs on a: 1.8 at c3, 1.2 before."
    assert history.check(lines(2.0, 1.0)) == []  # faster
    assert history.check(lines(5.0)) == history.check([]) == []  # nothing to compare with
    assert len(history.check(lines(1.0, 1.1), limit=1.05)) == 1


def test_the_order_is_that_of_the_dates():
    assert history.check(reversed(lines(1.0, 1.0, 2.0)))
    assert not history.check(reversed(lines(2.0, 1.0, 1.0)))


@pytest.mark.parametrize("key", ["machine", "protocol", "name"])
def test_other_machines_protocols_and_names_are_not_compared(key):
    assert history.check(lines(1.0) + lines(1.0, 2.0))
    assert not history.check(lines(1.0) + lines(2.0, **{key: "another"}))


def test_what_is_recorded_is_read_and_checked(tmp_path, monkeypatch, capsys):
    file = tmp_path / "history.jsonl"
    for ratio in (1.0, 1.1, 1.4):
        history.record("speed", {"maps": ratio, "batch": 0.5}, file)
    found = history.read(file)
    assert [line["ratio"] for line in found if line["name"] == "maps"] == [1.0, 1.1, 1.4]
    assert found[0].keys() == {"date", "commit", "machine", "protocol", "name", "ratio"}
    assert json.loads(file.read_text().splitlines()[0]) == found[0]
    for bad in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive"):
            history.record("speed", {"maps": bad}, file)
    assert history.read(file) == found
    assert ended(monkeypatch, file) == 0
    assert "2 ratios compared" in capsys.readouterr().out
    with open(file, "a") as out:
        out.write(json.dumps({**found[-2], "date": "9999", "ratio": 2.2}) + "\n")
    assert ended(monkeypatch, file) == 1
    assert "2.00 times the median" in capsys.readouterr().out
    assert ended(monkeypatch, tmp_path / "none.jsonl") == 0


def ended(monkeypatch, file):
    monkeypatch.setattr("sys.argv", ["history.py", "--check", "--file", str(file)])
    with pytest.raises(SystemExit) as end:
        history.main()
    return int(end.value.code)
