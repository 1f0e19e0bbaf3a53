"""Templates in graders, such as `{{ item.key }}` and `{{ sample.output_text }}`. Pure.

A template with a key that rows lack fails at the service, hours later and for every sample. So this
module compares the keys with the rows when the data is built.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from backends.contract.errors import BackendError, FieldProblem
from backends.contract.inspector import Json
from backends.did_you_mean import did_you_mean, nearest, use_one_of
from backends.excerpt import clipped, excerpt

Path: TypeAlias = tuple[str, ...]
"""Keys from the row inwards; a list index is a number as text."""

_SAMPLE: Final = ("output_text", "output_json", "output_tools", "output_audio", "choices")
_PARTS: Final = re.compile(r"[^.\[\]\s'\"]+")
_PLAIN_PATH: Final = re.compile(r"[\w.\[\]'\"-]+")
_TEMPLATED: Final = frozenset({"input", "reference", "content", "text"})
"""Fields whose templates the service fills in."""
_LISTED: Final = 10
_ROOTS: Final = ("item", "sample")
_BRANCHES: Final = (ast.If, ast.Try, ast.IfExp, ast.BoolOp, ast.For, ast.While, ast.With)
_SCOPES: Final = (
    *(ast.FunctionDef, ast.Lambda, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp),
    ast.Assert,
)
"""Statements and expressions in which a program may not read a key, or not the row's."""


def template_problems(field: str, grader: Mapping[str, Json]) -> list[FieldProblem]:
    """Return the problems of a grader's templates that do not depend on the rows.

    Args:
        field: The grader's field.
        grader: A grader of any type, or a grader that contains other graders.
    """
    problems = []
    for place, text in _texts(field, grader):
        expressions, is_open = _expressions(text)
        if is_open:
            remedy = "Write {{ item.answer }} or {{ sample.output_text }}."
            problems.append(FieldProblem(field=place, message="has {{ without }}", remedy=remedy))
        for expression in expressions:
            problem = _wrong_name(place, expression)
            if problem is not None:
                problems.append(problem)
    return problems


def paths_read(grader: Json) -> tuple[Path, ...]:
    """Return the paths that a grader reads of every row, sorted and without duplicates."""
    if not isinstance(grader, Mapping):
        return ()
    found = {
        parts[1:]
        for _, text in _texts("", grader)
        for expression in _expressions(text)[0]
        if (parts := _parts(expression))[:1] == ("item",) and len(parts) > 1
    }
    found |= {(key,) for source in _sources(grader) for key in _subscripts(source)}
    return tuple(sorted(found))


def require_paths(row: Mapping[str, Any], paths: Sequence[Path]) -> None:
    """Check that a row has every path that the grader reads.

    Raises:
        BackendError: A key is missing; the message names it and the keys that exist.
    """
    for path in paths:
        value: object = row
        for key in path:
            if isinstance(value, Mapping) and key in value:
                value = value[key]
            elif isinstance(value, Sequence) and _is_index(value, key):
                value = value[int(key)]
            else:
                raise _missing(path, key, value)


def _missing(path: Path, key: str, value: object) -> BackendError:
    there = sorted(map(str, value)) if isinstance(value, Mapping) else []
    known = use_one_of(clipped(name) for name in there[:_LISTED]) or "Add it to the row."
    return BackendError(
        f"the grader reads {{{{ item.{clipped('.'.join(path))} }}}}, and the row has no "
        f"{excerpt(key)}",
        f"{did_you_mean(key, there)} {known}".lstrip(),
    )


def _is_index(value: Sequence[Any], key: str) -> bool:
    is_list = not isinstance(value, str | bytes)
    return (
        is_list
        and key.isdecimal()
        and len(key) < len(str(len(value))) + 1
        and int(key) < len(value)
    )


def _texts(field: str, value: Json) -> Iterator[tuple[str, str]]:
    """Yield the field and the text of every template of a grader."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            # Texts only of `_TEMPLATED` keys and `graders`; objects and lists of any key.
            if key in _TEMPLATED or (key == "graders" or not isinstance(inner, str)):
                yield from _texts(f"{field}.{key}", inner)
    elif isinstance(value, Sequence):
        for number, inner in enumerate(value):
            if not isinstance(inner, str) or field.endswith(("input", "content")):
                yield from _texts(f"{field}[{number}]", inner)


def _sources(grader: Mapping[str, Json]) -> Iterator[str]:
    """Yield the programs of a grader and of the graders in it."""
    source = grader.get("source")
    if grader.get("type") == "python" and isinstance(source, str):
        yield source
    graders = grader.get("graders")
    for inner in graders.values() if isinstance(graders, Mapping) else ():
        if isinstance(inner, Mapping):
            yield from _sources(inner)


def _expressions(text: str) -> tuple[list[str], bool]:
    """Return the texts between `{{` and `}}`, and True if a `{{` is never closed."""
    pieces = [piece.partition("}}") for piece in text.split("{{")[1:]]
    is_open = not all(end for _, end, _ in pieces)
    return [expression.strip() for expression, end, _ in pieces if end], is_open


def _parts(expression: str) -> Path:
    head = expression.partition("|")[0].strip()
    parts = _PARTS.findall(head)
    # If the expression is more than a path, only its first two parts are certain.
    return tuple(parts if _PLAIN_PATH.fullmatch(head) else parts[:2])


def _wrong_name(place: str, expression: str) -> FieldProblem | None:
    parts = _parts(expression)
    shown = f"{{{{ {clipped(expression)} }}}}"
    remedy = "Write {{ item.KEY }} for a key of the row, {{ sample.output_text }} for the answer."
    if not parts or parts[0] not in _ROOTS:
        return FieldProblem(
            field=place, message=f"reads {shown}, which is neither item nor sample", remedy=remedy
        )
    if parts[0] == "sample" and len(parts) > 1 and parts[1] not in _SAMPLE:
        near = nearest(parts[1], _SAMPLE)
        if near is not None:
            return FieldProblem(
                field=place,
                message=f"reads {shown}, which no answer has",
                remedy=f"Did you mean `{{{{ sample.{near} }}}}`?",
            )
    return None


def _subscripts(source: str) -> Iterator[str]:
    """Yield the row's keys that a program always reads: `item["key"]` outside of branches."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # The source may still be valid at the service, which may run a newer Python.
        return
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name == "grade":
            names = [argument.arg for argument in function.args.args]
            if len(names) > 1:
                yield from _keys_of(function.body, names[1])


def _keys_of(statements: Sequence[ast.stmt], name: str) -> Iterator[str]:
    waiting: list[ast.AST] = []
    for statement in statements:
        waiting.append(statement)
        while waiting:
            node = waiting.pop()
            if isinstance(node, (*_BRANCHES, *_SCOPES)):
                continue
            match node:
                case ast.Subscript(
                    value=ast.Name(id=row), slice=ast.Constant(value=str(key)), ctx=ast.Load()
                ) if row == name:
                    yield key
            waiting.extend(ast.iter_child_nodes(node))
        if isinstance(statement, (*_BRANCHES, ast.Return)):
            # Statements after a branch may never be reached.
            return
