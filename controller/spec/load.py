"""The folder `finetunes/` → checked specs, or every problem of every file at once."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from controller.errors import InvalidInput, Problem
from controller.repository_files import CannotRead, read_inside, resolve_inside
from controller.spec.excerpt import clipped, excerpt
from controller.spec.model import Spec
from controller.spec.parsed import Parsed
from controller.spec.yaml import (
    MAX_BYTES,
    MOST_PROBLEMS,
    Document,
    dotted,
    more_problems,
    parse_yaml,
    printable,
)

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
FOLDER = "finetunes"
Parse: TypeAlias = Callable[[bytes, str], tuple[Document | None, list[Problem]]]
_TAG = re.compile(r"<[a-z_]+>")
_NUMBER = re.compile(r"\s*[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """One spec and where it came from."""

    name: str
    file: str
    """Relative to the repository."""
    folder: Path
    """The folder that its relative paths start from."""
    spec: Spec
    document: Document

    def problem(self, path: tuple[str | int, ...], message: str, remedy: str = "") -> Problem:
        """Return a problem at one of the spec's fields."""
        line = self.document.line(path)
        return Problem(
            file=self.file, line=line, field=dotted(path), message=message, remedy=remedy
        )


def load_specs(root: Path) -> dict[str, LoadedSpec]:
    """Read every spec of a repository.

    Args:
        root: The repository's folder.

    Returns:
        The specs by name, sorted.

    Raises:
        InvalidInput: With every problem of every file.
    """
    specs, problems = read_specs(root)
    if problems:
        raise InvalidInput(all_problems(problems))
    return specs


def read_specs(
    root: Path, memo: Path | None = None
) -> tuple[dict[str, LoadedSpec], dict[str, list[Problem]]]:
    """Read every spec, and continue where one cannot be read.

    Args:
        root: The repository's folder.
        memo: Where the values of parsed files are remembered; None to parse every file.

    Returns:
        The specs that are right in themselves, and the problems of the others by the name that the
        fine-tune has or would have: the file's, without its ending. Both are sorted.

    Raises:
        InvalidInput: There is no folder of specs, or it leads out of the repository.
    """
    specs: dict[str, LoadedSpec] = {}
    problems: dict[str, list[Problem]] = {}
    parsed = None if memo is None else Parsed(memo)
    parse = parse_yaml if parsed is None else parsed.parse
    for path in _candidates(root):
        if path.suffix not in {".yaml", ".yml"}:
            continue
        file = f"{FOLDER}/{printable(path.name)}"
        loaded, found = read_spec(root, path, file=file, parse=parse)
        if found:
            problems.setdefault(path.stem, []).extend(found)
        if loaded is not None:
            specs[loaded.name] = loaded
    if parsed is not None:
        parsed.save()
    return dict(sorted(specs.items())), dict(sorted(problems.items()))


def all_problems(problems: Mapping[str, Sequence[Problem]]) -> list[Problem]:
    """Return the problems of all fine-tunes in one list."""
    return [problem for found in problems.values() for problem in found]


def spec_names(root: Path) -> list[str]:
    """Return the names of all declared fine-tunes, without reading them.

    Raises:
        InvalidInput: There is no folder of specs, or it leads out of the repository.
    """
    return sorted(path.stem for path in _candidates(root) if path.suffix == ".yaml")


def _candidates(root: Path) -> list[Path]:
    folder = root / FOLDER
    try:
        resolve_inside(root, folder)
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        remedy = "Type `ftctl init DIR` to make a repository, or name one with `ftctl --dir DIR`."
        problem = Problem(file=str(folder), message="is not a folder", remedy=remedy)
        raise InvalidInput([problem]) from None
    except CannotRead as error:
        remedy = "Make it a folder of this repository."
        problem = Problem(file=FOLDER, message=error.message, remedy=remedy)
        raise InvalidInput([problem]) from None
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        problem = Problem(file=FOLDER, message=message, remedy="Check its permissions.")
        raise InvalidInput([problem]) from None
    return [path for path in paths if not path.name.startswith(("_", "."))]


def read_spec(
    root: Path, path: Path, *, file: str, parse: Parse = parse_yaml
) -> tuple[LoadedSpec | None, list[Problem]]:
    """Read one spec.

    Args:
        root: The repository, which the file must not leave through a link.
        path: Where it is.
        file: Its name in messages.
        parse: Parses its bytes, as `parse_yaml` does.

    Returns:
        The spec, or None with its problems.
    """
    if path.suffix == ".yml":
        remedy = f"Rename it: git mv {file} {file.removesuffix('.yml')}.yaml"
        return None, [Problem(file=file, message="must end in .yaml", remedy=remedy)]
    if not NAME.fullmatch(path.stem):
        message = f"{excerpt(path.stem)} is no name for a fine-tune"
        remedy = "Use small letters, digits and hyphens, at most 63: cafe-answers.yaml"
        return None, [Problem(file=file, message=message, remedy=remedy)]
    try:
        text = read_inside(root, path, limit=MAX_BYTES)
    except CannotRead as error:
        return None, [Problem(file=file, message=error.message, remedy=error.remedy)]
    except FileNotFoundError:
        return None, [Problem(file=file, message="was removed", remedy="Run the command again.")]
    document, problems = parse(text, file)
    if document is None:
        return None, problems
    if not isinstance(document.value, dict):
        message = "must be a mapping of keys to values"
        return None, [Problem(file=file, line=1, message=message, remedy="Begin with `backend: …`")]
    try:
        spec = Spec.model_validate(document.value)
    except ValidationError as error:
        return None, translate(error, document, file, Spec)
    return (
        LoadedSpec(name=path.stem, file=file, folder=path.parent, spec=spec, document=document),
        [],
    )


def translate(
    error: ValidationError, document: Document, file: str, model: type[BaseModel]
) -> list[Problem]:
    """Return pydantic's errors as problems, in ftctl's words and with lines.

    Args:
        error: Pydantic's error.
        document: The file.
        file: Its name in messages.
        model: Model that the file was parsed into.
    """
    said: dict[tuple[str | int, ...], tuple[str, str]] = {}
    found = error.errors(include_url=False)
    for details in found[:MOST_PROBLEMS]:
        path = _written_path(details["loc"], document.value)
        told = _explain(details, path, model)
        said[path] = _either(said[path], told) if path in said else told
    problems = [
        Problem(
            file=file, line=document.line(path), field=dotted(path), message=message, remedy=remedy
        )
        for path, (message, remedy) in said.items()
    ]
    return [*problems, *more_problems(len(found) - MOST_PROBLEMS, file)]


def _either(one: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
    """Return the message for a value of several possible forms: `must be A or B, not C`."""
    first, _, given = one[0].rpartition(", not ")
    second, _, _ = other[0].rpartition(", not ")
    if not first or not second.startswith("must be "):
        return one
    return f"{first} or {second.removeprefix('must be ')}, not {given}", one[1] or other[1]


def _written_path(location: tuple[str | int, ...], value: object) -> tuple[str | int, ...]:
    """Return the path in the file of an error.

    Tags of a union appear as `<like this>` in pydantic's path, but not in the file. A key of the
    file may look like such a tag.
    """
    path: list[str | int] = []
    for part in location:
        holds = isinstance(value, dict) and part in value
        is_inside = isinstance(value, dict | list)
        if not holds and (not is_inside or part == "[key]" or _TAG.fullmatch(str(part))):
            continue
        path.append(part)
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            value = None
    return tuple(path)


def _explain(
    details: ErrorDetails, path: tuple[str | int, ...], model: type[BaseModel]
) -> tuple[str, str]:
    """Say in our words what pydantic found: message and remedy."""
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden" and path:
        return _unknown_key(path, model)
    if kind == "missing" and path:
        return "is missing", f"Add `{_MISSING.get(dotted(path), f'{path[-1]}: …')}`"
    if kind in {"too_short", "string_too_short"}:
        return "must not be empty", ""
    if kind == "value_error":
        return str(context["error"]), getattr(context["error"], "remedy", "")
    if kind in {"literal_error", "union_tag_invalid"}:
        return _unknown_word(context.get("given", given), context)
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{details['msg'][0].lower()}{details['msg'][1:]}, not {_shown(given)}", ""
    limits = {key: _plain(value) for key, value in context.items()}
    message = f"must be {expected.format(**limits)}, not {_shown(given)}"
    return message, _how_to_write(kind, given)


def _how_to_write(kind: str, given: object) -> str:
    if kind == "bool_type":
        return "Write true or false."
    if kind in {"int_type", "float_type"} and isinstance(given, str) and _NUMBER.fullmatch(given):
        return "Write the number without quotes."
    if kind == "string_type" and isinstance(given, bool | int | float):
        return f'Quote it: "{clipped(str(given))}"'
    return ""


_MISSING = {"data.held_out": "held_out: {fraction: 0.1}"}
"""Text to type for a missing key that has a usual value."""

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "union_tag_not_found": "one of the forms that `ftctl schema` shows",
}


def _unknown_key(path: tuple[str | int, ...], model: type[BaseModel]) -> tuple[str, str]:
    known = _keys_at(path[:-1], model)
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    if close:
        return "is no known key", f"Did you mean `{close[0]}`?"
    return "is no known key", f"Known here: {', '.join(sorted(known))}"


def _unknown_word(given: object, context: Mapping[str, Any]) -> tuple[str, str]:
    allowed = str(context.get("expected") or context.get("expected_tags", ""))
    words = re.findall(r"'<?([^'>]+)>?'", allowed)
    close = difflib.get_close_matches(str(given), words, n=1, cutoff=0.6)
    remedy = f"Did you mean `{close[0]}`?" if close else ""
    return f"must be one of {', '.join(words)}, not {_shown(given)}", remedy


def _plain(value: object) -> object:
    """Write a limit as people do: 1, not 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(given: object) -> str:
    """Show what was given, short, saying its type where that is the point."""
    match given:
        case None:
            return "empty"
        case bool():
            return str(given).lower()
        case str():
            return f"the text {excerpt(' '.join(given.split()) or given)}"
        case int() | float():
            return clipped(f"{given}")
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return type(given).__name__


def _keys_at(path: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """Return the keys that a model allows at a path."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        if isinstance(part, str):
            fields = [known for model in models if (known := model.model_fields.get(part))]
            # A part that is no field is the key of a mapping, whose values these models are.
            if fields:
                models = [inner for field in fields for inner in _models_in(field.annotation)]
    return [key for model in models for key in model.model_fields]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {Union, UnionType, list, dict, Annotated}:
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []
