"""`ftctl export`."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import click

from backends.atomic_files import write_atomic_lines
from backends.did_you_mean import did_you_mean, use_one_of
from controller.cli.common import json_option, not_evaluated, print_result, recorded_of
from controller.errors import FtctlError
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from controller.export.evaluated import Evaluated
from controller.export.inspect_log import inspect_lines
from controller.export.promptfoo import promptfoo_lines
from controller.lockfile.model import Entry
from controller.project.project import Project
from controller.spec.load import read_specs

_OPEN: Final = {
    "promptfoo": "promptfoo import {file}",
    "inspect": "inspect view start --log-dir {folder}",
}


_KEYS: Final = frozenset({"id", "origin", "columns", "messages", "answers", "values"})


@click.command("export")
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_OPEN)),
    required=True,
    help="Tool whose log to write.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write; replaced if it exists.",
)
@click.option(
    "--model",
    "role",
    help="Write this model's answers only: candidate, base, … "
    "[default: all for promptfoo, the candidate for inspect, whose logs hold one]",
)
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, form: str, out: Path, role: str | None) -> None:
    """Write a fine-tune's answers and scores as a log of promptfoo or inspect.

    It is about the candidate, or else about the build in production. No model is asked. The file
    holds questions and answers of the held-out set.
    """
    project, name, entry = recorded_of(ctx, name)
    evaluated = _evaluated(project, name, entry)
    roles = list(evaluated.evaluation.scores)
    if role is not None and role not in roles:
        remedy = did_you_mean(role, roles) or use_one_of(roles)
        raise FtctlError(f"no model of this evaluation is called {role!r}", remedy)
    lines = (
        promptfoo_lines(evaluated, role)
        if form == "promptfoo"
        else inspect_lines(evaluated, role or CANDIDATE)
    )
    path = out.resolve()
    write_atomic_lines(path, lines)
    specs, _ = read_specs(project.root)
    if name in specs and specs[name].spec.data.is_private:
        click.echo(f"! {name}: its data is declared private, and the file holds examples", err=True)
    opening = _OPEN[form].format(file=out, folder=out.parent)
    print_result(ctx, {"file": str(path)}, f"Wrote {out}. Open it: {opening}")


def _evaluated(project: Project, name: str, entry: Entry) -> Evaluated:
    """Return the evaluation to write.

    Raises:
        FtctlError: There is no evaluation, or its answers are not on this machine.
    """
    build = entry.builds.get(entry.candidate or entry.production or "")
    path = evaluation_path_of(project.state, build) if build is not None else None
    if build is None or build.evaluation is None or path is None:
        raise not_evaluated(name, entry)
    if not path.is_file():
        message = f"{path}: does not exist: the answers are not on this machine"
        raise FtctlError(message, f"Type `ftctl evaluate {name}`, or copy the file.")
    lines = _reader(path)
    if not list(islice(lines(), 1)):
        message = f"{path}: has no answers: plain texts are not answered"
        raise FtctlError(message, f"Read its scores: `ftctl show {name}`.")
    return Evaluated(name=name, build=build, evaluation=build.evaluation, lines=lines)


def _reader(path: Path) -> Callable[[], Iterator[dict[str, object]]]:
    def read() -> Iterator[dict[str, object]]:
        try:
            for line in read_evaluation_file(path):
                _ = [line[key] for key in _KEYS]
                yield line
        except (ValueError, KeyError, TypeError):
            message = f"{path}: is damaged: a line is not an answered example"
            raise FtctlError(message, "Delete it, and type `ftctl evaluate`.") from None

    return read
