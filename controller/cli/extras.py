"""`ftctl extras`."""

import click

from controller.cli.common import json_option, print_result, project_of
from controller.errors import InvalidInput
from controller.lockfile.store import read_lockfile
from controller.project.needed_extras import needed_extras
from controller.spec.load import read_specs
from controller.spec.settings import Settings, known_endpoints, load_settings


@click.command("extras")
@click.option("--plan", is_flag=True, help="Only those of an offline plan: no torch, no database.")
@json_option
@click.pass_context
def command(ctx: click.Context, *, plan: bool) -> None:
    """Print the extras that the specs of this repository need, one a line.

    A CI machine installs these and no others. Specs with problems are left out: `ftctl validate`
    shows them.
    """
    project = project_of(ctx)
    specs, _ = read_specs(project.root)
    try:
        settings = load_settings(project.root)
    except InvalidInput:
        settings = known_endpoints(project.root) or Settings()
    lockfile = read_lockfile(project.root, project.records)
    loaded = (one.spec for one in specs.values())
    names = needed_extras(loaded, settings, lockfile, plan=plan)
    print_result(ctx, {"extras": list(names)}, "\n".join(names))
