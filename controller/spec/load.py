"""The folder `finetunes/` → checked specs, or every problem of every file at once."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ValidationError

from backends.excerpt import dotted, excerpt, printable
from backends.pydantic_errors import InvalidValue, in_our_words
from controller.errors import InvalidInput, Problem
from controller.evaluate.metrics.structured.parse import READ_JSON, READ_YAML
from controller.repository_files import CannotRead, read_inside, resolve_inside
from controller.spec.model import Spec, spec_model
from controller.spec.parsed import Parse, remembering
from controller.spec.yaml import (
    MAX_BYTES,
    MOST_PROBLEMS,
    Document,
    more_problems,
    parse_yaml,
)

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
FOLDER = "finetunes"
ENDING = ".yaml"
_OTHERS = ("_", ".")
"""First characters of files in the folder that are not specs."""


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

    def placed(self, problem: Problem) -> Problem:
        """Return a problem of a field with the spec's file, and the line of the field.

        A missing key gets the line of what is around it.
        """
        if problem.line is not None or problem.file not in {"", self.file}:
            return problem
        lines, field = self.document.lines, f"{problem.field}."
        around = [
            path
            for path in lines
            if not path or field.startswith((f"{dotted(path)}.", f"{dotted(path)}["))
        ]
        line = lines[max(around, key=len)] if around else None
        return replace(problem, file=self.file, line=line)


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
    with nullcontext(parse_yaml) if memo is None else remembering(memo) as parse:
        for path in _candidates(root):
            if path.suffix not in {".yaml", ".yml"}:
                continue
            file = f"{FOLDER}/{printable(path.name)}"
            loaded, found = read_spec(root, path, file=file, parse=parse)
            if found:
                problems.setdefault(path.stem, []).extend(found)
            if loaded is not None:
                specs[loaded.name] = loaded
    return dict(sorted(specs.items())), dict(sorted(problems.items()))


def all_problems(problems: Mapping[str, Sequence[Problem]]) -> list[Problem]:
    """Return the problems of all fine-tunes in one list."""
    return [problem for found in problems.values() for problem in found]


def spec_names(root: Path) -> list[str]:
    """Return the names of all declared fine-tunes, without reading them.

    Raises:
        InvalidInput: There is no folder of specs, or it leads out of the repository.
    """
    return sorted(path.stem for path in _candidates(root) if path.suffix == ENDING)


def is_spec(file_name: str) -> bool:
    """Return whether a file of the folder is a spec, by its name."""
    return file_name.endswith(ENDING) and not file_name.startswith(_OTHERS)


def _candidates(root: Path) -> list[Path]:
    folder = root / FOLDER
    try:
        resolve_inside(root, folder)
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        remedy = "Type `ftctl init DIR` to make a repository, or name one with `ftctl --dir DIR`."
        problem = Problem(file=str(folder), message="is not a folder", remedy=remedy)
    except CannotRead as error:
        remedy = "Make it a folder of this repository."
        problem = Problem(file=FOLDER, message=error.message, remedy=remedy)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        problem = Problem(file=FOLDER, message=message, remedy="Check its permissions.")
    else:
        return [path for path in paths if not path.name.startswith(_OTHERS)]
    raise InvalidInput([problem])


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
        message = f"{excerpt(path.stem)} is not a name for a fine-tune"
        remedy = "Use small letters, digits and hyphens, at most 63: cafe-answers.yaml"
        return None, [Problem(file=file, message=message, remedy=remedy)]
    try:
        text = read_inside(root, path, limit=MAX_BYTES)
    except CannotRead as error:
        return None, [error.problem(file=file)]
    except FileNotFoundError:
        return None, [Problem(file=file, message="was removed", remedy="Run the command again.")]
    return parse_spec(root, path, text, file=file, parse=parse)


def parse_spec(
    root: Path, path: Path, text: bytes, *, file: str, parse: Parse = parse_yaml
) -> tuple[LoadedSpec | None, list[Problem]]:
    """Parse the text of a spec, which need not be in its file yet.

    Args:
        root: The repository, in which other files are that the spec names.
        path: Path of the spec's file.
        text: Its bytes.
        file: Its name in messages.
        parse: Parses its bytes, as `parse_yaml` does.

    Returns:
        The spec, or None with its problems.
    """
    document, problems = parse(text, file)
    if document is None:
        return None, problems
    if not isinstance(document.value, dict):
        message = "must be a mapping of keys to values"
        return None, [Problem(file=file, line=1, message=message, remedy="Begin with `backend: …`")]
    model = spec_model(document.value)
    try:
        context = {
            READ_JSON: partial(_read_json, root, path.parent),
            READ_YAML: partial(_read_yaml, root, path.parent),
        }
        spec = model.model_validate(document.value, context=context)
    except ValidationError as error:
        return None, translate(error, document, file, model)
    name, folder = path.stem, path.parent
    return LoadedSpec(name=name, file=file, folder=folder, spec=spec, document=document), []


def _read_json(root: Path, folder: Path, file: str) -> object:
    """Return the value of a JSON file that a spec names.

    Raises:
        InvalidValue: It cannot be read, or is not JSON.
    """
    try:
        return json.loads(_read_named(root, folder, file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue(f"{file} is not JSON: {error}", "Correct the file.", "file") from None


def _read_yaml(
    root: Path, folder: Path, file: str
) -> tuple[object, Callable[[tuple[str | int, ...]], int | None]]:
    """Return the value of a YAML file that a spec names, and a function from a path to its line.

    Raises:
        InvalidValue: It cannot be read, or is not YAML.
    """
    document, problems = parse_yaml(_read_named(root, folder, file), file)
    if document is None:
        first = problems[0]
        where = file if first.line is None else f"{file}:{first.line}"
        raise InvalidValue(f"{where}: {first.message}", first.remedy or "Correct the file.", "file")
    return document.value, document.line


def _read_named(root: Path, folder: Path, file: str) -> bytes:
    """Return the bytes of a file that a spec names.

    Raises:
        InvalidValue: It cannot be read.
    """
    if file.startswith("/") or ".." in Path(file).parts:
        message = f"must be a path below {FOLDER}/, not {excerpt(file)}"
        raise InvalidValue(message, "Put the file there.", "file")
    try:
        return read_inside(root, folder / file, limit=MAX_BYTES)
    except CannotRead as error:
        raise InvalidValue(f"{file} {error.message}", error.remedy, "file") from None
    except FileNotFoundError:
        remedy = f"Write it, or correct the path, which starts at {FOLDER}/."
        raise InvalidValue(f"there is no file {excerpt(file)}", remedy, "file") from None


def translate(
    error: ValidationError, document: Document, file: str, model: type[BaseModel]
) -> list[Problem]:
    """Return pydantic's errors as problems with lines.

    Args:
        error: Pydantic's error.
        document: The file.
        file: Its name in messages.
        model: Model that the file was parsed into.
    """
    problems = [
        replace(wrong.problem(), file=file, line=document.line(wrong.path))
        for wrong in in_our_words(error, document.value, [model], MOST_PROBLEMS)
    ]
    return [*problems, *more_problems(error.error_count() - MOST_PROBLEMS, file)]
