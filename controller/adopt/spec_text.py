"""The spec of an adopted model as YAML text with comments."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from backends.contract.inspector import Json
from backends.excerpt import printable
from controller.errors import InvalidInput
from controller.spec.load import ENDING, FOLDER, LoadedSpec, translate
from controller.spec.model import Spec, spec_model
from controller.spec.yaml import dump_yaml, parse_yaml

_WIDTH: Final = 98
HEAD: Final = ""
"""Key of the notes at the top of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedSpec:
    """The spec of a model that was trained elsewhere."""

    name: str
    """The fine-tune's name."""
    values: Mapping[str, Json]
    """Keys of the spec in the order in which they are written, with plain values."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sentences written as comments above a key of `values`; those of `HEAD` stand at the top."""

    @property
    def file(self) -> str:
        """The spec's file, relative to the repository."""
        return f"{FOLDER}/{self.name}{ENDING}"


def spec_text(adopted: AdoptedSpec) -> str:
    """Return a spec's YAML text, with its notes as comments.

    Raises:
        ValueError: A note belongs to a key that the spec does not have.
    """
    strangers = adopted.notes.keys() - {HEAD, *adopted.values}
    if strangers:
        raise ValueError(f"{adopted.name} has no key {min(strangers)!r}")
    parts = [comment_text(adopted.notes.get(HEAD, ()))]
    for key, value in adopted.values.items():
        parts.append(comment_text(adopted.notes.get(key, ())) + dump_yaml({key: _plain(value)}))
    return "".join(parts)


def comment_text(notes: Sequence[str]) -> str:
    """Return sentences as the comment lines of a spec. No text of a service may end its comment."""
    lines = [
        f"# {line}\n"
        for note in notes
        for line in textwrap.wrap(
            printable(" ".join(note.split())),
            _WIDTH,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
    return "".join(lines)


def load_adopted(root: Path, adopted: AdoptedSpec) -> LoadedSpec:
    """Return a spec as reading its file will load it, without writing the file.

    Args:
        root: The repository.
        adopted: The spec.

    Raises:
        InvalidInput: The spec's own model refuses the text.
    """
    text = spec_text(adopted).encode()
    document, problems = parse_yaml(text, adopted.file)
    if document is None:
        raise InvalidInput(problems)
    model = spec_model(document.value) if isinstance(document.value, dict) else Spec
    try:
        spec = model.model_validate(document.value)
    except ValidationError as error:
        raise InvalidInput(translate(error, document, adopted.file, model)) from None
    folder = root / FOLDER
    return LoadedSpec(
        name=adopted.name, file=adopted.file, folder=folder, spec=spec, document=document
    )


def _plain(value: Json) -> object:
    """Return a value as the plain lists and dictionaries that YAML writes."""
    match value:
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case str():
            return str(value)
        case Sequence():
            return [_plain(item) for item in value]
        case _:
            return value
