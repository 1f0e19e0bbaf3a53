"""Read sheets that people filled in, with every problem at once.

A sheet is a table with a line for each score: `answer_id`, `score`, and perhaps `rater` and
`comment`. Its other columns show people what they judge, and are not read.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from backends.excerpt import excerpt
from controller.canonical import digest
from controller.data.errors import DataError
from controller.data.readers import read_rows
from controller.data.sources.inspect_file import inspect_file
from controller.data.sources.locate import find_files
from controller.data.sources.source_file import LocatedFile, SourceFile, SourceLabel
from controller.errors import Problem
from controller.evaluate.opinions.answer_ids import ANSWER_ID
from controller.spec.data import FileFormat, Source

ID: Final = "answer_id"
RATER: Final = "rater"
SCORE: Final = "score"
COMMENT: Final = "comment"
FORMATS: Final[tuple[FileFormat, ...]] = ("csv", "tsv", "jsonl", "excel")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_NEEDED: Final = (ID, SCORE)
_NOT_A_SHEET: Final = "Name a new file, or a sheet that `ftctl evaluate NAME --sheet FILE` wrote."


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """One line of a sheet."""

    place: str
    """`file:line`."""
    answer_id: str
    rater: str
    score: float | None
    """None for a line that nobody filled in yet."""
    values: Mapping[str, Any]
    """The line as it was read."""

    @property
    def is_filled(self) -> bool:
        """True if a person wrote something in it."""
        return any(_text(self.values.get(key)).strip() for key in (RATER, SCORE, COMMENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetScores:
    """The lines of one or more sheets."""

    rows: Sequence[SheetRow] = ()

    @property
    def scores(self) -> dict[str, list[float]]:
        """Scores of each answer that has some, by its ID."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            if row.score is not None:
                found.setdefault(row.answer_id, []).append(row.score)
        return found

    @property
    def digest(self) -> str | None:
        """Digest of the scores and who gave them; None without a score. Comments do not count."""
        given = sorted(
            (one.answer_id, one.rater, one.score) for one in self.rows if one.score is not None
        )
        return digest(given) if given else None


def find_sheets(written: str, *, folder: Path, root: Path, state: Path) -> list[LocatedFile]:
    """Return the files of a sheet; none if there are none yet.

    Args:
        written: Path or glob in the spec.
        folder: The spec's folder.
        root: The repository, which no path may leave.
        state: The state folder.

    Raises:
        DataError: The path may not or cannot be read.
    """
    try:
        if not any(folder.glob(written)):
            return []
    except (NotImplementedError, ValueError):
        pass  # an absolute path, or no path at all: refused below
    return find_files(Source(path=written), folder=folder, root=root, state=state)


def read_sheets(
    files: Iterable[LocatedFile], scale: tuple[float, float] | None = None
) -> tuple[SheetScores, list[Problem]]:
    """Read sheets.

    Args:
        files: The files.
        scale: Lowest and highest score; None if they are not known.

    Returns:
        The lines that can be used, and every problem of the others.
    """
    problems: list[Problem] = []
    rows: list[SheetRow] = []
    for file in files:
        found, wrong = _read(file, scale)
        rows += found
        problems += wrong
    problems += _repeated(rows)
    return SheetScores(rows=rows), problems


def format_of(path: PurePath) -> FileFormat | None:
    """Return the format of a sheet by its ending; None if a sheet cannot have it."""
    by_ending: dict[str, FileFormat] = {
        ".csv": "csv",
        ".tsv": "tsv",
        ".jsonl": "jsonl",
        ".xlsx": "excel",
    }
    return by_ending.get(path.suffix.lower())


def plain(cell: str) -> str:
    """Return a cell without the mark that keeps a spreadsheet from taking it for a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _read(
    file: LocatedFile, scale: tuple[float, float] | None
) -> tuple[list[SheetRow], list[Problem]]:
    name = file.display_path
    if file.format not in FORMATS:
        message = f"a sheet is one of {', '.join(FORMATS)}, not {file.format}"
        return [], [Problem(file=name, message=message, remedy=_NOT_A_SHEET)]
    try:
        info = inspect_file(file.path, file_format=file.format)
    except DataError as error:
        return [], [error.problem(file=name)]
    except OSError as error:
        return [], [Problem(file=name, message=f"cannot be read: {error.strerror}")]
    source = Source(path=name, quote="double") if file.format == "csv" else Source(path=name)
    opened = SourceFile(
        path=file.path, display_path=name, format=file.format, info=info, source=source
    )
    rows: list[SheetRow] = []
    problems: list[Problem] = []
    for line, row in read_rows(opened):
        if isinstance(row, DataError):
            at = None if row.whole or row.line is not None else line
            problems.append(row.problem(file=name, line=at))
            continue
        lacking = [key for key in _NEEDED if key not in row]
        if lacking:
            message = f"has no column {' and no column '.join(lacking)}"
            at = None if opened.is_table else line
            problems.append(Problem(file=name, line=at, message=message, remedy=_NOT_A_SHEET))
            if not rows:
                break  # another file than a sheet, of which no line needs a message of its own
            continue
        found = _row(row, opened.label, line, scale)
        if isinstance(found, SheetRow):
            rows.append(found)
        else:
            problems.append(
                Problem(file=name, line=line, field=found[0], message=found[1], remedy=found[2])
            )
    return rows, problems


def _row(
    row: Mapping[str, Any], label: SourceLabel, line: int, scale: tuple[float, float] | None
) -> SheetRow | tuple[str, str, str]:
    """Return a line, or the field, the problem and the remedy."""
    named = _text(row[ID]).strip()
    if not ANSWER_ID.fullmatch(named):
        remedy = "Leave the column as it was written, or remove the line."
        return ID, f"{excerpt(named)} is not the ID of an answer", remedy
    text = plain(_text(row[SCORE])).strip()
    score: float | None = None
    if text:
        span = "a number" if scale is None else f"a number from {scale[0]:g} to {scale[1]:g}"
        try:
            # Python would read 1_0, a slip for 1.0, as ten.
            score = float(text.replace("_", "?"))
        except ValueError:
            return SCORE, f"{excerpt(text)} is not a number", f"Write {span}, or leave it empty."
        is_wrong = not math.isfinite(score)
        if is_wrong or (scale is not None and not scale[0] <= score <= scale[1]):
            return SCORE, f"{text} is not on the scale", f"Write {span}, or leave it empty."
    rater = plain(str(row.get(RATER) or "")).strip()
    place = label.of_row(line)
    return SheetRow(place=place, answer_id=named, rater=rater, score=score, values=dict(row))


def _text(cell: object) -> str:
    """Return a cell as text; a 0 is something that a person wrote."""
    return "" if cell is None else str(cell)


def _repeated(rows: Iterable[SheetRow]) -> Iterable[Problem]:
    """Yield a problem for each second score that one rater gave to an answer."""
    first: dict[tuple[str, str], SheetRow] = {}
    for row in rows:
        if row.score is None:
            continue
        earlier = first.setdefault((row.answer_id, row.rater), row)
        if earlier is row:
            continue
        who = f"rater {excerpt(row.rater)}" if row.rater else "one rater without a name"
        file, _, line = row.place.rpartition(":")
        yield Problem(
            file=file,
            line=int(line),
            message=f"{who} scored answer {row.answer_id} twice, first in {earlier.place}",
            remedy="Remove one of the lines, or write who scored it in `rater`.",
        )
