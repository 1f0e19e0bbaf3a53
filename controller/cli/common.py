"""What several commands share: the repository they work in, and how they print."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from backends.base import Backend, Job, Json
from controller.errors import FtctlError
from controller.lock.model import Entry, Lockfile
from controller.project import Project, open_project
from controller.run.backends import backends_of
from controller.spec.load import FOLDER

COLOURS = {
    "+": "green",
    "±": "yellow",
    "=": "cyan",
    "~": "cyan",
    "»": "blue",
    ".": "red",
    "!": "red",
}


def json_option(command: Any) -> Any:  # noqa: ANN401 - click's decorators have no narrower type
    """Accept `--json` after the command too, where people type it."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
        if value:
            ctx.obj["json"] = True

    return click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print JSON."
    )(command)


def project_of(ctx: click.Context) -> Project:
    """Return the repository that `--dir` names.

    Raises:
        FtctlError: It is none.
    """
    project = open_project(ctx.obj["folder"])
    if not (project.root / FOLDER).is_dir():
        message = f"{project.root} is no repository of fine-tunes: it has no folder {FOLDER}/"
        raise FtctlError(message, "Type `ftctl init` there, or name another: ftctl --dir DIR …")
    return project


def wants_json(ctx: click.Context) -> bool:
    """Return whether `--json` was given."""
    return bool(ctx.obj["json"])


def print_json(value: Json) -> None:
    """Print a JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_line(value: Json) -> None:
    """Print a JSON value on one line, for programs that read a stream."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_coloured(text: str) -> None:
    """Print a plan, its symbols coloured."""
    for line in text.splitlines():
        if line[:2].rstrip() in COLOURS:
            click.secho(line, fg=COLOURS[line[0]])
        elif line.startswith("  # ") and not line.startswith("  # ("):
            click.secho(line, bold=True)
        else:
            click.echo(line)


def entry_of(lockfile: Lockfile, name: str) -> Entry:
    """Return a fine-tune's entry.

    Raises:
        FtctlError: Nothing is recorded under that name.
    """
    if name not in lockfile.finetunes:
        known = ", ".join(sorted(lockfile.finetunes)) or "none"
        raise FtctlError(f"nothing is recorded for {name!r}", f"Recorded: {known}")
    return lockfile.finetunes[name]


def backend_for(project: Project, name: str) -> Backend:
    """Open the backend that a lockfile entry names.

    Raises:
        FtctlError: It is not installed here.
    """
    try:
        return backends_of(project)(name)
    except KeyError:
        message = f"the lockfile names the backend {name!r}, which is not installed here"
        raise FtctlError(message, "Install it, and run the command again.") from None


def observe_recorded(project: Project, lockfile: Lockfile) -> Mapping[str, Job]:
    """Look at every recorded open job, by ID."""
    ids: dict[str, list[str]] = {}
    for entry in lockfile.finetunes.values():
        if entry.job is not None:
            ids.setdefault(entry.job.backend, []).append(entry.job.id)
    jobs: dict[str, Job] = {}
    for backend, wanted in ids.items():
        jobs |= backend_for(project, backend).observe(wanted)
    return jobs


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that no fine-tune has.

    Raises:
        FtctlError: With the names that exist.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise FtctlError(f"no fine-tune is called {', '.join(unknown)}", f"Known: {listed}")
