"""The paper's Tables 1 and 2 with the numbers of a results.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..cams.methods import METHODS
from ..utils.text import printable
from .text import Numbers, Results, escape_latex, protocol_lines

OURS = ("sigmoid", True)  # what the paper calls "+ Ours": the branch, positive weights only
TABLE1 = {"average_drop": r"\% Average Drop $\downarrow$", "increase": r"\% Increase in Confidence $\uparrow$"}
TABLE2 = {
    "top1_cls": "Top1 Cls", "top1_loc": "Top1 Loc", "gt_loc": "GT Loc", "max_box_acc_v2": "MBAv2", "px_ap": "PxAP"
}  # fmt: skip


def latex(results: Results, number: int) -> str | None:
    """The paper's Table 1 (fidelity) or 2 (localisation) with these numbers; None where none of them was measured.

    For every method the softmax head unclamped, the branch clamped ("+ Ours"), and their difference. LaTeX needs only
    booktabs.
    """
    heads = {1: TABLE1, 2: TABLE2}[number]
    names = [name for name in heads if any(name in c["metrics"] for c in results["columns"])]
    if not set(names) - {"top1_cls"}:
        return None
    lines = [f"% {name}: {' '.join(printable(value).split())}" for name, value in protocol_lines(results)]
    lines += [rf"\begin{{tabular}}{{ll{'r' * len(names)}}}", r"\toprule"]
    lines += [" & ".join(["Backbone", "Method", *(heads[name] for name in names)]) + r" \\", r"\midrule"]
    backbone = escape_latex(results["model"]["trunk"])
    for rows in _pairs(results, names):
        lines += [" & ".join([backbone, *row]) + r" \\" for row in rows[:1]]
        lines += [" & ".join(["", *row]) + r" \\" for row in rows[1:]]
        backbone = ""
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _pairs(results: Results, names: Sequence[str]) -> Iterator[list[list[str]]]:
    columns = {(c["method"], c["source"], c["clamp"]): c for c in results["columns"]}
    for method in dict.fromkeys(c["method"] for c in results["columns"]):
        base, ours = columns.get((method, "softmax", False)), columns.get((method, *OURS))
        if not base:
            continue
        rows = [[METHODS[method].label, *(_number(base["metrics"], name) for name in names)]]
        if ours:
            rows.append(["+ Ours", *(_number(ours["metrics"], name) for name in names)])
            rows.append([r"$\Delta$", *(_number(ours["difference"], name, "(+.2f)") for name in names)])
        yield rows


def _number(cells: Mapping[str, Numbers], name: str, shape: str = ".2f") -> str:
    if name not in cells:
        return "--"
    text = f"{cells[name]['value']:{shape.strip('()')}}"
    return f"({text})" if shape.startswith("(") else text
