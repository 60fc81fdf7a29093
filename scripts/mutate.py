"""Changes the formulas one token at a time and runs their tests: python scripts/mutate.py [MODULE ...]

A mutant is a module with one operator, comparison, number, name of a reduction or condition changed; it is killed when
a test fails. Survivors are printed with their line; those that cannot be told from the original are in EQUIVALENT, with
the reason, and any other makes the exit code 1. One process collects the tests and forks for every mutant, whose code
the fork puts into the functions that are there.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import inspect
import os
import signal
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 120  # a mutant that takes longer is killed: it may never end
TESTS = {  # module -> the test files that are to kill its mutants, the quickest first
    "bsoftmax.cams.methods": (
        "tests/cams/test_attention.py",
        "tests/cams/test_methods.py",
        "tests/cams/test_more_methods.py",
    ),
    "bsoftmax.cams.distortions": ("tests/cams/test_distortions.py",),
    "bsoftmax.cams.breaking": ("tests/cams/test_breaking.py",),
    "bsoftmax.cams.channels": (
        "tests/cams/test_channels.py",
        "tests/cams/test_methods.py",
        "tests/cams/test_more_methods.py",
    ),
    "bsoftmax.cams.attention": ("tests/cams/test_attention.py",),
    "bsoftmax.cams.rise": ("tests/cams/test_more_methods.py",),
    "bsoftmax.cams.relevance": ("tests/cams/test_pixels.py",),
    "bsoftmax.models.losses": ("tests/models/test_losses.py",),
    "bsoftmax.evaluation.metrics": ("tests/evaluation/test_metrics.py",),
    "bsoftmax.evaluation.fidelity": ("tests/evaluation/test_fidelity.py",),
}
SLOW = (  # tests that take seconds and notice nothing that the others do not
    "not test_identical_by_construction_names_exactly and not pytorch_grad_cam and not torch_cam and not gif "
    "and not tolerance and not (scorecam and not gap-4x4-softmax-None)"
)

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.Pow: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.Mult,), ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.And: (ast.Or,),
    ast.Or: (ast.And,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
}  # fmt: skip
NAMES = {
    "sum": "mean", "mean": "sum", "max": "min", "min": "max", "amax": "amin", "amin": "amax", "relu": "abs",
    "abs": "neg", "cumsum": "cumprod", "softmax": "log_softmax", "sigmoid": "tanh", "square": "abs", "sqrt": "abs",
    "zeros_like": "ones_like", "zeros": "ones", "floor": "ceil",
}  # fmt: skip
# module, the line without its indentation, what was changed -> why no test can tell it
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "bsoftmax.cams.channels",
        'correlation = torch.einsum("bpn,bn,bp->b", rows, v, rows.sum(2))',
        "sum -> mean",
    ): "Only the sign of the correlation is used, and N is positive.",
    (
        "bsoftmax.cams.channels",
        "return (v * torch.where(correlation < 0, -1.0, 1.0)[:, None])[:, :, None, None]",
        "Mult -> Div",
    ): "Divided by 1 or -1 is multiplied by it.",
    (
        "bsoftmax.cams.channels",
        "return (v * torch.where(correlation < 0, -1.0, 1.0)[:, None])[:, :, None, None]",
        "Lt -> LtE",
    ): "A correlation of exactly 0 says nothing of the sign of a singular vector.",
    (
        "bsoftmax.evaluation.fidelity",
        "return 0.0 if constant else 50 * (min(1.0, max(-1.0, float(a @ b) / norm)) + 1)",
        "1.0 -> 2.0",
    ): "Of the upper bound: where r is above 1 by its last digit, r + 1 is rounded to 2. The lower one is tested.",
    (
        "bsoftmax.cams.methods",
        "return (masked - score[:, None]).softmax(1)[:, :, None, None]",
        "Sub -> Add",
    ): "The softmax over channels does not see a number common to all of them, which Eq. 7 subtracts.",
    (
        "bsoftmax.evaluation.metrics",
        "return min(1.0, max(0.0, (root - float(M.sum()) / norm) / (root - 1))) if norm and root > 1 else 0.0",
        "1.0 -> 2.0",
    ): "The bound catches rounding; no map is known whose number exceeds 1 by it.",
    (
        "bsoftmax.evaluation.metrics",
        "return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8)).astype(bool).reshape(-1, LEVELS)",
        "1 -> 2",
    ): "NumPy takes any negative number for the length to be found.",
    (
        "bsoftmax.evaluation.fidelity",
        "BATCH = 32  # pictures in the trunk at once",
        "32 -> 33",
    ): "How many pictures run at once changes memory, not numbers.",
    (
        "bsoftmax.evaluation.fidelity",
        "equal = ((scaled[first] - scaled[m]).abs().amax(1) < SAME).nonzero().flatten().tolist() if first else []",
        "Lt -> LtE",
    ): "Only masks that differ by exactly 1e-5 in single precision would tell.",
    (
        "bsoftmax.evaluation.fidelity",
        "return render.upsample(S, size).flatten().argsort(descending=True, stable=True)",
        "True -> False",
    ): "PyTorch's sort on a processor is stable in either case; on a GPU it is not.",
    (
        "bsoftmax.cams.distortions",
        "order = w.argsort(descending=True, stable=True)",
        "True -> False",
    ): "PyTorch's sort on a processor is stable in either case; on a GPU it is not.",
    (
        "bsoftmax.cams.breaking",
        "PERCENTS = tuple(range(2, 101, 2))",
        "101 -> 102",
    ): "The steps of 2 end at 100 in either case.",
    (
        "bsoftmax.cams.breaking",
        "return int(F.mean((1, 2)).argmax())",
        "mean -> sum",
    ): "All channels have as many positions.",
    (
        "bsoftmax.cams.channels",
        "POINTS = 32  # of Gauss and Legendre's rule",
        "32 -> 33",
    ): "The integral of a smooth function is found to its last digits by either rule.",
    (
        "bsoftmax.cams.channels",
        "STEPS, RATE = 100, 0.1  # of Adam",
        "100 -> 101",
    ): "How long it searches; tests take few steps.",
    (
        "bsoftmax.cams.channels",
        "slope = torch.where(z == z0, (z > 0).to(z), (r - r0) / torch.where(z == z0, 1.0, z - z0)).detach()",
        "1.0 -> 2.0",
    ): "A divisor other than 0 where the quotient is not used.",
    (
        "bsoftmax.cams.channels",
        "u = torch.zeros(F.shape[:2], dtype=F.dtype, device=F.device, requires_grad=True)",
        "zeros -> ones",
    ): "The softmax over channels does not see a number common to all of them, and Adam does not see where it is.",
    (
        "bsoftmax.cams.channels",
        "S = (u.softmax(1)[:, :, None, None] * F).sum(1, keepdim=True)",
        "sum -> mean",
    ): "The mask is scaled by its own minimum and maximum.",
    (
        "bsoftmax.cams.channels",
        "(u.grad,) = torch.autograd.grad(-scores.sum(), u)",
        "sum -> mean",
    ): "Adam divides a gradient by its own size.",
    (
        "bsoftmax.cams.channels",
        "few = rows.shape[1] < rows.shape[2]",
        "Lt -> LtE",
    ): "Of a square matrix either Gram matrix does.",
    (
        "bsoftmax.cams.attention",
        "identity = torch.eye(attentions[0].shape[2]).to(attentions[0])",
        "0 -> 1",
    ): "All blocks have as many tokens, and one type.",
    (
        "bsoftmax.cams.attention",
        "R = identity.expand_as(attentions[0])",
        "0 -> 1",
    ): "All blocks have as many tokens.",
    (
        "bsoftmax.cams.attention",
        "if neck.read > 1:  # the heads of the class and the distillation token both read the patch",
        "Gt -> GtE",
    ): "Behind its norm, a token that is read alone is h as it is.",
    (
        "bsoftmax.cams.attention",
        "return cast(Tensor, x.repeat(1, 1, neck.read))",
        "1 -> 2",
    ): "Repeated images are more than there are classes to explain, and are left out.",
    (
        "bsoftmax.cams.attention",
        "h = neck.net.forward_head(x.flatten(0, 1)[:, None], pre_logits=True)",
        "True -> False",
    ): "The network was cut: its own last layer does nothing.",
    (
        "bsoftmax.cams.relevance",
        "if (found.sum() - apart[b]).abs() > CLOSE * apart[b].abs():",
        "Gt -> GtE",
    ): "Only contributions that miss by exactly that share would tell.",
    (
        "bsoftmax.cams.rise",
        "MASKS = 1000  # for each image; the paper has 4000 to 8000, which takes minutes on a CPU",
        "1000 -> 1001",
    ): "How many masks are drawn changes time, and the map by chance; tests draw few.",
    (
        "bsoftmax.cams.rise",
        "grid = (torch.rand(self.cells, self.cells, generator=generator) < self.keep).float()",
        "Lt -> LtE",
    ): "Only a random number of exactly 0.5 would tell.",
    (
        "bsoftmax.cams.rise",
        "part = masks.part(0, start, size)[:, 0].to(f)",
        "0 -> 1",
    ): "The masks are the same for every image.",
}


class Mutant(NamedTuple):
    """A change: where, what, and the module that it makes."""

    module: str
    line: int
    text: str
    change: str
    tree: ast.Module

    @property
    def key(self) -> tuple[str, str, str]:
        """How EQUIVALENT names it."""
        return self.module, self.text, self.change


def places(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that may be changed: not docstrings, annotations, messages, decorators or the tables of metrics' names."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        hidden: list[ast.AST | None] = []
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Raise, ast.JoinedStr)):
            hidden = [node]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = (*node.args.args, *node.args.kwonlyargs)
            hidden = [node.returns, *(a.annotation for a in arguments), *node.decorator_list]
        elif isinstance(node, ast.ClassDef):
            hidden = [*node.decorator_list]
        elif isinstance(node, ast.AnnAssign):
            hidden = [node.annotation]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id[0].isupper():
            hidden = [node]  # Callable[...]
        for one in hidden:
            skipped |= {id(child) for child in ast.walk(one)} if one is not None else set()
    yield from (node for node in ast.walk(tree) if id(node) not in skipped)


def variants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(what is changed, the node instead)."""
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in OPERATORS:
        for other in OPERATORS[type(node.op)]:
            yield f"{type(node.op).__name__} -> {other.__name__}", _with(node, op=other())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        for other in OPERATORS[type(node.ops[0])]:
            yield f"{type(node.ops[0]).__name__} -> {other.__name__}", _with(node, ops=[other(), *node.ops[1:]])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield f"without {type(node.op).__name__}", node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield f"{node.value} -> {node.value + 1}", ast.Constant(node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield "condition negated", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield f"{node.attr} -> {NAMES[node.attr]}", _with(node, attr=NAMES[node.attr])
    elif isinstance(node, ast.Name) and node.id in ("min", "max"):
        yield f"{node.id} -> {NAMES[node.id]}", _with(node, id=NAMES[node.id])


def _with(node: ast.AST, **changed: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in changed.items():
        setattr(other, name, value)
    return other


class Swap(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """The new node where the old one stands."""
        return self.new if node is self.old else self.generic_visit(node)


def source_of(module: str) -> str:
    """The text of a module."""
    return (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")


def changes(source: str) -> list[tuple[int, int, int, str]]:
    """(line, number of the place, number of its variant, what is changed) of every mutant, by line."""
    return sorted(
        (getattr(node, "lineno", 0), index, n, change)
        for index, node in enumerate(places(ast.parse(source)))
        for n, (change, _) in enumerate(variants(node))
    )


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    source = source_of(module)
    for line, index, n, change in changes(source):
        tree = ast.parse(source)  # a fresh one: the tree is changed in place
        node = list(places(tree))[index]
        new = list(variants(node))[n][1]
        changed = ast.fix_missing_locations(Swap(node, ast.copy_location(new, node)).visit(tree))
        yield Mutant(module, line, source.splitlines()[line - 1].strip(), change, changed)


def put(mutant: Mutant) -> None:
    """Makes the mutant what everybody calls: its code in the functions that exist, its constants and tables as well."""
    module = sys.modules[mutant.module]
    new: dict[str, Any] = {"__name__": module.__name__, "__package__": module.__package__}
    exec(compile(mutant.tree, str(module.__file__), "exec"), new)
    own, inside = (
        vars(module),
        {node.name for node in mutant.tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))},
    )
    for name in inside:
        if isinstance(own[name], type):
            for key, value in vars(new[name]).items():
                _recode(vars(own[name]).get(key), value)
        else:
            _recode(own[name], new[name])
    for name, value in new.items():
        if name in inside or name.startswith("__") or isinstance(value, (types.ModuleType, types.FunctionType, type)):
            continue
        if isinstance(value, dict):  # others hold the same table
            own[name].clear()
            own[name].update(value)
        else:
            own[name] = value


def _recode(old: object, new: object) -> None:
    old, new = (one.fget if isinstance(one, property) else one for one in (old, new))
    if isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType):
        old, new = inspect.unwrap(old), inspect.unwrap(new)  # behind decorators such as torch.no_grad()
        old.__code__, old.__defaults__ = new.__code__, new.__defaults__


def fails(session: pytest.Session, mutant: Mutant | None) -> bool:
    """Whether a collected test fails, in a fork, with the mutant in the module's place (None: the module itself)."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            if mutant is not None:
                put(mutant)
            for item, later in zip(session.items, [*session.items[1:], None]):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=later)
                if session.testsfailed:
                    break
            code = int(session.testsfailed > 0)
        finally:
            os._exit(code)
    start = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        if time.monotonic() - start > SECONDS:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return True
        time.sleep(0.005)


class Judge:
    """A plugin of pytest: the tests of a module are collected once, and run for every mutant."""

    def __init__(self, module: str, lines: range) -> None:
        self.module, self.lines, self.count, self.survivors = module, lines, 0, list[Mutant]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of pytest's own. Raises SystemExit where the tests fail without a mutant."""
        if not session.items or fails(session, None):
            raise SystemExit(f"The tests of {self.module} fail without a mutant, or there are none: mend them first.")
        for mutant in (one for one in mutants(self.module) if one.line in self.lines):
            self.count += 1
            if not fails(session, mutant):
                self.survivors.append(mutant)
                said = "explained" if mutant.key in EQUIVALENT else "SURVIVED"
                print(f"{said} {self.module}:{mutant.line} {mutant.change}: {mutant.text}", flush=True)
        return True


def judged(module: str, lines: range) -> int:
    """The number of mutants of a module that survived without an explanation; prints its line."""
    judge, start = Judge(module, lines), time.monotonic()
    pytest.main(["-s", "-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:terminal",
                 "-k", SLOW, *TESTS[module]], [judge])  # fmt: skip
    known = sum(mutant.key in EQUIVALENT for mutant in judge.survivors)
    left = len(judge.survivors) - known
    killed = judge.count - len(judge.survivors)
    print(f"{module}: {judge.count} mutants, {killed} killed, {known} explained, {left} survived "
          f"({time.monotonic() - start:.0f} s)", flush=True)  # fmt: skip
    return left


def main() -> None:
    """Judges the modules named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", choices=[[], *TESTS], default=[])
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    parser.add_argument("--lines", type=int, nargs=2, default=(1, 10_000), metavar=("FIRST", "LAST"))
    options = parser.parse_args()
    lines = range(options.lines[0], options.lines[1] + 1)
    chosen = options.modules or list(TESTS)
    if options.list:
        for module in chosen:
            for mutant in mutants(module):
                print(f"{module}:{mutant.line} {mutant.change}: {mutant.text}")
        return
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    importlib.import_module("torch").set_num_threads(1)
    raise SystemExit(min(sum(judged(module, lines) for module in chosen), 1))


if __name__ == "__main__":
    main()
