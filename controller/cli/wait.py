"""`ftctl wait`."""

import time

import click

from backends.base import JobState
from controller.cli.common import (
    check_names,
    json_option,
    observe_recorded,
    project_of,
    wants_json,
)
from controller.cli.screen import open_screen
from controller.errors import ExitCode, FtctlError
from controller.lock.store import read_lockfile

POLL_S = 1.0


@click.command("wait")
@click.argument("names", nargs=-1)
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most.")
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], *, timeout: float | None) -> int:
    """Wait until the open jobs (of NAMES, or all) have ended. Records nothing."""
    project = project_of(ctx)
    screen = open_screen(as_json=wants_json(ctx))
    deadline = None if timeout is None else time.monotonic() + timeout
    lockfile = read_lockfile(project.root, project.state)
    check_names(names, list(lockfile.finetunes))
    ended: dict[str, JobState] = {}
    while True:
        jobs = observe_recorded(project, lockfile)
        open_jobs = {}
        for name, entry in lockfile.finetunes.items():
            if entry.job is None or (names and name not in names):
                continue
            job = jobs.get(entry.job.id)
            if job is not None and job.state in {JobState.QUEUED, JobState.RUNNING}:
                open_jobs[name] = job
            elif job is not None:
                ended[name] = job.state
        screen.progress(open_jobs)
        if not open_jobs:
            break
        if deadline is not None and time.monotonic() >= deadline:
            raise FtctlError(f"still open: {', '.join(open_jobs)}")
        time.sleep(POLL_S)
    for name, state in ended.items():
        click.echo(f"{name}: {state}; `ftctl reconcile` records it.")
    bad = any(state is not JobState.SUCCEEDED for state in ended.values())
    return ExitCode.ERROR if bad else ExitCode.DONE
