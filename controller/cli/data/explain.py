"""`ftctl data explain`."""

import os

import click

from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import open_data, origin_of, typed
from controller.data.reports.provenance import explain
from controller.data.resolve_sources import DataPaths, find_sources
from controller.errors import FtctlError
from controller.render.data import fate_json, fate_text


@click.command("explain")
@click.argument("name")
@click.argument("place", metavar="FILE:LINE")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, place: str) -> None:
    """Explain the processing of one row of a source, step by step.

    Rows of a JSON array are named by their index, counted from 0: 'data/cafe.json[17]'.
    """
    opened = open_data(ctx, name)
    origin = origin_of(opened, place)
    given = find_sources(
        opened.loaded.spec.data,
        file=opened.loaded.file,
        folder=opened.loaded.folder,
        places=DataPaths(root=opened.project.root, cache=opened.cache, environment=os.environ),
    )
    fate = explain(opened.dataset, given, origin)
    if fate is None:
        remedy = "Name a line that holds a row: this one is blank, or beyond the file's end."
        raise FtctlError(f"no row begins at {origin}", remedy)
    if wants_json(ctx):
        print_json(fate_json(fate))
        return
    click.echo(fate_text(fate))
    if fate.places:
        place = typed(fate.origin)
        click.echo(f"See it as the model does: ftctl data preview {name} --line {place}")
