"""scripts/mutate.py changes what it says, and its explanations are of mutants that there are."""

import ast
import importlib.util

from paths import ROOT

spec = importlib.util.spec_from_file_location("mutate", ROOT / "scripts" / "mutate.py")
mutate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutate)

SOURCE = '''
def f(a, b=True):
    """1 + 1"""
    if a < 2 and not b:
        raise ValueError(f"{a + 1}")
    return -a.sum() if b else max(a, 0) / 2
'''


def test_the_changes_are_those_of_operators_numbers_and_names():
    found = [(line, change) for line, _, _, change in mutate.changes(SOURCE)]
    assert sorted(found) == sorted(
        [(2, "True -> False"), (4, "And -> Or"), (4, "Lt -> LtE"), (4, "Lt -> GtE"), (4, "2 -> 3"), (4, "without Not"),
         (6, "condition negated"), (6, "without USub"), (6, "sum -> mean"), (6, "Div -> Mult"), (6, "max -> min"),
         (6, "0 -> 1"), (6, "2 -> 3")]
    )  # fmt: skip


def test_a_mutant_differs_in_one_place(tmp_path, monkeypatch):
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    (tmp_path / "m.py").write_text(SOURCE)
    made = {(m.line, m.change): ast.unparse(m.tree) for m in mutate.mutants("m")}
    assert len(set(made.values())) == len(made) == 13
    assert "-a.mean() if b else max(a, 0) / 2" in made[6, "sum -> mean"]
    assert "a.sum() if b else max(a, 0) * 2" in made[6, "Div -> Mult"]
    assert all(text.count("1 + 1") == 1 for text in made.values())


def test_what_is_explained_is_a_mutant_of_today():
    found = set()
    for module in mutate.TESTS:
        lines = mutate.source_of(module).splitlines()
        found |= {(module, lines[line - 1].strip(), change) for line, _, _, change in mutate.changes("\n".join(lines))}
    assert mutate.EQUIVALENT.keys() <= found
    assert all(reason.endswith(".") for reason in mutate.EQUIVALENT.values())
