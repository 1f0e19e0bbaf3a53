"""`ftctl model`."""

import click

from controller.cli.common import entry_of, json_option, print_json, project_of, wants_json
from controller.errors import FtctlError
from controller.lockfile.store import read_lockfile


@click.command("model")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Print the model ID in production, for scripts."""
    project = project_of(ctx)
    entry = entry_of(read_lockfile(project.root, project.state), name)
    build = entry.builds.get(entry.production or "")
    if build is None:
        raise FtctlError(f"{name} has no model in production", "See `ftctl status`.")
    if wants_json(ctx):
        print_json({"model_id": build.model_id, "fingerprint": build.fingerprint})
    else:
        click.echo(build.model_id)
