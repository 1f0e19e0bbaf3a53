"""`ftctl logs`."""

import time
from datetime import UTC, datetime

import click

from backends.contract.backend import Backend
from backends.contract.jobs import Event
from controller.cli.common import (
    backend_for,
    json_option,
    print_json_line,
    recorded_of,
    wants_json,
)
from controller.errors import FtctlError
from controller.evaluate.curves.files import findings_of_any_job
from controller.evaluate.curves.findings import Finding
from controller.evaluate.curves.points import thinned
from controller.lockfile.model import Build, Entry, Failure
from controller.render.curve import finding_line
from controller.render.text import escape_control

POLL_S = 1.0


@click.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, follow: bool) -> None:
    """Show the log of a fine-tune's newest job."""
    project, name, entry = recorded_of(ctx, name)
    job_id, place = _newest_job(name, entry)
    backend = backend_for(project, place)
    shown = 0
    told: set[str] = set()
    while True:
        events = list(backend.events(job_id))
        for event in events[shown:]:
            _show(event, as_json=wants_json(ctx))
        if len(events) > shown:
            _show_findings(backend, entry, job_id, told, as_json=wants_json(ctx))
        shown = len(events)
        job = backend.observe([job_id]).get(job_id)
        if job is None and not shown:
            raise FtctlError(f"{place} does not know job {job_id} any more", "See `ftctl status`.")
        if not follow or job is None or not job.state.is_open:
            return
        time.sleep(POLL_S)


def _show_findings(
    backend: Backend, entry: Entry, job_id: str, told: set[str], *, as_json: bool
) -> None:
    """Show what is wrong with the losses so far, each finding once."""
    try:
        found = findings_of_any_job(entry, job_id, thinned(backend.curve(job_id)))
    except FtctlError as error:
        # The log is there all the same.
        found = (Finding(name="losses", text=f"not read: {error.one_line}"),)
    for finding in found:
        if finding.name in told:
            continue
        told.add(finding.name)
        if as_json:
            print_json_line({"finding": finding.name, "message": finding.text})
        else:
            click.echo(escape_control(finding_line(finding)))


def _show(event: Event, *, as_json: bool) -> None:
    if as_json:
        print_json_line({"time": event.time_s, "message": event.message, **event.data})
    else:
        click.echo(f"{_time_of_day(event.time_s)}  {escape_control(event.message)}")


def _time_of_day(time_s: float) -> str:
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        # A server's time need not be one.
        return "--:--:--"


def _newest_job(name: str, entry: Entry) -> tuple[str, str]:
    if entry.job is not None:
        return entry.job.id, entry.job.backend
    made: list[Build | Failure] = [*entry.builds.values(), *entry.failures.values()]
    ended = [one for one in made if one.job]
    if made and not ended:
        is_adopted = any(isinstance(one, Build) and one.is_adopted for one in made)
        why = "that of its model is not known" if is_adopted else "nothing was trained for it"
        message = f"{name} has no job: {why}"
        raise FtctlError(message, f"See what is recorded: ftctl show {name}")
    if not ended:
        raise FtctlError(f"{name} has no job yet", "Type `ftctl apply`.")
    newest = max(ended, key=lambda one: one.finished)
    return newest.job, newest.backend
