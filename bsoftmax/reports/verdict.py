"""Results in words: for every question that was asked, whether there is a difference, which way, and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cams.methods import METHODS
from ..evaluation import metrics
from ..evaluation.column import differs, multiplicity
from ..utils.language import gettext as _
from ..utils.language import ngettext
from .text import Numbers, Results, interval, joined, number
from .topics import MEANING, Topic, topics

EXPLAINED = {"true": ", whose maps explain the true class", "predicted": ", whose maps explain the class predicted"}
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
        return f"{_(self.topic.title)}: {_(self.topic.asks)}"


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
    words = ngettext(
        "{n:,} image of {source}, explained by the model {model}; differences are paired over them, and the baseline "
        "is the same method on the ordinary softmax head, unclamped. Clamped means that only the channels with "
        "positive weights make up the map.",
        "{n:,} images of {source}, explained by the model {model}; differences are paired over them, and the baseline "
        "is the same method on the ordinary softmax head, unclamped. Clamped means that only the channels with "
        "positive weights make up the map.",
        results["n"],
    )
    return words.format(n=results["n"], source=results["data"]["source"], model=results["model"]["name"])


def unfinished(results: Results) -> str:
    """How many images were looked at, where it was stopped early; else nothing."""
    done = results["n"] + len(results["unreadable"])
    words = _("Stopped early: {done:,} of {asked:,} images were looked at.")
    return "" if results["complete"] else words.format(done=done, asked=results["asked"])


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
    what, how = [*_(question).split(": ", 1), ""][:2]
    said, change = outcome(first["difference"][name], name), _change(first["difference"][name], name)
    named, method = f"{what[0].upper()}{what[1:]}" + (f" ({how})" if how else ""), METHODS[first["method"]].label
    words = _("{question}: {said}. {change} under {method}")
    words = words.format(question=named, said=_(said), change=change, method=method)
    outcomes: dict[str, list[str]] = {said: []}
    for other in others:
        outcomes.setdefault(outcome(other["difference"][name], name), []).append(METHODS[other["method"]].label)
    more = [_under("the same" if word == said else word, labels) for word, labels in outcomes.items() if labels]
    return "; ".join([words, *more]) + "."


def _under(outcome: str, labels: Sequence[str]) -> str:
    return _("{outcome} under {methods}").format(outcome=_(outcome), methods=joined(labels))


def _change(cell: Numbers, name: str) -> str:
    """GT-known Loc rises by 8.2 points [4.1, 11.9]."""
    metric = metrics.find(name)
    unit, said = _(" points") if metric.unit == "%" else "", {"metric": _(metric.title)}
    if not differs(cell):
        hint = _(", outside of 0 but not among so many comparisons,") if excludes_zero(cell) else ""
        said |= {"value": number(cell["value"], name, "+"), "ends": _ends(cell, name, "+")}
        return _("{metric} changes by {value}{unit} {ends}{hint}").format(unit=unit, hint=hint, **said)
    sign = 1 if cell["value"] > 0 else -1
    low, high = sorted((sign * cell["low"], sign * cell["high"]))
    size = {"value": sign * cell["value"], "low": low, "high": high}
    rises, falls = _("{metric} rises by {value}{unit} {ends}"), _("{metric} falls by {value}{unit} {ends}")
    said |= {"value": number(size["value"], name), "ends": _ends(size, name)}
    return (rises if sign > 0 else falls).format(unit=unit, **said)


def _ends(cell: Numbers, name: str, sign: str = "") -> str:
    return interval(cell, name, sign).partition(" ")[2]


def _setting(results: Results, topic: Topic, name: str) -> str:
    n = next(c["metrics"][name]["n"] for c in results["columns"] if name in c["metrics"])
    explained = results["protocol"].get("explained", {}).get(topic.group)
    which = _(EXPLAINED[explained]) if explained in EXPLAINED else ""
    metric = metrics.find(name)
    higher = _("On {n:,} images{which}. {metric} is {meaning}; higher is better.")
    lower = _("On {n:,} images{which}. {metric} is {meaning}; lower is better.")
    words = higher if metric.higher_is_better else lower  # every metric of MEANING has a better direction
    return words.format(n=n, which=which, metric=_(metric.title), meaning=_(MEANING[name]))


def _count(results: Results, name: str, made: int) -> str:
    every = sum(len(c["difference"]) for c in results["contrasts"])
    called = sum(differs(c["difference"][name]) for c in results["contrasts"] if name in c["difference"])
    words = _("These are {made} of the {every:,} comparisons in contrasts.csv; {called} of the {made} are differences.")
    return words.format(made=made, every=every, called=called)
