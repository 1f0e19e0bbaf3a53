"""Checking a training file line by line and writing it as the backend takes it: canonical JSONL.

The shapes and checks are those of the data package. The bytes written are the ones that the same
examples have in a spec's dataset, so that the same data has the same digest everywhere. Memory does
not grow with the file.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from controller.data.errors import Unusable
from controller.data.examples.example import spell
from controller.data.examples.row_formats import converter
from controller.data.pipeline.problems import Problems
from controller.data.readers import read_rows
from controller.data.sources.inspect_file import look_at
from controller.data.sources.source_file import CHUNK, Called, SourceFile
from controller.data.transforms.normalise import check, normalise
from controller.errors import FtctlError, Problem
from controller.spec.data import Source

MIN_EXAMPLES = 10
"""The hosted service refuses fewer, and a model learns nothing from them anywhere."""
MAX_LINE = 16 << 20
"""Bytes of one example; a file without line ends would have to be held whole otherwise."""


class FileInvalid(FtctlError):
    """A training file cannot be trained on; the message has the line numbers.

    Attributes:
        code: `invalid_n_examples`, or None for a file whose lines are wrong.
    """

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A file that can be trained on."""

    sha256: str
    """Of the canonical bytes."""
    examples: int


def check_file(source: Path, target: Path, *, file_id: str, least: int) -> Checked:
    """Check a file and write its canonical form.

    Args:
        source: The file as it was uploaded.
        target: The canonical form; beside it `<stem>.origins`, one `file_id:line` an example.
        file_id: What the client calls the file.
        least: How many examples it must have.

    Raises:
        FileInvalid: With what is wrong in which line.
    """
    try:
        _check_lines(source)
        look = look_at(source, target.parent / "looks", kind="jsonl")
    except Unusable as error:
        place = "" if error.line is None else f"line {error.line}: "
        raise FileInvalid(f"{_BEGIN} {place}{error.message}. {error.remedy}".strip()) from None
    rows = SourceFile(
        path=source, shown=file_id, kind="jsonl", look=look, source=Source(path=file_id)
    )
    convert = converter(None, "chat")
    problems = Problems(Called(file_id))
    sha256, examples = hashlib.sha256(), 0
    with target.open("wb") as out, target.with_suffix(".origins").open("wb") as origins:
        for line, row in read_rows(rows):
            try:
                if isinstance(row, Unusable):
                    raise row
                example = normalise(convert(row))
                check(example)
                text = spell(example)[0]
            except Unusable as error:
                problems.add(line, error)
                continue
            except (ValueError, RecursionError):
                problems.add(line, _NOT_SPELT)
                continue
            sha256.update(text)
            out.write(text)
            origins.write(f"{file_id}:{line}\n".encode())
            examples += 1
    found = problems.all()
    if found:
        raise FileInvalid("\n".join([_BEGIN, *map(_spelt, found)]))
    if examples < least:
        message = f"The file has {examples} example(s), but must have at least {least} examples."
        raise FileInvalid(message, "invalid_n_examples")
    return Checked(sha256=sha256.hexdigest(), examples=examples)


_BEGIN = "The job failed due to an invalid file. Invalid file format."
_NOT_SPELT = Unusable("a number is not finite, or a value is nested too deeply")


def _spelt(problem: Problem) -> str:
    remedy = f" {problem.remedy}" if problem.remedy else ""
    return f"Line {problem.line}: {problem.message}.{remedy}"


def _check_lines(source: Path) -> None:
    length, line = 0, 1
    with source.open("rb") as file:
        while chunk := file.read(CHUNK):
            ends = chunk.count(b"\n")
            length = length + len(chunk) if not ends else len(chunk) - chunk.rindex(b"\n")
            line += ends
            if length > MAX_LINE:
                raise Unusable(
                    f"longer than {MAX_LINE:,} bytes", "Write one example a line.", line=line
                )
