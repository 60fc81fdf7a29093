"""Results in words: for every question that was asked, whether there is a difference, which way, and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cams.methods import METHODS
from ..evaluation import metrics
from ..evaluation.column import differs, multiplicity
from .text import Numbers, Results, interval, joined, number
from .topics import MEANING, Topic, topics

EXPLAINED = {"true": "the true class", "predicted": "the class predicted"}
BASELINE = "the same method on the ordinary softmax head, unclamped"
CLAMPED = "Clamped means that only the channels with positive weights make up the map."
NOTHING = "Nothing was measured that could be compared: one source and one clamp."


@dataclass(frozen=True)
class Verdict:
    """One topic in words: the first question's answer, that of every other, and how many comparisons they are."""

    topic: Topic
    headline: str
    setting: str
    answers: list[str]
    count: str

    @property
    def title(self) -> str:
        """What the topic asks."""
        return f"{self.topic.title}: {self.topic.asks}"


def excludes_zero(cell: Numbers) -> bool:
    """Whether an interval leaves out 0."""
    return not cell["low"] <= 0 <= cell["high"]


def outcome(cell: Numbers, name: str) -> str:
    """Better, worse (higher, lower where neither is better) or no difference, by `differs`."""
    if not differs(cell):
        return "no difference"
    higher, up = metrics.find(name).higher_is_better, cell["value"] > 0
    if higher is None:
        return "higher" if up else "lower"
    return "better" if up == higher else "worse"


def lead(results: Results) -> str:
    """What was measured, and the words of the verdict; the names of data and model are the user's."""
    n, model = results["n"], results["model"]["name"]
    return (
        f"{n:,} {'image' if n == 1 else 'images'} of {results['data']['source']}, explained by the model {model}; "
        f"differences are paired over them, and the baseline is {BASELINE}. " + CLAMPED
    )


def unfinished(results: Results) -> str:
    """How many images were looked at, where it was stopped early; else nothing."""
    done = results["n"] + len(results["unreadable"])
    return "" if results["complete"] else f"Stopped early: {done:,} of {results['asked']:,} images were looked at."


def caution(results: Results) -> str:
    """What the number of comparisons means; nothing where none was made."""
    families = results.get("families", ())
    return multiplicity(families) if families else ""


def verdicts(results: Results) -> list[Verdict]:
    """One for each topic with a question that can be answered; [] where nothing can be compared."""
    found = [_verdict(results, topic, names) for topic, names in topics(results)]
    return [verdict for verdict in found if verdict]


def _verdict(results: Results, topic: Topic, names: Sequence[str]) -> Verdict | None:
    name = names[0]
    by_question: dict[str, list[Mapping[str, Any]]] = {}
    for contrast in results.get("contrasts", ()):
        if name in contrast["difference"]:
            by_question.setdefault(contrast["question"], []).append(contrast)
    if not by_question:
        return None
    answers = [answer(question, asked, name) for question, asked in by_question.items()]
    made = sum(map(len, by_question.values()))
    return Verdict(topic, answers[0], _setting(results, topic, name), answers[1:], _count(results, name, made))


def answer(question: str, asked: Sequence[Mapping[str, Any]], name: str) -> str:
    """A question's answer in one sentence: that of the first method in numbers, then what the others say."""
    first, others = asked[0], asked[1:]
    what, _, how = question.partition(": ")
    said = outcome(first["difference"][name], name)
    named = f"{what[0].upper()}{what[1:]}" + (f" ({how})" if how else "")
    words = f"{named}: {said}. {_change(first['difference'][name], name)} under {METHODS[first['method']].label}"
    outcomes: dict[str, list[str]] = {said: []}
    for other in others:
        outcomes.setdefault(outcome(other["difference"][name], name), []).append(METHODS[other["method"]].label)
    more = [f"{'the same' if word == said else word} under {joined(labels)}" for word, labels in outcomes.items()
            if labels]  # fmt: skip
    return "; ".join([words, *more]) + "."


def _change(cell: Numbers, name: str) -> str:
    """GT-known Loc rises by 8.2 points [4.1, 11.9]."""
    metric = metrics.find(name)
    unit = " points" if metric.unit == "%" else ""
    if not differs(cell):
        hint = ", outside of 0 but not among so many comparisons," if excludes_zero(cell) else ""
        return f"{metric.title} changes by {number(cell['value'], name, '+')}{unit} {_ends(cell, name, '+')}{hint}"
    sign = 1 if cell["value"] > 0 else -1
    low, high = sorted((sign * cell["low"], sign * cell["high"]))
    size = {"value": sign * cell["value"], "low": low, "high": high}
    moves = "rises" if sign > 0 else "falls"
    return f"{metric.title} {moves} by {number(size['value'], name)}{unit} {_ends(size, name)}"


def _ends(cell: Numbers, name: str, sign: str = "") -> str:
    return interval(cell, name, sign).partition(" ")[2]


def _setting(results: Results, topic: Topic, name: str) -> str:
    n = next(c["metrics"][name]["n"] for c in results["columns"] if name in c["metrics"])
    explained = results["protocol"].get("explained", {}).get(topic.group)
    which = f", whose maps explain {EXPLAINED[explained]}" if explained in EXPLAINED else ""
    metric = metrics.find(name)
    better = {True: "; higher is better", False: "; lower is better", None: ""}[metric.higher_is_better]
    return f"On {n:,} images{which}. {metric.title} is {MEANING[name]}{better}."


def _count(results: Results, name: str, made: int) -> str:
    every = sum(len(c["difference"]) for c in results["contrasts"])
    called = sum(differs(c["difference"][name]) for c in results["contrasts"] if name in c["difference"])
    return f"These are {made} of the {every:,} comparisons in contrasts.csv; {called} of the {made} are differences."
