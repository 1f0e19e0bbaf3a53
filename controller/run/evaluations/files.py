"""Files that people work on, made of a recorded evaluation: sheets to score, misses to correct.

Only the lockfile, the spec and the file of the evaluation are read. Nobody is asked, nothing is
recorded, and no lock is needed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backends.atomic_files import write_atomic_lines
from controller.data.sources.source_file import LocatedFile
from controller.errors import FtctlError, InvalidInput
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from controller.evaluate.opinions.misses import (
    deciding_metric,
    is_corrected,
    is_miss,
    merged,
    miss_line,
    miss_of,
    missed,
)
from controller.evaluate.opinions.read_sheet import SheetScores, format_of, read_sheets
from controller.evaluate.opinions.write_sheet import (
    csv_lines,
    extra_columns,
    jsonl_lines,
    sheet_rows,
)
from controller.lockfile.model import Build, Entry
from controller.plan.fingerprint import short_id
from controller.project.project import Project
from controller.spec.load import LoadedSpec, read_specs

_WRITTEN: Final = ("csv", "jsonl")
_ANOTHER: Final = "Name another file, or remove this one."


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """A file that was written."""

    path: str
    """As it was typed."""
    lines: int
    kept: int
    """Lines that people had filled in, which stay."""
    metric: str = ""
    """For misses: the metric that calls their answers wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvaluation:
    """Files that one evaluation of a fine-tune left on this machine."""

    name: str
    spec: LoadedSpec
    build: Build
    path: Path

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the held-out examples with answers and values.

        Raises:
            FtctlError: The file is damaged.
        """
        try:
            yield from read_evaluation_file(self.path)
        except (ValueError, RecursionError):
            message = f"{self.path}: is damaged: a line is not JSON"
            raise FtctlError(message, f"Write it again: ftctl evaluate {self.name}") from None


def recorded_evaluation(name: str, entry: Entry, project: Project) -> RecordedEvaluation:
    """Return the evaluation of a fine-tune's candidate, or else of its production build.

    Raises:
        InvalidInput: The spec has problems.
        FtctlError: There is no spec, or no evaluation on this machine.
    """
    specs, problems = read_specs(project.root)
    if name in problems:
        raise InvalidInput(problems[name])
    if name not in specs:
        raise FtctlError(f"no spec is called {name!r}", "Restore its file.")
    build = entry.builds.get(entry.candidate or entry.production or "")
    path = None if build is None else evaluation_path_of(project.state, build)
    if build is None or path is None:
        raise FtctlError(f"{name} has no evaluated model yet", "Type `ftctl apply`.")
    if not path.exists():
        message = f"the answers of build {short_id(build.fingerprint)} are not on this machine"
        raise FtctlError(message, f"Type `ftctl evaluate {name}`, which measures it here.")
    return RecordedEvaluation(name=name, spec=specs[name], build=build, path=path)


def write_sheet(evaluation: RecordedEvaluation, file: str) -> WrittenFile:
    """Write the sheet in which people score the answers of an evaluation, blind.

    What people filled in in an existing sheet stays.

    Args:
        evaluation: The evaluation.
        file: Path of a .csv or .jsonl.

    Raises:
        InvalidInput: The existing sheet has problems.
        FtctlError: The path has another ending, or the existing file is not a sheet.
    """
    path = Path(file)
    file_format = format_of(path)
    if file_format not in _WRITTEN:
        raise FtctlError(f"{file}: a sheet ends in .csv or .jsonl", "Name such a file.")
    earlier = SheetScores()
    if _has_content(path, file):
        located = LocatedFile(path=path, display_path=file, format=file_format)
        earlier, problems = read_sheets([located])
        if problems:
            raise InvalidInput(problems)
    recorded = evaluation.build.evaluation
    seed = recorded.fingerprint if recorded is not None else ""
    count = _Count()
    rows = count.of(sheet_rows(evaluation.lines(), seed, earlier))
    is_csv = file_format == "csv"
    write_atomic_lines(
        path, csv_lines(rows, extra_columns(earlier)) if is_csv else jsonl_lines(rows)
    )
    kept = sum(row.is_filled for row in earlier.rows)
    return WrittenFile(path=file, lines=count.number, kept=kept)


def write_misses(evaluation: RecordedEvaluation, file: str) -> WrittenFile:
    """Write the examples that the model failed as training data, the answers to be corrected.

    Misses in an existing file that a person corrected stay.

    Args:
        evaluation: The evaluation.
        file: Path of a .jsonl.

    Raises:
        FtctlError: The path has another ending, the existing file holds something else, or no
            metric tells which answers are wrong.
    """
    path = Path(file)
    if path.suffix.lower() != ".jsonl":
        raise FtctlError(f"{file}: misses are written as .jsonl", "Name such a file.")
    spec = evaluation.spec.spec
    metric = deciding_metric(spec.gate, spec.evaluation.metrics)
    if metric is None:
        message = f"no metric of {evaluation.name} tells which answers are wrong"
        remedy = (
            "Add one to evaluation.metrics, such as exact_match, then type: "
            f"ftctl evaluate {evaluation.name}"
        )
        raise FtctlError(message, remedy)
    recorded = evaluation.build.evaluation
    if recorded is None or metric not in recorded.scores[CANDIDATE]:
        message = f"{metric} was not measured in this evaluation"
        raise FtctlError(message, f"Type `ftctl evaluate {evaluation.name}`.")
    earlier = list(_earlier_misses(path, file))
    failed = (miss_of(line) for line in evaluation.lines() if missed(line, metric))
    count = _Count()
    write_atomic_lines(path, map(miss_line, count.of(merged(failed, earlier))))
    kept = sum(map(is_corrected, earlier))
    return WrittenFile(path=file, lines=count.number, kept=kept, metric=metric)


class _Count:
    """Number of lines that went by."""

    def __init__(self) -> None:
        self.number = 0

    def of(self, rows: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for row in rows:
            self.number += 1
            yield row


def _has_content(path: Path, file: str) -> bool:
    """Return True if a file is there that has content.

    Raises:
        FtctlError: It is not a plain file.
    """
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise FtctlError(f"{file}: is not a file", "Name a file.")
    return path.exists() and path.stat().st_size > 0


def _earlier_misses(path: Path, file: str) -> Iterator[dict[str, Any]]:
    if not _has_content(path, file):
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
    except (ValueError, RecursionError):
        rows = [None]
    if not all(map(is_miss, rows)):
        message = f"{file}: holds something else than misses, so nothing was written"
        raise FtctlError(message, _ANOTHER)
    yield from rows
