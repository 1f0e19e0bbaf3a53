"""The modules of the program as syntax trees, for tests that read them."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("controller", "backends")


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources():
    return {
        module_name(path): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def shown(path):
    return path.relative_to(ROOT).as_posix()


@cache
def nodes(path):
    """Return all parts of a module's tree, in the order of `ast.walk`: half of these tests look."""
    return list(ast.walk(tree(path)))


def expect_none(found, advice=""):
    """Fail with everything that was found, one a line."""
    found = list(found)
    assert not found, "\n".join(["", *map(str, sorted(found)), advice])


def functions(path):
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
