"""YAML text → plain values with the line of every key. YAML 1.2 core, nothing more.

PyYAML reads YAML 1.1: there `1e-4` is text, `no` is false, `012` is ten and the last of two equal
keys wins. Its parser is kept and its reading of scalars replaced. Never builds objects.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import yaml
from typing_extensions import override

from backends.excerpt import clipped, dotted, excerpt, printable
from controller.errors import Problem

VERSION = 2
"""Of what a file's bytes are read as. Another one makes every remembered value worthless."""
MAX_BYTES = 1 << 20
"""A spec is a page, not a book; the limit keeps a hostile file from costing anything."""
MAX_DEPTH = 40
MAX_NODES = 50_000
"""Counted after aliases are followed, so that a few lines cannot become a billion values."""

MOST_PROBLEMS = 100
"""Maximum number of problems to report for one file; a file with more is of another kind."""

Path = tuple[str | int, ...]

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN)$"
)
_CORE = "tag:yaml.org,2002:"
_TEXT = _CORE + "str"
_MERGE = "<<"
_NO_MERGE = ("merges keys in YAML 1.1; YAML 1.2 has no merging", "Write the keys out.")
_TOO_MUCH = "is nested too deeply or expands to too much"
_KEY_SHOWN = 80
_WIDTH = 100
"""Columns after which a written text continues on the next line."""
_TAG_SHOWN = 40


class _CoreLoader(
    yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # type: ignore[misc]
):
    """The safe loader's parser with the scalar rules of YAML 1.2 core."""

    # By first character, so that no pattern is tried on what can only be text.
    yaml_implicit_resolvers: ClassVar[dict[str | None, list[tuple[str, re.Pattern[str]]]]] = {
        **{first: [(_CORE + "null", _NULL)] for first in ["", *"~nN"]},
        **{first: [(_CORE + "bool", _BOOL)] for first in "tTfF"},
        **{first: [(_CORE + "int", _INT), (_CORE + "float", _FLOAT)] for first in "-+.0123456789"},
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def descend_resolver(self, current_node: yaml.Node | None, current_index: object) -> None:
        """Called before each node. libyaml recurses in C: too deep, and the process is gone."""
        del current_index
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            line = 1 if current_node is None else current_node.start_mark.line + 1
            raise _Refused(line, "", _TOO_MUCH)

    def ascend_resolver(self) -> None:
        """Called after each node."""
        self._depth -= 1


class _CoreDumper(yaml.SafeDumper):
    """The safe dumper, which also quotes texts that YAML 1.2 reads as something else."""

    @override
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent the items of a list below its key."""
        del indentless
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        """Write equal values out, each in its place."""
        del data
        return True


for _kind, _pattern, _first in (
    ("null", _NULL, ["", *"~nN"]),
    ("bool", _BOOL, [*"tTfF"]),
    ("int", _INT, [*"-+0123456789"]),
    ("float", _FLOAT, [*"-+.0123456789"]),
):
    # The first call copies the lists of the base class, so no other dumper changes.
    _CoreDumper.add_implicit_resolver(_CORE + _kind, _pattern, _first)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed file."""

    value: object
    text: bytes
    """The file's bytes."""

    @cached_property
    def lines(self) -> dict[Path, int]:
        """Line of every key and list item, by its path; lines count from 1.

        The file is parsed again for them, since nothing but a problem needs any.
        """
        reader, node = _Reader(), _compose(self.text)
        if node is not None:
            reader.build(node, ())
        return reader.lines

    def line(self, path: Path) -> int | None:
        """Return the line of a path, or of the nearest thing around it that has one."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


class _Refused(Exception):
    """A problem that ends the reading: its line, field, message and, if there is one, remedy."""


def parse_yaml(text: bytes, file: str) -> tuple[Document | None, list[Problem]]:
    """Read one file.

    Args:
        text: The file's bytes.
        file: Its name as people know it.

    Returns:
        The document, or None with the problems that kept it from being read.
    """
    if len(text) > MAX_BYTES:
        message = f"is {len(text):,} bytes long; at most {MAX_BYTES:,} are read"
        remedy = "Move data into files of its own."
        return None, [Problem(file=file, message=message, remedy=remedy)]
    reader = _Reader()
    try:
        node = _compose(text)
        value = None if node is None else reader.build(node, ())
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        return None, [_problem(file, line, "", "is not UTF-8", "Save the file as UTF-8.")]
    except _Refused as refused:
        return None, [_problem(file, *refused.args)]
    except yaml.MarkedYAMLError as error:
        return None, [_syntax_problem(file, error, text)]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return None, [Problem(file=file, message=f"is not YAML: {error}".splitlines()[0])]
    problems = [_problem(file, *found) for found in reader.problems[:MOST_PROBLEMS]]
    problems += more_problems(len(reader.problems) - MOST_PROBLEMS, file)
    if value is None and not problems:
        remedy = (
            "Write a spec into it (`ftctl init --help` shows how to get an example), or delete it."
        )
        return None, [Problem(file=file, message="is empty", remedy=remedy)]
    return (None if problems else Document(value=value, text=text)), problems


def dump_yaml(value: object) -> str:
    """Return YAML text that `parse_yaml` reads as the same plain value.

    Texts that YAML 1.1 or YAML 1.2 would read as something else are quoted.
    """
    text: str = yaml.dump(
        value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=_WIDTH
    )
    return text


def more_problems(count: int, file: str) -> list[Problem]:
    """Return a problem with the count of a file's problems that are not shown, if any."""
    if count <= 0:
        return []
    message = f"has {count:,} more problem{'' if count == 1 else 's'}"
    return [Problem(file=file, message=message, remedy="Fix the others first.")]


def _compose(text: bytes) -> yaml.Node | None:
    return yaml.compose(text.decode("utf-8-sig"), Loader=_CoreLoader)


class _Reader:
    """Turns nodes into values, remembering lines and collecting duplicate keys."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[tuple[int, str, str, str]] = []
        self._nodes = 0

    def build(self, node: yaml.Node, path: Path) -> object:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._nodes += 1
        if len(path) > MAX_DEPTH or self._nodes > MAX_NODES:
            raise _Refused(line, dotted(path), _TOO_MUCH)
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, path, "map")
            return dict(self._items(node, path))
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "seq")
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _items(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, object]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._scalar(key_node, path) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise _Refused(line, dotted(path), "has a key that is not text", _quote(key_node))
            if key == _MERGE and not key_node.style:
                self.problems.append((line, dotted((*path, key)), *_NO_MERGE))
                continue
            self.lines[(*path, key)] = line
            if key in seen:
                message = f"is given twice, first in line {seen[key]}"
                self.problems.append((line, dotted((*path, key)), message, "Keep one of the two."))
            seen[key] = line
            yield key, self.build(value_node, (*path, key))

    def _tag(self, node: yaml.Node, path: Path) -> _Refused:
        message = f"has the tag {excerpt(node.tag, _TAG_SHOWN)}; only plain YAML is read"
        return _Refused(node.start_mark.line + 1, dotted(path), message, "Remove the tag.")

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        tag: str = node.tag
        if tag == _TEXT:
            return str(node.value)
        text, kind = str(node.value), tag.removeprefix(_CORE)
        line = node.start_mark.line + 1
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            if kind == "int":
                # Python refuses to read a decimal number that it would not write.
                return int(str(int(text, 0)) if text[:2] in {"0o", "0x"} else text)
            if kind == "float":
                return float(text.replace(".inf", "inf").replace(".nan", "nan").replace(".I", "I"))
        except ValueError:
            raise _Refused(line, dotted(path), f"cannot be read: {excerpt(text, 40)}") from None
        raise self._tag(node, path)

    def _check_tag(self, node: yaml.Node, path: Path, kind: str) -> None:
        if node.tag != _CORE + kind:
            raise self._tag(node, path)


def _quote(key: yaml.Node) -> str:
    """Return the quoted form of a key that was parsed as a number, true, false or null."""
    if not isinstance(key, yaml.ScalarNode) or not key.value or not key.tag.startswith(_CORE):
        return "Write a text as the key."
    return f'Quote it: "{clipped(printable(key.value), _KEY_SHOWN)}"'


def _problem(file: str, line: int, field: str, message: str, remedy: str = "") -> Problem:
    return Problem(file=file, line=line, field=field, message=message, remedy=remedy)


def _syntax_problem(file: str, error: yaml.MarkedYAMLError, text: bytes) -> Problem:
    mark = error.problem_mark or error.context_mark
    message = f"is not YAML: {error.problem or error.context}"
    remedy = ""
    lines = text.split(b"\n")
    at = lines[mark.line] if mark and mark.line < len(lines) else b""
    if "cannot start any token" in str(error.problem) and at.lstrip(b" ").startswith(b"\t"):
        message, remedy = "is not YAML: a tab is no indentation", "Indent with blanks, not tabs."
    elif "mapping values" in str(error.problem):
        remedy = "Quote a text that contains `: `, and check the indentation."
    return Problem(file=file, line=mark.line + 1 if mark else None, message=message, remedy=remedy)
