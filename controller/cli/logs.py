"""`ftctl logs`."""

import time
from datetime import UTC, datetime

import click

from controller.cli.common import (
    backend_for,
    entry_of,
    json_option,
    print_json,
    project_of,
    wants_json,
)
from controller.errors import FtctlError
from controller.lock.model import Build, Entry, Failure
from controller.lock.store import read_lockfile
from controller.render.text import safe

POLL_S = 1.0


@click.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, follow: bool) -> None:
    """Show the log of a fine-tune's newest job."""
    project = project_of(ctx)
    entry = entry_of(read_lockfile(project.root, project.state), name)
    job_id, backend_name = _newest_job(name, entry)
    backend = backend_for(project, backend_name)
    shown = 0
    while True:
        events = list(backend.events(job_id))
        for event in events[shown:]:
            if wants_json(ctx):
                print_json({"time": event.time_s, "message": event.message, **event.data})
            else:
                when = datetime.fromtimestamp(event.time_s, UTC).strftime("%H:%M:%S")
                click.echo(f"{when}  {safe(event.message)}")
        shown = len(events)
        job = backend.observe([job_id]).get(job_id)
        if not follow or job is None or not job.state.is_open:
            return
        time.sleep(POLL_S)


def _newest_job(name: str, entry: Entry) -> tuple[str, str]:
    if entry.job is not None:
        return entry.job.id, entry.job.backend
    ended: list[Build | Failure] = [*entry.builds.values(), *entry.failures.values()]
    if not ended:
        raise FtctlError(f"{name} has no job yet", "Type `ftctl apply`.")
    newest = max(ended, key=lambda one: one.finished)
    return newest.job, newest.backend
