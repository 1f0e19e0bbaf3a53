"""Find every regular expression of the program, and texts on which a quadratic one is slow."""

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from re import _constants as codes  # the parser of the standard library: it knows each repeat
from re import _parser as parser
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("controller", "backends")
_CALLS = {"compile", "match", "search", "fullmatch", "findall", "finditer", "sub", "subn", "split"}
METHODS = frozenset({"match", "search", "fullmatch", "findall", "finditer", "sub", "split"})
_CATEGORIES = {
    codes.CATEGORY_DIGIT: "1", codes.CATEGORY_NOT_DIGIT: "a", codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_SPACE: "a", codes.CATEGORY_WORD: "a", codes.CATEGORY_NOT_WORD: " ",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A pattern and its place."""

    place: str
    """The module and the name; or the module and the function that contains it."""
    pattern: re.Pattern[Any]
    methods: frozenset[str]
    """Methods called on the pattern; all methods if the module does not tell."""


def found_patterns() -> Iterator[Found]:
    """Yield every compiled pattern of every module, and every pattern written in a function."""
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        # Reading all modules as trees takes seconds, and this happens before any test.
        if not re.search(r"^\s*(import .*\bre\b|from re import)", text, re.MULTILINE):
            continue
        tree = ast.parse(text)
        nodes = [*ast.walk(tree)]
        if not any(_imports_re(node) for node in nodes):
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        seen: set[re.Pattern[Any]] = set()
        for key, value in vars(module).items():
            for pattern in _patterns_in(value):
                if pattern not in seen:
                    seen.add(pattern)
                    yield Found(f"{name}.{key}", pattern, _methods(nodes, key))
        yield from _written_in_functions(tree, name)


def _imports_re(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "re"
    return isinstance(node, ast.Import) and any(alias.name == "re" for alias in node.names)


def _patterns_in(value: Any) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from _patterns_in(item)
    elif isinstance(value, dict):
        yield from _patterns_in(list(value.values()))


def _methods(nodes: list[ast.AST], name: str) -> frozenset[str]:
    """Return the methods that a module calls on its private pattern; else all methods."""
    uses = [node for node in nodes if isinstance(node, ast.Name) and node.id == name]
    called = [
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == name
    ]
    is_read_only = sum(isinstance(node.ctx, ast.Load) for node in uses) == len(called)
    known = frozenset(called) & METHODS
    return (
        known
        if name.startswith("_") and is_read_only and len(known) == len(set(called))
        else METHODS
    )


def _written_in_functions(tree: ast.Module, name: str) -> Iterator[Found]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and getattr(node.func.value, "id", "") == "re"
                and node.func.attr in _CALLS
            ):
                place = f"{name}.{function.name}:{node.func.attr}"
                written = node.args[0]
                is_text = isinstance(written, ast.Constant)
                pattern = re.compile(written.value if is_text else "(?!)")
                method = frozenset({node.func.attr}) & METHODS
                yield Found(place, pattern, method or METHODS)


def attacks(pattern: re.Pattern[Any], length: int) -> Iterator[str | bytes]:
    """Yield long texts: each repeat of a pattern expanded in turn, with an unmatchable end."""
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    texts = {*_pumped(tree, length)}
    if not any(_repeats(tree)):
        # A pattern without a repeat is tried once at each position.
        length //= 10
    texts |= {
        piece * (length // len(piece))
        for piece in [*" a1<'-.\n{`=@[:/", "a ", "1-", "a.", "ab", "'a", "가"]
    }
    for text in sorted(texts):
        for end in ("\0",):
            whole = text + end
            yield whole if isinstance(pattern.pattern, str) else whole.encode(errors="replace")


def _pumped(tree: Any, length: int) -> Iterator[str]:
    """Yield the shortest text that matches a pattern, with one of its repeats expanded."""
    spots = list(_repeats(tree))
    whole = _shortest(tree, None, 0)
    yield (whole * (length // max(len(whole), 1)))[:length] if whole else "a" * length
    for spot in spots:
        text = _shortest(tree, spot, length)
        yield text
        # Also without the rest, so that the search for the rest fails.
        unit = _shortest(spot[2], None, 0) or "a"
        at = text.find(unit * 50)
        if at >= 0:
            yield text[: at + length]
            yield (text[: at + 50] * (length // (at + 50)))[:length]


def _repeats(tree: Any) -> Iterator[Any]:
    for code, value in tree:
        if code in {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}:
            if value[1] > 30:
                yield value
            yield from _repeats(value[2])
        elif code is codes.SUBPATTERN:
            yield from _repeats(value[3])
        elif code is codes.BRANCH:
            for branch in value[1]:
                yield from _repeats(branch)
        elif code in {codes.ASSERT, codes.ASSERT_NOT}:
            yield from _repeats(value[1])
        elif code is codes.ATOMIC_GROUP:
            yield from _repeats(value)


def _shortest(tree: Any, spot: Any, length: int) -> str:
    return "".join(_piece(code, value, spot, length) for code, value in tree)


def _piece(code: Any, value: Any, spot: Any, length: int) -> str:
    if code is codes.LITERAL:
        return chr(value)
    if code in {codes.NOT_LITERAL, codes.ANY}:
        return "b" if value == ord("a") else "a"
    if code is codes.IN:
        return _of_class(tuple(value))
    if code in {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}:
        unit = _shortest(value[2], spot, length)
        if value is spot:
            return (unit or "a") * (length // max(len(unit), 1))
        return unit * max(value[0], int(any(inner is spot for inner in _repeats(value[2]))))
    if code is codes.SUBPATTERN:
        return _shortest(value[3], spot, length)
    if code is codes.BRANCH:
        branches = value[1]
        holding = [one for one in branches if any(inner is spot for inner in _repeats(one))]
        return _shortest((holding or branches)[0], spot, length)
    if code is codes.ATOMIC_GROUP:
        return _shortest(value, spot, length)
    if code is codes.ASSERT and any(inner is spot for inner in _repeats(value[1])):
        return _shortest(value[1], spot, length)
    return ""


@cache
def _of_class(items: tuple[Any, ...]) -> str:
    if items[0][0] is codes.NEGATE:
        taken = {_of_class((item,)) for item in items[1:]} | set(
            "".join(chr(v) for c, v in items[1:] if c is codes.LITERAL)
        )
        ranges = [v for c, v in items[1:] if c is codes.RANGE]
        return next(
            letter
            for letter in "ab1 -_가\t\0"
            if letter not in taken and not any(low <= ord(letter) <= high for low, high in ranges)
        )
    code, value = items[0]
    if code is codes.RANGE:
        return chr(value[0])
    return _CATEGORIES.get(value, " ") if code is codes.CATEGORY else chr(value)
