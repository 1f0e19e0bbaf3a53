"""Entries of a tool's table of keys, and the account of what became of each key. Pure."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from backends.contract.inspector import Json
from backends.excerpt import dotted, excerpt, printable
from controller.adopt.configs.translation import Fate, Line
from controller.errors import Problem

LineOf: TypeAlias = Callable[[tuple[str | int, ...]], int | None]
Read: TypeAlias = Callable[[Json], Json]
"""Returns a value as ftctl writes it. Raises UnfitValue, with what it must be, for another."""

_YES: Final = frozenset({"true", "yes", "on", "y"})
_NO: Final = frozenset({"false", "no", "off", "n"})
"""Texts that YAML 1.1, which the tools read, takes for true and false."""
_PART: Final = re.compile(r"([^.\[]+)|\[([0-9]{1,9})\]")
_LONGEST: Final = 60
"""Maximum characters of a value in a report."""


class UnfitValue(Exception):
    """A value that a key cannot have; its text is what it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Becomes:
    """A key that becomes a hyperparameter."""

    name: str
    """The hyperparameter."""
    read: Read
    default: Json = None
    """The tool's own default, which is written out; None where the tool has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A key that changes what is trained, and has no equivalent."""

    text: str
    """Behaviour of ftctl instead, for people."""
    without_effect: tuple[Json, ...] = (None, False)
    """Values with which it changes nothing that is trained, or nothing that differs here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A key that changes nothing that is trained."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A key that the tool's translator reads itself."""


Key: TypeAlias = Becomes | Lost | Idle | Own
OWN: Final = Own()


def idle(text: str, keys: str) -> dict[str, Key]:
    """Return entries of keys, separated by blanks, that all change nothing for one reason."""
    return {key: Idle(text=text) for key in keys.split()}


def lost(text: str, keys: str, without_effect: tuple[Json, ...] = (None, False)) -> dict[str, Key]:
    """Return entries of keys, separated by blanks, that are lost with one sentence."""
    return {key: Lost(text=text, without_effect=without_effect) for key in keys.split()}


def own(keys: str) -> dict[str, Key]:
    """Return entries of keys, separated by blanks, that the tool's translator reads itself."""
    return dict.fromkeys(keys.split(), OWN)


@dataclass(slots=True, kw_only=True)
class Account:
    """Account of each key of one configuration, written while a translator reads it."""

    given: Mapping[str, Json]
    """Values by dotted key."""
    file: str
    """The configuration, as messages name it."""
    line_of: LineOf
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    hyperparameters: dict[str, Json] = field(default_factory=dict)

    def inside(self, key: str, entry: Mapping[str, Json]) -> "Account":
        """Return an account of the keys of a mapping, which adds to this account."""
        given = {place(key, name): value for name, value in entry.items()}
        return replace(self, given=given)

    def has(self, key: str) -> bool:
        """Return whether a key is written, with any value but null."""
        return self.given.get(key) is not None

    def line(self, key: str) -> int | None:
        """Return the line of a key that is written."""
        path = _path(key)
        return self.line_of(path) if self.has(key) or len(path) > 1 else None

    def note(self, fate: Fate, key: str, text: str) -> None:
        """Add what became of a key."""
        line = self.line(key)
        given = self.given.get(key)
        self.lines.append(Line(fate=fate, key=key, given=given, text=text, line=line))

    def translated(self, key: str, text: str) -> None:
        """Add that a key has an equivalent, or that the tool's default for it is written out."""
        self.note(Fate.TRANSLATED if self.has(key) else Fate.DEFAULTED, key, text)

    def lost(self, key: str, text: str) -> None:
        """Add that a key changes what is trained, and has no equivalent."""
        self.note(Fate.LOST, key, text)

    def refuse(self, key: str, message: str, remedy: str) -> None:
        """Add a reason why no spec can say what the configuration says."""
        self.problems.append(
            Problem(file=self.file, line=self.line(key), field=key, message=message, remedy=remedy)
        )

    def value(self, key: str, read: Read, default: Json = None) -> Json:
        """Return a key's value as `read` returns it; the default if it is absent or wrong."""
        given = self.given.get(key)
        if given is None:
            return default
        try:
            return read(given)
        except UnfitValue as error:
            self.refuse(key, f"must be {error}, not {shown(given)}", "Correct it there.")
            return default

    def text(self, key: str) -> str:
        """Return a key's text; empty if it is absent."""
        return str(self.value(key, text) or "")

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return whether a key is switched on."""
        return bool(self.value(key, flag, default))

    def become(self, key: str, entry: Becomes) -> None:
        """Write a hyperparameter, from the configuration or from the tool's default."""
        value = self.value(key, entry.read, entry.default)
        if value is not None:
            self.hyperparameters[entry.name] = value
            self.translated(key, f"hyperparameters.{entry.name}: {_shown(value)}")
        elif self.has(key):
            self.note(Fate.IDLE, key, "is switched off")


def go_through(account: Account, table: Mapping[str, Key]) -> None:
    """Account for every key that a table knows, and every other key that is given.

    Keys that the tool's translator reads itself are left to it.
    """
    for key, entry in table.items():
        match entry:
            case Becomes():
                account.become(key, entry)
            case Lost() if key in account.given and not _is_in(account.given[key], entry):
                account.lost(key, entry.text)
            case Lost() | Idle() if key in account.given:
                reason = entry.text if isinstance(entry, Idle) else "is without effect there"
                account.note(Fate.IDLE, key, reason)
    for key in account.given:
        if key not in table:
            account.note(Fate.UNKNOWN, key, "is not a key of the tool that ftctl knows")


def _is_in(value: Json, entry: Lost) -> bool:
    # Not `in`: 0 equals False, and 1 equals True.
    same = (
        value is one or (type(value) is type(one) and value == one) for one in entry.without_effect
    )
    return any(same)


def flat(config: Mapping[str, Json], sections: Sequence[str] = ()) -> dict[str, Json]:
    """Return a configuration by dotted keys: those of the named sections, and all others whole."""
    return dict(_flat(config, "", frozenset(sections)))


def _flat(
    config: Mapping[str, Json], prefix: str, sections: frozenset[str]
) -> Iterator[tuple[str, Json]]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name in sections and isinstance(value, Mapping):
            yield from _flat(value, f"{name}.", sections)
        else:
            yield name, value


def _path(key: str) -> tuple[str | int, ...]:
    found = _PART.findall(key)
    return tuple(int(index) if index else name for name, index in found if name or index)


def _shown(value: Json) -> str:
    match value:
        case str():
            return excerpt(value)
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value}"
        case Mapping():
            return "a mapping"
        case Sequence():
            return f"[{', '.join(printable(str(one)) for one in value)}]"
        case _:
            return "nothing"


def shown(value: Json) -> str:
    """Return a value as a report shows it: on one line, short, control characters escaped."""
    text = _shown(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def text(value: Json) -> Json:
    """Read a text."""
    if not isinstance(value, str):
        raise UnfitValue("a text")
    return value


def flag(value: Json) -> Json:
    """Read true or false, also as YAML 1.1 writes them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _YES | _NO:
        return value.lower() in _YES
    raise UnfitValue("true or false")


def four_bits(value: Json) -> Json:
    """Read a switch of 4-bit weights: `nf4`, or nothing."""
    return "nf4" if flag(value) else None


def number(value: Json) -> Json:
    """Read a number, also one that YAML 1.1 reads as a text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise UnfitValue("a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise UnfitValue("a number")
    return value


def _is_finite(value: float) -> bool:
    """Return whether a number is one that a machine computes with."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def whole(value: Json) -> Json:
    """Read a whole number."""
    found = number(value)
    if isinstance(found, float) and not found.is_integer():
        raise UnfitValue("a whole number")
    return int(found) if isinstance(found, int | float) else found


def names(value: Json) -> Json:
    """Read a list of names, also as one text with commas."""
    if isinstance(value, str):
        return [one.strip() for one in value.split(",") if one.strip()]
    if isinstance(value, Sequence) and all(isinstance(one, str) for one in value):
        return list(value)
    raise UnfitValue("a list of names")


def some_names(value: Json) -> Json:
    """Read a list of names; nothing for an empty list."""
    return names(value) or None


def numbers(value: Json) -> Json:
    """Read a list of whole numbers, or one number; nothing for an empty list."""
    found = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [whole(one) for one in found] or None


def names_or_pattern(value: Json) -> Json:
    """Read a list of names, or a pattern of whole names as peft takes it."""
    return value if isinstance(value, str) and set(value) & PATTERN else some_names(value)


PATTERN: Final = frozenset("*+?()[]|^$\\")
"""Characters that only patterns of names have."""


def place(key: str, *more: str | int) -> str:
    """Return a dotted key below another: `place("datasets", 0, "path")`."""
    return dotted((*_path(key), *more))
