"""How a command that failed says so: text on standard error, JSON on standard output."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from backends.contract.inspector import Json
from controller.errors import FtctlError, InvalidInput, Problem
from controller.render.text import escape_control
from controller.state_folder import refused_by_system

STREAMING = frozenset({"apply", "evaluate", "logs", "reconcile", "wait"})
"""Commands whose JSON output is an object a line; so is what they report in the end."""


def explained(error: Exception, state: Path | None) -> FtctlError | None:
    """Return what a person reads of an error; None for a defect of ftctl.

    Args:
        error: What a command raised.
        state: The state folder; None where no repository was opened yet.
    """
    if isinstance(error, FtctlError):
        return error
    return refused_by_system(error, state) if isinstance(error, OSError) else None


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
    found = error.problem()
    return {
        "error": found.message if not problems else "invalid input",
        "remedy": found.remedy,
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
