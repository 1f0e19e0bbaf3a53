"""`ftctl export`."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import click

from backends.atomic_files import write_atomic, write_atomic_lines
from backends.contract.exports import FORMATS
from backends.did_you_mean import did_you_mean, use_one_of
from controller.cli.common import backend_for, json_option, not_evaluated, print_result, recorded_of
from controller.cli.export_weights import Weights, export_weights
from controller.errors import FtctlError
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from controller.export.evaluated import Evaluated
from controller.export.inspect_log import inspect_lines
from controller.export.job_files import KINDS
from controller.export.promptfoo import promptfoo_lines
from controller.lockfile.model import Entry
from controller.project.project import Project
from controller.report.lines import checked
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
    type=click.Choice([*_OPEN, *FORMATS]),
    help="Log of a tool (promptfoo, inspect), or weights.",
)
@click.option(
    "--job",
    "kind",
    type=click.Choice([*KINDS]),
    help="File by which this engine starts the open job, on a machine with `launcher: manual`.",
)
@click.option(
    "--out",
    "--to",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    help="File of a log, or folder of weights or of a job's file; an earlier one is replaced.",
)
@click.option(
    "--model",
    "role",
    help="Write this model's answers only: candidate, base, … "
    "[default: all for promptfoo, the candidate for inspect, whose logs hold one]",
)
@click.option("--build", help="Export the weights of this build.  [default: in production]")
@click.option("--push-to", metavar="ORG/NAME", help="Upload the weights to the hub too.")
@click.option("--public", is_flag=True, help="Make a new repository at the hub public.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    *,
    form: str | None,
    kind: str | None,
    out: Path,
    role: str | None,
    build: str | None,
    push_to: str | None,
    public: bool,
) -> None:
    """Write a fine-tune's weights for other programs, its answers as a log, or a file of its job.

    Weights (adapter, merged, vllm, gguf, ollama) are those in production. They are loaded by the
    program that they are for, and must give the same greedy answers. See `ftctl help export`.

    Logs (promptfoo, inspect) hold questions and answers of the held-out set, of the candidate or
    else of the build in production. No model is asked.

    A job's file (skypilot, trainjob, compose) starts the worker that `ftctl apply` has placed; the
    next `reconcile` finds what it does. See `ftctl help machines`.
    """
    project, name, entry = recorded_of(ctx, name)
    given = {"--model": role, "--build": build, "--push-to": push_to, "--public": public or None}
    if (form is None) == (kind is None):
        raise FtctlError("one of --format and --job is needed", "Write what is to be exported.")
    if form is None:
        unfit = [option for option, value in given.items() if value is not None]
        if unfit:
            raise FtctlError(f"{', '.join(unfit)}: has no meaning for jobs", "Leave it out.")
        _export_job(ctx, project, name, entry, kind=kind or "", folder=out)
        return
    _require_fitting(form, [option for option, value in given.items() if value is not None])
    if form in FORMATS:
        asked = Weights(
            name=name,
            entry=entry,
            form=form,
            out=out,
            build=build,
            push_to=push_to,
            public=public,
        )
        export_weights(ctx, project, asked)
    else:
        _export_log(ctx, _evaluated(project, name, entry), project, form=form, out=out, role=role)


def _require_fitting(form: str, given: list[str]) -> None:
    """Require that every option has a meaning for the format.

    Raises:
        FtctlError: An option is about the other kind of export.
    """
    unfit = [one for one in given if (one == "--model") == (form in FORMATS)]
    if unfit:
        kind = "weights" if form in FORMATS else "logs"
        message = f"{', '.join(unfit)}: has no meaning for {kind}"
        raise FtctlError(message, "Leave it out, or choose another `--format`.")


def _export_log(
    ctx: click.Context,
    evaluated: Evaluated,
    project: Project,
    *,
    form: str,
    out: Path,
    role: str | None,
) -> None:
    if out.is_dir():
        raise FtctlError(f"{out} is a folder", "Name a file, such as answers.json.", field="--out")
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
    name = evaluated.name
    if name in specs and specs[name].spec.data.is_private:
        click.echo(f"! {name}: its data is declared private, and the file holds examples", err=True)
    opening = _OPEN[form].format(file=out, folder=out.parent)
    print_result(ctx, {"file": str(path)}, f"Wrote {out}. Open it: {opening}")


def _export_job(
    ctx: click.Context, project: Project, name: str, entry: Entry, *, kind: str, folder: Path
) -> None:
    """Write the file by which another engine starts the open job of a fine-tune."""
    if entry.job is None:
        remedy = f"Type `ftctl apply --only {name} --no-wait`: it puts what the job needs into the store."
        raise FtctlError(f"{name} has no open job", remedy)
    job = backend_for(project, entry.job.backend).placed_command(entry.job.id)
    text = KINDS[kind](job)
    path = folder.resolve() / f"{job.name}.{kind}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    start = text.partition("\n")[0].removeprefix("# ").replace("FILE", str(folder / path.name))
    print_result(ctx, {"file": str(path)}, f"Wrote {folder / path.name}. {start}")


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
                _ = [line[key] for key in _KEYS], *checked([line])
                yield line
        except (ValueError, KeyError, TypeError, RecursionError):
            message = f"{path}: is damaged: a line is not an answered example"
            raise FtctlError(message, "Delete it, and type `ftctl evaluate`.") from None

    return read
