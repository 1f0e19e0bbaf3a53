"""Write the sheet in which people score answers, without saying whose they are.

A line for each different answer to each held-out example. The answers to one question stand
together, in an order drawn by seed. What people wrote in an earlier sheet is kept.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from controller.canonical import digest
from controller.evaluate.opinions.answer_ids import answer_ids
from controller.evaluate.opinions.read_sheet import (
    COMMENT,
    ID,
    RATER,
    SCORE,
    SheetRow,
    SheetScores,
    harmless,
    plain,
)
from controller.evaluate.opinions.shown import answer_text, question_text, reference_text

COLUMNS: Final = (ID, "question", "reference", "answer", RATER, SCORE, COMMENT)
_MARK: Final = "\ufeff"
"""Mark by which Excel recognises UTF-8."""

Cells = Mapping[str, Any]


def sheet_rows(
    lines: Iterable[Mapping[str, Any]], seed: str, earlier: SheetScores
) -> Iterator[Cells]:
    """Yield the lines of a sheet.

    Args:
        lines: Lines of an evaluation's file.
        seed: Seeds the order of the answers to one question.
        earlier: The sheet that is replaced. Lines that people filled in stay, those for answers of
            other models at the end.
    """
    filled: dict[str, list[SheetRow]] = {}
    for row in earlier.rows:
        if row.is_filled:
            filled.setdefault(row.answer_id, []).append(row)
    seen: set[str] = set()
    for line in lines:
        by_id = {one: role for role, one in answer_ids(line).items()}
        for one in sorted(by_id.keys() - seen, key=lambda found: digest([seed, found])):
            seen.add(one)
            shown = {
                ID: one,
                "question": question_text(line["messages"]),
                "reference": reference_text(line),
                "answer": answer_text(line, by_id[one]),
            }
            blank = {RATER: "", SCORE: None, COMMENT: ""}
            kept = filled.pop(one, [])
            yield from (_kept(row) | shown for row in kept)
            if not kept:
                yield {**shown, **blank}
    for rows in filled.values():
        yield from map(_kept, rows)


def csv_lines(rows: Iterable[Cells], extra: Sequence[str] = ()) -> Iterator[bytes]:
    """Yield the lines of a CSV that Excel opens as it is; no cell is taken for a formula.

    Args:
        rows: The lines.
        extra: Columns that people added.
    """
    buffer = io.StringIO(newline="")
    columns = [*COLUMNS, *extra]
    writer = csv.writer(buffer)
    buffer.write(_MARK)
    writer.writerow([harmless(name) for name in columns])
    for row in rows:
        yield _taken(buffer)
        writer.writerow([_cell(row.get(name)) for name in columns])
    yield _taken(buffer)


def jsonl_lines(rows: Iterable[Cells]) -> Iterator[bytes]:
    """Yield the lines of a JSONL."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False).encode(errors="replace") + b"\n"


def extra_columns(sheet: SheetScores) -> list[str]:
    """Return the columns that people added to a sheet."""
    names = dict.fromkeys(name for row in sheet.rows for name in row.values)
    return [name for name in names if name and name not in COLUMNS]


def _kept(row: SheetRow) -> dict[str, Any]:
    """Return a line that people filled in, as they wrote it."""
    values = {
        name: plain(value) if isinstance(value, str) else value
        for name, value in row.values.items()
        if name
    }
    score = row.score
    return {name: values.get(name, "") for name in COLUMNS} | values | {SCORE: _number(score)}


def _number(score: float | None) -> float | int | None:
    return int(score) if score is not None and score.is_integer() else score


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, bool | int | float):
        return value
    return harmless(json.dumps(value, ensure_ascii=False))


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode(errors="replace")
