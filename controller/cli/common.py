"""Parts that several commands share: options, the repository, and printing."""

import json
import math
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TextIO

import click

from backends.contract.backend import Backend
from backends.contract.inspector import Json
from backends.contract.jobs import Job
from backends.did_you_mean import did_you_mean, use_one_of
from controller.cli.aliases import finetune_called
from controller.errors import FtctlError
from controller.lockfile.model import Entry, Lockfile
from controller.lockfile.store import read_lockfile
from controller.plan.actions import Action
from controller.project.project import Project, open_project
from controller.run.backends import backends_of, recorded_backends
from controller.spec.load import FOLDER
from controller.state_folder import refused_by_system

COLOURS = {
    "+": "green",
    "±": "yellow",
    "=": "cyan",
    "~": "cyan",
    "»": "blue",
    ".": "red",
    "!": "red",
}

_NO_CI: Final = frozenset({"", "0", "false"})


class Finite(click.FloatRange):
    """A finite number in a range: not `nan`, not `inf`."""

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse the number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


lock_timeout_option = click.option(
    "--lock-timeout",
    type=Finite(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for another run that is recording.",
)


def _remember_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    ctx.obj["json"] |= value


# After the command too, where people type it.
json_option = click.option(
    "--json", is_flag=True, expose_value=False, callback=_remember_json, help="Print JSON."
)


def project_of(ctx: click.Context) -> Project:
    """Return the repository that `--dir` names.

    Raises:
        FtctlError: It is not a repository of fine-tunes.
    """
    project = open_project(ctx.obj["folder"])
    ctx.obj["state"] = project.state
    if not (project.root / FOLDER).is_dir():
        message = f"{project.root} is not a repository of fine-tunes: it has no folder {FOLDER}/"
        raise FtctlError(message, "Type `ftctl init` there, or name another: ftctl --dir DIR …")
    return project


def wants_json(ctx: click.Context) -> bool:
    """Return whether `--json` was given."""
    return bool(ctx.obj["json"])


def print_json(value: Json) -> None:
    """Print a JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_result(ctx: click.Context, value: Json, text: str) -> None:
    """Print what a command found: JSON for programs, text for people."""
    if wants_json(ctx):
        print_json(value)
    else:
        click.echo(text)


def print_json_line(value: Json) -> None:
    """Print a JSON value on one line, for a command that prints many."""
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
        raise FtctlError(f"nothing is recorded for {name!r}", meant(name, lockfile.finetunes))
    return lockfile.finetunes[name]


def recorded_of(ctx: click.Context, name: str) -> tuple[Project, str, Entry]:
    """Return the repository, and the name and record of one of its fine-tunes.

    Args:
        ctx: The command's context.
        name: The name of the fine-tune, or one of its aliases.

    Raises:
        FtctlError: It is not a repository, or nothing is recorded under that name.
        LockfileInvalid: The lockfile cannot be read.
    """
    project = project_of(ctx)
    lockfile = read_lockfile(project.root, project.records)
    name = finetune_called(project, lockfile, name)
    return project, name, entry_of(lockfile, name)


def not_evaluated(name: str, entry: Entry) -> FtctlError:
    """Return the error for a fine-tune without an evaluated build."""
    message = f"{name} has no evaluated build"
    build = entry.builds.get(entry.candidate or entry.production or "")
    if build is not None and not build.data.held_out.examples:
        remedy = f"Add data.held_out to {FOLDER}/{name}.yaml, then type `ftctl apply`."
        return FtctlError(f"{message}: there are no held-out examples", remedy)
    return FtctlError(message, "Type `ftctl apply`.")


def backend_for(project: Project, place: str) -> Backend:
    """Open the backend that a lockfile entry names. A model that is not here comes from the store.

    Raises:
        BackendError: It is not installed here, or cannot be opened.
    """
    return recorded_backends(backends_of(project, fetches=True))(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Recorded open jobs as their backends see them now."""

    jobs: dict[str, Job] = field(default_factory=dict)
    """By ID; a job that its backend does not know any more is absent."""
    unreachable: dict[str, str] = field(default_factory=dict)
    """Places that gave no answer, and why."""


def observe_recorded(
    project: Project, lockfile: Lockfile, names: Collection[str] | None = None
) -> Seen:
    """Look at every recorded open job, by ID; a place that gives no answer stops no other.

    Args:
        project: The repository.
        lockfile: What is recorded.
        names: The fine-tunes whose jobs are looked at; None for all.
    """
    ids: dict[str, list[str]] = {}
    for name, entry in lockfile.finetunes.items():
        if entry.job is not None and (names is None or name in names):
            ids.setdefault(entry.job.backend, []).append(entry.job.id)
    seen = Seen()
    for place, wanted in sorted(ids.items()):
        try:
            seen.jobs.update(backend_for(project, place).observe(wanted))
        except FtctlError as error:
            seen.unreachable[place] = error.one_line
        except OSError as error:
            seen.unreachable[place] = refused_by_system(error, project.state).one_line
    return seen


def is_interactive(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal with a person at it.

    A CI may give its jobs a terminal too, at which nobody answers or watches; each sets `CI`.

    Args:
        stream: Standard input or output.
    """
    return stream.isatty() and os.environ.get("CI", "").lower() in _NO_CI


def ask(actions: Iterable[Action], *, again: str = "ftctl apply") -> None:
    """Ask for approval before anything is spent or changed; continuing needs no new approval.

    Args:
        actions: The actions that were shown.
        again: The command that shows them, without its options.

    Raises:
        FtctlError: The user did not approve, or there is no terminal.
    """
    if not any(action.needs_approval for action in actions):
        return
    if not is_interactive(sys.stdin):
        message = "there is no terminal to ask at"
        raise FtctlError(message, f"Approve beforehand: {again} --auto-approve")
    click.echo("Do you want to perform these actions? Only 'yes' will be accepted.")
    if click.prompt("  Enter a value", prompt_suffix=": ", default="", show_default=False) != "yes":
        verb = again.split()[1]
        raise FtctlError(f"{verb} was not approved; nothing was done")


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that no fine-tune has.

    Raises:
        FtctlError: With the names that exist.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        message = f"no fine-tune is called {', '.join(unknown)}"
        raise FtctlError(message, meant(unknown[0], known))


def meant(name: str, known: Collection[str]) -> str:
    """Return the remedy for the name of a fine-tune that does not exist."""
    return did_you_mean(name, known) or use_one_of(sorted({*known})) or "Type `ftctl plan`."
