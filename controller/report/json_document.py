"""A report as JSON, with every example of the evaluation. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from backends.contract.inspector import Json
from controller.report.model import IndexRow, Report

FORMAT: Final = 1
_PAIRS: Final = ("declared", "trained", "costs")
"""Lists of pairs, which programs read as objects."""


def report_json(report: Report, lines: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a report as the lines of one JSON document, an example a line at its end.

    Args:
        report: The report.
        lines: Lines of the evaluation file.
    """
    answers = report.answers
    # All examples follow in full, so the ones chosen for the page are left out.
    summary = replace(answers, groups=()) if answers else None
    value = asdict(replace(report, answers=summary))
    value |= {key: dict(value[key]) for key in _PAIRS}
    if value["answers"] is not None:
        del value["answers"]["groups"]
    head = json.dumps({"format": FORMAT, **value}, ensure_ascii=False, indent=2, default=str)
    yield _encoded(head.removesuffix("\n}") + ',\n  "examples": [')
    before = "\n"
    for line in lines if answers is not None else ():
        yield _encoded(f"{before}    {json.dumps(line, ensure_ascii=False)}")
        before = ",\n"
    yield b"\n  ]\n}\n"


def index_json(rows: Sequence[IndexRow], commit: str | None) -> bytes:
    """Return the list of all fine-tunes."""
    value: Json = {"format": FORMAT, "commit": commit, "finetunes": [asdict(row) for row in rows]}
    return _encoded(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def _encoded(text: str) -> bytes:
    """Return text as UTF-8; half of a surrogate pair, which UTF-8 lacks, is escaped as in JSON."""
    return text.encode("utf-8", errors="backslashreplace")
