"""How a command that failed says so: text on standard error, JSON on standard output."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from backends.contract.inspector import Json
from controller.errors import FtctlError, InvalidInput, Problem
from controller.failures import reported
from controller.render.text import escape_control
from controller.state_folder import MAKE_ROOM, is_full, not_written

STREAMING = frozenset({"apply", "evaluate", "logs", "reconcile", "wait"})
"""Commands whose JSON output is an object a line; so is what they report in the end."""


def explained(error: Exception, state: Path | None) -> FtctlError | None:
    """Return what a person reads of an error; None for a defect of ftctl.

    Args:
        error: What a command raised.
        state: The state folder; None where no repository was opened yet.
    """
    found = reported(error)
    if found is not None or not isinstance(error, OSError):
        return found
    if state is not None and isinstance(error.filename, str | Path):
        file = Path(error.filename)
        # Where it cannot be made, the error names the first folder on the way there.
        is_above = state.is_relative_to(file) and not file.exists()
        if file.is_relative_to(state) or is_above:
            return not_written(state, error)
    place = f"{error.filename}: " if error.filename else ""
    if is_full(error):
        # A write that fails names no file.
        place = place or (f"{state}, or where the command writes to: " if state else "")
        return FtctlError(f"{place}{error.strerror}", MAKE_ROOM)
    return FtctlError(f"{place}{error.strerror or error}")


def report(error: FtctlError, *, as_json: bool, one_line: bool) -> None:
    """Print an error.

    Args:
        error: What went wrong.
        as_json: Whether programs read it.
        one_line: Whether JSON is an object a line in this command.
    """
    if as_json:
        indent = None if one_line else 2
        click.echo(json.dumps(_value(error), ensure_ascii=False, indent=indent))
        return
    click.echo(escape_control(str(error)), err=True)
    if isinstance(error, InvalidInput):
        count = len(error.problems)
        files = len({problem.file for problem in error.problems})
        found = f"{count} problem{'' if count == 1 else 's'}"
        where = f"{files} file{'' if files == 1 else 's'}"
        click.echo(f"\n{found} in {where}. Nothing was done.", err=True)


def print_problem_count(problems: Sequence[Problem]) -> None:
    """Print how many problems the plan above lists, where other fine-tunes have none."""
    if problems:
        files = len({problem.file for problem in problems})
        found = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        where = f"{files} file{'' if files == 1 else 's'}"
        click.echo(f"\n{found} in {where}; the fine-tunes they concern are left alone.", err=True)


def _value(error: FtctlError) -> Json:
    problems = error.problems if isinstance(error, InvalidInput) else ()
    return {
        "error": error.message if not problems else "invalid input",
        "remedy": error.remedy,
        "problems": [
            {
                "file": problem.file,
                "line": problem.line,
                "row": problem.row,
                "field": problem.field,
                "message": problem.message,
                "remedy": problem.remedy,
            }
            for problem in problems
        ],
    }
