"""`ftctl wait`."""

import time
from typing import NamedTuple

import click

from backends.contract.jobs import JobState
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
_NOT_ASKED = "not asked"


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
    lockfile = read_lockfile(project.root, project.records)
    check_names(names, list(lockfile.finetunes))
    recorded = {
        name: entry.job
        for name, entry in lockfile.finetunes.items()
        if entry.job is not None and (not names or name in names)
    }
    told: set[_News] = set()
    has_failed = False
    while True:
        seen = observe_recorded(project, lockfile, recorded)
        news = {name: _news_of(name, job, seen) for name, job in recorded.items()}
        still_open = {name: seen.jobs[recorded[name].id] for name, new in news.items() if not new}
        screen.progress(still_open)
        for name, new in news.items():
            if new is not None and new not in told:
                told.add(new)
                _print(new, as_json=as_json)
            if new is not None and new.state != _NOT_ASKED:
                del recorded[name]
                has_failed = has_failed or new.state != JobState.SUCCEEDED
        if not still_open:
            return ExitCode.ERROR if has_failed or recorded else ExitCode.DONE
        if deadline is not None and time.monotonic() >= deadline:
            raise FtctlError(f"still open: {', '.join(still_open)}")
        time.sleep(POLL_S)


class _News(NamedTuple):
    """Report on a job that is not simply open."""

    name: str
    state: str
    """The state in which it ended, `missing`, or `not asked`."""
    text: str
    message: str = ""


def _news_of(name: str, recorded: OpenJob, seen: Seen) -> _News | None:
    """Return what is reported of a job; None while it is open."""
    job, place = seen.jobs.get(recorded.id), recorded.backend
    if job is not None:
        if job.state in {JobState.QUEUED, JobState.RUNNING}:
            return None
        return _News(name, job.state, f"{name}: {job.state}; `ftctl reconcile` records it.")
    if place in seen.unreachable:
        why = f"{place}: {seen.unreachable[place]}"
        return _News(name, _NOT_ASKED, f"! {name}: not asked: {escape_control(why)}", why)
    why = f"{place} does not know job {recorded.id} any more"
    return _News(name, "missing", f"! {name}: {why}; see `ftctl plan`.", why)


def _print(new: _News, *, as_json: bool) -> None:
    if as_json:
        why = {"message": new.message} if new.message else {}
        print_json_line({"type": "state", "name": new.name, "state": str(new.state), **why})
    else:
        click.echo(new.text)
