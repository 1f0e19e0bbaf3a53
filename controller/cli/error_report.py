"""Report of a failed command: text on standard error, JSON on standard output."""

import json
from collections.abc import Sequence
from dataclasses import asdict
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


def print_error(error: FtctlError, *, as_json: bool, one_line: bool) -> None:
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
        click.echo(f"\n{_count(error.problems)}. Nothing was done.", err=True)


def print_problem_count(problems: Sequence[Problem]) -> None:
    """Print how many problems the plan above lists, where other fine-tunes have none."""
    if problems:
        left = "the fine-tunes they concern are left alone"
        click.echo(f"\n{_count(problems)}; {left}.", err=True)


def _count(problems: Sequence[Problem]) -> str:
    """Return how many problems there are, in how many files."""
    files = len({problem.file for problem in problems})
    found = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    return f"{found} in {files} file{'' if files == 1 else 's'}"


def _value(error: FtctlError) -> Json:
    problems = error.problems if isinstance(error, InvalidInput) else ()
    found = error.problem()
    return {
        "error": found.message if not problems else "invalid input",
        "remedy": found.remedy,
        "problems": [asdict(problem) for problem in problems],
    }
