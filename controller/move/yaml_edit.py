"""Edits of a YAML text in place: whatever is not edited stays as it is, to the last blank. Pure.

An edit finds its place by the parser and changes those characters alone. Quotes, comments, anchors,
the order of keys and the lengths of lines stay. `edited` compares the values before and after, so
that an edit changes what it says and nothing else.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import yaml

from backends.contract.inspector import Json
from backends.excerpt import dotted
from controller.move.yaml_spans import Entry, Path, Span, spans_of
from controller.spec.yaml import parse_yaml

Edit: TypeAlias = Callable[[str], str]
"""Returns the text with one change."""
_INDENT: Final = 2


class EditImpossible(Exception):
    """A place that cannot be edited alone: an anchor, an alias, or an unusual form."""


def set_value(*path: str | int, value: Json) -> Edit:
    """Return an edit that replaces the value of a key or an item."""

    def edit(text: str) -> str:
        root = spans_of(text)
        parent = _existing(root, path[:-1])
        last = path[-1]
        if isinstance(last, int):
            found = _existing(root, path)
            return text[: found.start] + _flow(value) + text[found.end :]
        entry = parent.entry(last)
        if entry is None:
            return _insert(text, parent, last, value, after=None)
        old = entry.value
        if old.kind == "scalar" and old.end > old.start:
            return text[: old.start] + _flow(value) + text[old.end :]
        colon = text.index(":", entry.key.end) + 1
        return f"{text[:colon]} {_flow(value)}{text[max(colon, old.end) :]}"

    return edit


def add_key(*path: str | int, value: Json, after: str | None = None, note: str = "") -> Edit:
    """Return an edit that adds a key to a mapping.

    Args:
        path: Path of the new key. Missing mappings on the way are added.
        value: Its value.
        after: Key behind which it is written; the last key otherwise.
        note: Comment above a new key of a block.
    """

    def edit(text: str) -> str:
        root, missing = spans_of(text), value
        for depth in range(len(path) - 1, -1, -1):
            parent, key = root.find(path[:depth]), path[depth]
            if isinstance(key, int) or (parent is not None and parent.kind in {"seq", "alias"}):
                break
            if parent is not None and parent.kind == "map":
                return _insert(text, parent, key, missing, after=after, note=note)
            if parent is not None and parent.text:
                break
            if parent is not None:
                return set_value(*path[:depth], value={key: missing})(text)
            missing = {key: missing}
        raise EditImpossible(dotted(path))

    return edit


def append_item(*path: str, value: Json) -> Edit:
    """Return an edit that adds an item at the end of a sequence."""

    def edit(text: str) -> str:
        found = _existing(spans_of(text), path)
        if found.kind != "seq":
            raise EditImpossible(dotted(path))
        if not found.items:
            return f"{text[: found.start]}[{_flow(value)}]{text[found.end :]}"
        last = found.items[-1]
        if found.flow:
            return f"{text[: last.end]}, {_flow(value)}{text[last.end :]}"
        return _insert_lines(text, last.end, [f"{' ' * found.column}- {_flow(value, block=True)}"])

    return edit


def rename_key(*path: str, to: str) -> Edit:
    """Return an edit that gives a key another name."""

    def edit(text: str) -> str:
        key = _entry(spans_of(text), path).key
        return text[: key.start] + _flow(to) + text[key.end :]

    return edit


def remove_key(*path: str) -> Edit:
    """Return an edit that removes a key with its value and the comment behind it."""

    def edit(text: str) -> str:
        root = spans_of(text)
        parent, entry = _existing(root, path[:-1]), _entry(root, path)
        if len(parent.entries) == 1:
            if len(path) == 1:
                raise EditImpossible(dotted(path))
            return set_value(*path[:-1], value={})(text)
        if not parent.flow:
            start = text.rfind("\n", 0, entry.key.start) + 1
            if text[start : entry.key.start].strip():
                raise EditImpossible(dotted(path))
            return text[:start] + text[_line_end(text, entry.value.end) :].removeprefix("\n")
        place = parent.entries.index(entry)
        if place:
            before = parent.entries[place - 1].value.end
            return text[:before] + text[entry.value.end :]
        return text[: entry.key.start] + text[parent.entries[1].key.start :]

    return edit


def edited(text: bytes, file: str, edits: Sequence[Edit], value: Mapping[str, Json]) -> bytes:
    """Return a YAML file's bytes with edits.

    Args:
        text: The file's bytes.
        file: Its name in messages.
        edits: The edits, in order.
        value: The value of the whole file after the edits.

    Raises:
        EditImpossible: The edits would change something else, or a place cannot be edited alone.
    """
    marked = text.startswith(b"\xef\xbb\xbf")
    changed = text.decode("utf-8-sig")
    try:
        for edit in edits:
            changed = edit(changed)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise EditImpossible(next(iter(str(error).splitlines()), "it is unusual")) from None
    new = changed.encode("utf-8-sig" if marked else "utf-8")
    document, problems = parse_yaml(new, file)
    if document is None:
        raise EditImpossible(problems[0].message)
    if document.value != value:
        raise EditImpossible("an anchor, an alias or an unusual form is in the way")
    return new


def _existing(root: Span, path: Path) -> Span:
    found = root.find(path)
    if found is None or found.kind == "alias":
        raise EditImpossible(dotted(path))
    return found


def _entry(root: Span, path: tuple[str, ...]) -> Entry:
    entry = _existing(root, path[:-1]).entry(path[-1])
    if entry is None:
        raise EditImpossible(dotted(path))
    return entry


def _insert(
    text: str, parent: Span, key: str, value: Json, *, after: str | None, note: str = ""
) -> str:
    entry = parent.entry(after) if after is not None else None
    if entry is None and parent.entries:
        entry = parent.entries[-1]
    if parent.flow:
        written = f"{_flow(key)}: {_flow(value)}"
        if entry is None:
            return f"{text[: parent.start]}{{{written}}}{text[parent.end :]}"
        return f"{text[: entry.value.end]}, {written}{text[entry.value.end :]}"
    if entry is None:
        raise EditImpossible(key)
    lines = [*([f"# {note}"] if note else []), *_block(key, value)]
    indent = " " * parent.column
    return _insert_lines(text, entry.value.end, [indent + line for line in lines])


def _insert_lines(text: str, at: int, lines: Sequence[str]) -> str:
    """Return the text with new lines behind the line of a place."""
    ending = "\r\n" if "\r\n" in text else "\n"
    end = _line_end(text, at)
    # A last line without its end stays so.
    tail = "\r" if text[end - 1 : end] == "\r" else ""
    at = end - len(tail)
    return text[:at] + "".join(f"{ending}{line}" for line in lines) + text[at:]


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _block(key: str, value: Json) -> list[str]:
    """Return the lines of a key and its value as a block."""
    name = _flow(key)
    match value:
        case Mapping() if value:
            below = [line for one, item in value.items() for line in _block(one, item)]
            return [f"{name}:", *(" " * _INDENT + line for line in below)]
        case list() if value and all(isinstance(item, str) for item in value):
            short = f"{name}: {_flow(value)}"
            if not any(" " in str(item) for item in value):
                return [short]
            return [f"{name}:", *(f"{' ' * _INDENT}- {_flow(item, block=True)}" for item in value)]
        case _:
            return [f"{name}: {_flow(value, block=True)}"]


def _flow(value: Json, *, block: bool = False) -> str:
    """Return a value on one line.

    Args:
        value: The value.
        block: True if it stands alone, outside of brackets, where fewer texts need quotes.
    """
    match value:
        case Mapping():
            return "{" + ", ".join(f"{_flow(k)}: {_flow(v)}" for k, v in value.items()) + "}"
        case str():
            around = value if block else f"[{value}]"
            document, _ = parse_yaml(f"a: {around}\n".encode(), "")
            wanted = value if block else [value]
            plain = document is not None and document.value == {"a": wanted}
            return value if plain and value == value.strip() else _quoted(value)
        case float() | int() | bool() | None:
            return json.dumps(value)
        case _:
            return "[" + ", ".join(_flow(item) for item in value) + "]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
