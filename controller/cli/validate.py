"""`ftctl validate`."""

import click

from controller.cli.aliases import clashing_aliases
from controller.cli.common import json_option, print_result, project_of
from controller.resolve.validate import check_specs
from controller.run.backends import backends_of
from controller.spec.load import all_problems, read_specs
from controller.spec.settings import load_settings


@click.command("validate")
@json_option
@click.pass_context
def command(ctx: click.Context) -> None:
    """Check every spec without reading data; shows all problems of all files at once."""
    project = project_of(ctx)
    specs, problems = read_specs(project.root)
    settings = load_settings(project.root)
    found = [*all_problems(problems), *clashing_aliases(project, specs, problems, settings)]
    check_specs(specs, backends_of(project), settings.policies, found)
    text = f"Valid: {len(specs)} spec{'' if len(specs) == 1 else 's'}."
    print_result(ctx, {"valid": True, "specs": list(specs)}, text)
