"""`ftctl cancel`."""

import click

from controller.cli.common import backend_for, entry_of, json_option, print_result, project_of
from controller.errors import FtctlError
from controller.lockfile.store import read_lockfile


@click.command("cancel")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Cancel a fine-tune's open job. Production stays what it is."""
    project = project_of(ctx)
    lockfile = read_lockfile(project.root, project.records)
    entry = entry_of(lockfile, name)
    if entry.job is None:
        raise FtctlError(f"{name} has no open job")
    backend_for(project, entry.job.backend).cancel(entry.job.id)
    others = sorted(
        other
        for other, one in lockfile.finetunes.items()
        if other != name and one.job is not None and one.job.id == entry.job.id
    )
    text = f"Asked job {entry.job.id} to stop; `ftctl reconcile` records it."
    if others:
        text += f"\nIt was the job of {', '.join(others)} too, which has the same inputs."
    print_result(ctx, {"job": entry.job.id, "cancelled": True, "shared_with": others}, text)
