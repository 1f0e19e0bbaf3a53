"""`ftctl retry`."""

import click

from controller.apply import replace_entry
from controller.cli.common import entry_of, observe_jobs, project_of
from controller.errors import FtctlError
from controller.lock.model import Entry
from controller.lock.store import hold


@click.command("retry")
@click.argument("name")
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Allow a failed fine-tune another attempt; the next `apply` trains it."""
    project = project_of(ctx)
    with hold(project.root, project.state, timeout_s=60.0, purpose=f"retry {name}") as ledger:
        entry = entry_of(ledger.lockfile, name)
        lost = None
        if entry.job is not None:
            jobs = observe_jobs(project, entry.job.backend, [entry.job.id])
            if entry.job.id in jobs:
                message = f"job {entry.job.id} is {jobs[entry.job.id].state}, not lost"
                raise FtctlError(message, "Wait for it, or cancel it first: ftctl cancel " + name)
            lost = (entry.job.fingerprint, entry.job.attempt)
        failed = [(key, failure.attempt) for key, failure in entry.failures.items()]
        ledger.record(name, _raised(name, entry, [*failed, *([lost] if lost else [])]))
    click.echo(f"{name} may be tried again; `ftctl apply` does it.")


def _raised(name: str, entry: Entry, ended: list[tuple[str, int]]) -> Entry:
    attempts = dict(entry.attempts)
    for fingerprint, attempt in ended:
        attempts[fingerprint] = max(attempts.get(fingerprint, 1), attempt + 1)
    if attempts == entry.attempts:
        raise FtctlError(f"{name} has nothing to retry", "Only failed or lost jobs are retried.")
    return replace_entry(entry, attempts=attempts, job=None)
