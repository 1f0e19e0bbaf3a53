"""`ftctl status`."""

import click

from controller.cli.common import json_option, observe_recorded, print_json, project_of, wants_json
from controller.clock import days_until
from controller.lock.store import read_lockfile
from controller.render.status import status_json, status_text
from controller.spec.load import spec_names


@click.command("status")
@json_option
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show every fine-tune: its state, the model in production, its scores."""
    project = project_of(ctx)
    lockfile = read_lockfile(project.root, project.state)
    seen = observe_recorded(project, lockfile)
    declared = spec_names(project.root)
    if wants_json(ctx):
        print_json(status_json(lockfile, declared, seen.jobs, seen.unreachable))
    else:
        click.echo(status_text(lockfile, declared, seen.jobs, seen.unreachable, days_until))
