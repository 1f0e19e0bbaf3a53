"""`ftctl retry`."""

import click

from backends.contract.jobs import Job
from controller.apply.context import with_changes
from controller.cli.common import backend_for, entry_of, json_option, print_result, project_of
from controller.errors import FtctlError
from controller.lockfile.model import Entry
from controller.lockfile.store import lock_lockfile
from controller.plan.recording import describe_end


@click.command("retry")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Allow a failed fine-tune another attempt; the next `apply` trains it."""
    project = project_of(ctx)
    with lock_lockfile(
        project.root, project.records, timeout_s=60.0, purpose=f"retry {name}"
    ) as locked:
        entry = entry_of(locked.lockfile, name)
        lost = None
        if entry.job is not None:
            jobs = backend_for(project, entry.job.backend).observe([entry.job.id])
            if entry.job.id in jobs:
                raise _not_lost(name, jobs[entry.job.id])
            lost = (entry.job.fingerprint, entry.job.attempt)
        failed = [(key, failure.attempt) for key, failure in entry.failures.items()]
        locked.record(name, _raised(name, entry, [*failed, *([lost] if lost else [])]))
    text = f"{name} may be tried again; `ftctl apply` does it."
    print_result(ctx, {"name": name, "may_be_tried_again": True}, text)


def _not_lost(name: str, job: Job) -> FtctlError:
    if job.state.is_open:
        message = f"job {job.id} is {job.state}, not lost"
        return FtctlError(message, f"Wait for it, or cancel it first: ftctl cancel {name}")
    message = f"{describe_end(job)}, which is not recorded yet"
    return FtctlError(message, "Record it first: ftctl reconcile")


def _raised(name: str, entry: Entry, ended: list[tuple[str, int]]) -> Entry:
    attempts = dict(entry.attempts)
    for fingerprint, attempt in ended:
        attempts[fingerprint] = max(attempts.get(fingerprint, 1), attempt + 1)
    if attempts == entry.attempts:
        raise FtctlError(f"{name} has nothing to retry", "Retry failed or lost jobs only.")
    return with_changes(entry, attempts=attempts, job=None)
