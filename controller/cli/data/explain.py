"""`ftctl data explain`."""

import os

import click

from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import for_shell, open_data, parse_source_line
from controller.data.reports.provenance import explain
from controller.data.resolve_sources import DataPaths, find_sources
from controller.errors import FtctlError
from controller.render.data import outcome_json, outcome_text


@click.command("explain")
@click.argument("name")
@click.argument("place", metavar="FILE:LINE")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, place: str) -> None:
    """Explain the processing of one row of a source, step by step.

    Rows of a JSON array are named by their index, counted from 0: 'data/cafe.json[17]'.
    """
    context = open_data(ctx, name)
    origin = parse_source_line(context, place)
    files = find_sources(
        context.loaded.spec.data,
        file=context.loaded.file,
        folder=context.loaded.folder,
        paths=DataPaths(root=context.project.root, cache=context.cache, environment=os.environ),
    )
    outcome = explain(context.dataset, files, origin)
    if outcome is None:
        remedy = "Name a line that holds a row: this one is blank, or beyond the file's end."
        raise FtctlError(f"no row begins at {origin}", remedy)
    if wants_json(ctx):
        print_json(outcome_json(outcome))
        return
    click.echo(outcome_text(outcome))
    if outcome.positions:
        place = for_shell(outcome.origin)
        click.echo(f"See it as the model does: ftctl data preview {name} --line {place}")
