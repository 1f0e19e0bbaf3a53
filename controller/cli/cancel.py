"""`ftctl cancel`."""

import click

from controller.cli.common import backend_for, entry_of, project_of
from controller.errors import FtctlError
from controller.lock.store import read_lockfile


@click.command("cancel")
@click.argument("name")
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Cancel a fine-tune's open job. Production stays what it is."""
    project = project_of(ctx)
    entry = entry_of(read_lockfile(project.root, project.state), name)
    if entry.job is None:
        raise FtctlError(f"{name} has no open job")
    backend_for(project, entry.job.backend).cancel(entry.job.id)
    click.echo(f"Asked job {entry.job.id} to stop; `ftctl reconcile` records it.")
