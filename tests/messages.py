"""The texts of the page as they stand in its sources: what must be in every catalogue, and what may be."""

import ast

from paths import ROOT

from demo.components.canvas import STATIC
from demo.language import sources
from demo.language.catalogue import FIELD

CALLS = ("_", "ngettext")
FILES = {path: path.read_text(encoding="utf-8")
         for top in ("demo", "bsoftmax") for path in sorted((ROOT / top).rglob("*.py"))}  # fmt: skip
TREES = {path: ast.parse(text) for path, text in FILES.items()}
SPEAKING = {path: tree for path, tree in TREES.items() if "import gettext as _" in FILES[path]}


def normal(text):
    """A template without the names of its fields; markup of Python's format is no field."""
    return FIELD.sub("{}", text)


def template(node):
    """A string or an f-string as a template; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def constants(tree):
    """{name: the texts in it} of what a module, or a class in it, gives a name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                pairs = zip(target.elts, node.value.elts) if both else [(target, node.value)]
                found |= {name.id: list(texts_in(value)) for name, value in pairs if isinstance(name, ast.Name)}
    return found


def texts_in(value):
    """A text, or those in a table or in the fields of its entries."""
    if isinstance(value, ast.Dict):
        yield from filter(None, map(template, value.values))
    elif template(value):
        yield template(value)


def asked(tree):
    """The texts that a module translates: those in calls of `_`, and those behind names of its own there."""
    named = constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            for form in node.args[: 2 if node.func.id == "ngettext" else 1]:
                form = form.value if isinstance(form, ast.Subscript) else form
                name = getattr(form, "id", getattr(form, "attr", ""))
                yield from [template(form)] if template(form) else named.get(name, []) if name.isupper() else []


def raised(tree):
    """The sentences of the errors that a module raises."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from filter(None, map(template, node.exc.args[:1]))


def literals(tree):
    """Every string of a module."""
    return {template(node) for node in ast.walk(tree) if isinstance(node, (ast.Constant, ast.JoinedStr))} - {None}


def static():
    """The texts of HTML, JavaScript and CSS."""
    for suffix, read in (
        ("html", sources.html_messages), ("js", sources.script_messages), ("css", sources.style_messages),
    ):  # fmt: skip
        for path in sorted(STATIC.rglob(f"*.{suffix}")):
            yield from read(path.read_text(encoding="utf-8"))


def of_demo():
    """The modules of the page."""
    return {path: tree for path, tree in TREES.items() if path.is_relative_to(ROOT / "demo")}


def example():
    """The finished example, as it stands."""
    return (STATIC / "guide" / "example.json").read_text(encoding="utf-8")


def everything():
    """Every string in the sources, and every line of one, without the names of fields and the marks of Markdown."""
    found = {normal(text) for text in [*static(), *(text for tree in TREES.values() for text in literals(tree))]}
    paragraphs = {part.strip("\n") for text in found for part in text.split("\n\n")}
    return found | paragraphs | {line.lstrip("#- ") for part in paragraphs for line in part.split("\n")}
