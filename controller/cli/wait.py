"""`ftctl wait`."""

import time
from collections.abc import Mapping

import click

from backends.contract.jobs import Job, JobState
from controller.cli.common import (
    Finite,
    Seen,
    check_names,
    json_option,
    observe_recorded,
    print_json_line,
    project_of,
    wants_json,
)
from controller.cli.progress import open_screen
from controller.errors import ExitCode, FtctlError
from controller.lockfile.model import OpenJob
from controller.lockfile.store import read_lockfile
from controller.render.text import escape_control

POLL_S = 1.0


@click.command("wait")
@click.argument("names", nargs=-1)
@click.option("--timeout", type=Finite(min=0), help="Seconds to wait at most.")
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], *, timeout: float | None) -> int:
    """Wait until the open jobs (of NAMES, or all) have ended. Records nothing.

    A backend that gives no answer is reported, and asked again for as long as other jobs are open.
    """
    project, as_json = project_of(ctx), wants_json(ctx)
    screen = open_screen(as_json=as_json)
    deadline = None if timeout is None else time.monotonic() + timeout
    lockfile = read_lockfile(project.root, project.state)
    check_names(names, list(lockfile.finetunes))
    recorded = {
        name: entry.job
        for name, entry in lockfile.finetunes.items()
        if entry.job is not None and (not names or name in names)
    }
    waiting = _Waiting(recorded, as_json=as_json)
    while True:
        still_open = waiting.update(observe_recorded(project, lockfile, waiting.names))
        screen.progress(still_open)
        waiting.tell()
        if not still_open:
            return ExitCode.ERROR if waiting.failed else ExitCode.DONE
        if deadline is not None and time.monotonic() >= deadline:
            raise FtctlError(f"still open: {', '.join(still_open)}")
        time.sleep(POLL_S)


class _Waiting:
    """The jobs that are waited for, and what was already reported of them."""

    def __init__(self, recorded: Mapping[str, OpenJob], *, as_json: bool) -> None:
        self._left = dict(recorded)
        self._as_json = as_json
        self._silent: dict[str, str] = {}
        self._ended: dict[str, JobState | None] = {}
        self._told: set[tuple[str, str]] = set()
        self._has_failed = False

    @property
    def names(self) -> frozenset[str]:
        """Fine-tunes whose end is not known yet."""
        return frozenset(self._left)

    @property
    def failed(self) -> bool:
        """Whether a job did not succeed, or its end is not known."""
        return self._has_failed or bool(self._left)

    def update(self, seen: Seen) -> dict[str, Job]:
        """Take in what backends answered; return the jobs that are open, by fine-tune."""
        still_open: dict[str, Job] = {}
        self._silent = {}
        self._ended = {}
        for name, recorded in self._left.items():
            job = seen.jobs.get(recorded.id)
            if job is None and recorded.backend in seen.unreachable:
                self._silent[name] = f"{recorded.backend}: {seen.unreachable[recorded.backend]}"
            elif job is not None and job.state in {JobState.QUEUED, JobState.RUNNING}:
                still_open[name] = job
            else:
                self._ended[name] = None if job is None else job.state
        return still_open

    def tell(self) -> None:
        """Print what is new."""
        for name, why in self._silent.items():
            if (name, why) not in self._told:
                self._told.add((name, why))
                self._print(
                    name, "not asked", f"! {name}: not asked: {escape_control(why)}", message=why
                )
        for name, state in self._ended.items():
            job = self._left.pop(name)
            self._has_failed = self._has_failed or state is not JobState.SUCCEEDED
            if state is None:
                why = f"{job.backend} does not know job {job.id} any more"
                self._print(name, "missing", f"! {name}: {why}; see `ftctl plan`.", message=why)
            else:
                self._print(name, state, f"{name}: {state}; `ftctl reconcile` records it.")

    def _print(self, name: str, state: str, text: str, message: str = "") -> None:
        if self._as_json:
            why = {"message": message} if message else {}
            print_json_line({"type": "state", "name": name, "state": str(state), **why})
        else:
            click.echo(text)
