"""The style of every remedy in the code: a sentence in the imperative, or what to type.

Looks at each text that is passed as a remedy: to an error of the family, to a problem, to whatever
has an argument called `remedy`, and to names called so. What is put together at run time is covered
by the golden files.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("backends", "controller")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
VERBS = frozenset(
    [
        "Add",
        "Allow",
        "Approve",
        "Ask",
        "Begin",
        "Bring",
        "Cancel",
        "Change",
        "Check",
        "Choose",
        "Close",
        "Compare",
        "Complete",
        "Compress",
        "Convert",
        "Copy",
        "Correct",
        "Cut",
        "Declare",
        "Create",
        "Decompress",
        "Delete",
        "Deploy",
        "Exclude",
        "Download",
        "Encode",
        "End",
        "Export",
        "Fetch",
        "Fix",
        "Free",
        "Give",
        "Have",
        "Indent",
        "Install",
        "Join",
        "Keep",
        "Leave",
        "Let",
        "Lower",
        "Look",
        "Log",
        "Make",
        "Mount",
        "Mark",
        "Move",
        "Name",
        "Open",
        "Or",
        "Plan",
        "Put",
        "Quote",
        "Raise",
        "Read",
        "Record",
        "Remove",
        "Rename",
        "Report",
        "Restore",
        "Retry",
        "Run",
        "Save",
        "Say",
        "See",
        "Send",
        "Set",
        "Shorten",
        "Split",
        "Start",
        "Stop",
        "Take",
        "Train",
        "Type",
        "Unpack",
        "Upgrade",
        "Use",
        "Wait",
        "Write",
    ]
)
"""What a remedy tells people to do. `Or` begins a second line."""
COMMAND = re.compile(r"(?:pip|git|hf|ftctl|export) ")
"""What a remedy is that is nothing but a command."""
OPEN = "{…}"
"""Stands for a value that is known at run time only."""


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def family():
    """Return the names of all errors of the family, but of the server's, which have no remedy."""
    classes = [
        (node.name, {base.id for base in node.bases if isinstance(base, ast.Name)})
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    ]
    found, size = {"FtctlError", "InvalidValue"}, 0
    while size < len(found):
        size = len(found)
        found |= {name for name, bases in classes if bases & found}
    return found - {"ApiError"}


def text_of(node):
    """Return a literal with `{…}` in place of its values; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else OPEN for part in node.values
        )
    return None


def assigned(body):
    """Return the values of each name that statements assign, at any depth."""
    names = {}
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    pairs = [(target, node.value)]
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        pairs = zip(target.elts, node.value.elts, strict=True)
                    for name, value in pairs:
                        if isinstance(name, ast.Name):
                            names.setdefault(name.id, []).append(value)
    return names


def texts(node, names):
    """Yield the literals that an expression may be."""
    if isinstance(node, ast.IfExp):
        yield from texts(node.body, names)
        yield from texts(node.orelse, names)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts(value, names)
    elif isinstance(node, ast.Name):
        for value in names.get(node.id, ()):
            yield from texts(value, {})
    elif text_of(node):
        yield node.lineno, text_of(node)


def remedies(parsed):
    """Yield line and text of each remedy of a module."""
    module = assigned(
        node for node in parsed.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)
    )
    scopes = [(parsed, module)]
    while scopes:
        scope, names = scopes.pop()
        for node in ast.iter_child_nodes(scope):
            inner = names
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = names | assigned(node.body)
            scopes.append((node, inner))
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                found = [one.value for one in node.keywords if one.arg == "remedy"]
                if called in family():
                    found += node.args[1:2]
                for value in found:
                    yield from texts(value, inner)
            elif isinstance(node, ast.Assign):
                targets = [one.id for one in node.targets if isinstance(one, ast.Name)]
                if any(name.lower().strip("_") == "remedy" for name in targets):
                    yield from texts(node.value, inner)


def is_in_style(remedy):
    first, last = remedy.split("\n")[0], remedy.split("\n")[-1]
    if COMMAND.match(remedy) or remedy in {"", OPEN}:
        return True
    begins = first.startswith((OPEN, "Did you mean", "If ")) or first.split(" ")[0] in VERBS
    # Without a full stop it ends in the exact text to type.
    is_exact = ": " in last or last.endswith(("}", "]", '"', "`", "…"))
    return begins and (last.endswith((".", "?")) or is_exact)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_remedy_is_a_sentence_in_the_imperative_or_what_to_type(package):
    found = []
    count = 0
    for path in MODULES:
        if path.is_relative_to(ROOT / package):
            for line, remedy in set(remedies(tree(path))):
                count += 1
                if not is_in_style(remedy):
                    found.append(f"{path.relative_to(ROOT)}:{line}: {remedy!r}")
    assert count > 100, "the test reads the wrong files"
    assert not found, "\n".join(["", *sorted(found)])


@pytest.mark.parametrize(
    ("remedy", "is_good"),
    [
        ("Remove the line.", True),
        ("Did you mean `seed`?", True),
        ("pip install 'ftctl[local]'", True),
        ("Rename it: git mv a b", True),
        ('Write {"text": "..."}', True),
        ("remove the line", False),
        ("Remove the line", False),
        ("There are: a, b.", False),
        ("Known: a, b", False),
        ("Remove it.\nTo keep it, rename it", False),
    ],
)
def test_the_style_is_told_apart(remedy, is_good):
    assert is_in_style(remedy) == is_good
