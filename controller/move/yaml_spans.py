"""Places of keys and values in a YAML text. Pure.

The parser's events tell where each value begins and ends, an alias included. A block collection
ends with its last value: the comments behind it belong to whatever follows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import yaml

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One value of a YAML text, and where it is."""

    kind: Literal["scalar", "map", "seq", "alias"]
    start: int
    """Index of its first character, its anchor included."""
    end: int
    """Index behind its last character."""
    column: int
    """Column of its first character."""
    flow: bool = False
    """True for `{}` and `[]`."""
    text: str = ""
    """A scalar's value."""
    entries: tuple["Entry", ...] = ()
    """A mapping's keys and values."""
    items: tuple["Span", ...] = ()
    """A sequence's values."""

    def entry(self, key: str) -> "Entry | None":
        """Return the entry of a key; None if there is none."""
        return next((entry for entry in self.entries if entry.key.text == key), None)

    def find(self, path: Path) -> "Span | None":
        """Return the value at a path; None if there is none, or an alias stands in the way."""
        if not path:
            return self
        first, *rest = path
        if isinstance(first, int):
            below = self.items[first] if first < len(self.items) else None
        else:
            entry = self.entry(first)
            below = entry.value if entry is not None else None
        return None if below is None else below.find(tuple(rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key of a mapping with its value."""

    key: Span
    value: Span


@dataclass(slots=True)
class _Parser:
    """Events that are left to read."""

    text: str
    events: Iterator[yaml.Event]
    open: list[yaml.Event] = field(default_factory=list)

    def next(self) -> yaml.Event:
        return next(self.events)

    def span(self, event: yaml.Event) -> Span:
        """Return the value that begins with an event.

        Raises:
            ValueError: A collection is a key.
        """
        (start, column), end = _start(event), _end(event)
        match event:
            case yaml.AliasEvent():
                return Span(kind="alias", start=start, end=end, column=column)
            case yaml.ScalarEvent():
                # A block text ends where the next key begins; what is between are line ends.
                end = start + len(self.text[start:end].rstrip())
                return Span(kind="scalar", start=start, end=end, column=column, text=event.value)
            case yaml.MappingStartEvent():
                return self._mapping(start, column, flow=bool(event.flow_style))
            case yaml.SequenceStartEvent():
                return self._sequence(start, column, flow=bool(event.flow_style))
            case _:
                raise ValueError("something else than a value")

    def _mapping(self, start: int, column: int, *, flow: bool) -> Span:
        entries: list[Entry] = []
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key = self.span(event)
            entries.append(Entry(key=key, value=self.span(self.next())))
        end = _end(event) if flow or not entries else entries[-1].value.end
        if entries and not flow:
            column = entries[0].key.column
        return Span(
            kind="map", start=start, end=end, column=column, flow=flow, entries=tuple(entries)
        )

    def _sequence(self, start: int, column: int, *, flow: bool) -> Span:
        items: list[Span] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self.span(event))
        end = _end(event) if flow or not items else items[-1].end
        return Span(kind="seq", start=start, end=end, column=column, flow=flow, items=tuple(items))


def _start(event: yaml.Event) -> tuple[int, int]:
    """Return the index and the column at which an event begins."""
    mark = event.start_mark
    return (0, 0) if mark is None else (mark.index, mark.column)


def _end(event: yaml.Event) -> int:
    return 0 if event.end_mark is None else event.end_mark.index


def spans_of(text: str) -> Span:
    """Return the one document of a YAML text.

    Raises:
        yaml.YAMLError: The text is not YAML.
        ValueError: It holds no document.
    """
    # Python's parser counts characters; libyaml would count bytes of some encodings.
    parser = _Parser(text=text, events=iter(yaml.parse(text, Loader=yaml.SafeLoader)))
    for event in parser.events:
        if isinstance(event, yaml.DocumentStartEvent):
            return parser.span(parser.next())
    raise ValueError("no document")
