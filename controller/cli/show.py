"""`ftctl show`."""

from itertools import islice

import click

from controller.cli.common import json_option, print_json, recorded_of, wants_json
from controller.errors import FtctlError
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from controller.lockfile.model import dump_entry
from controller.render.status import about_text, build_text
from controller.spec.load import read_specs


@click.command("show")
@click.argument("name")
@click.option(
    "--answers",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Held-out answers to show.",
)
@click.option("--thinking", is_flag=True, help="Show what models wrote before their answers.")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, answers: int, thinking: bool) -> None:
    """Show one fine-tune in full: its builds, their scores, answers side by side."""
    project, entry = recorded_of(ctx, name)
    if wants_json(ctx):
        print_json(dump_entry(entry))
        return
    build = entry.builds.get(entry.candidate or entry.production or "")
    path = evaluation_path_of(project.state, build) if build else None
    try:
        kept = list(islice(read_evaluation_file(path), answers)) if path else []
    except ValueError:
        message = f"{path}: is damaged: a line is not JSON"
        raise FtctlError(message, "Delete it: the scores are in the lockfile.") from None
    specs, _ = read_specs(project.root)
    about = about_text(specs[name].spec) if name in specs else ""
    click.echo(build_text(name, entry, kept, about=about, thinking=thinking))
