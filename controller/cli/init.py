"""`ftctl init`."""

from pathlib import Path

import click

from controller.project.scaffold import DEMO_BASE_MODEL, make_demo, make_repository
from controller.spec.settings import FILE as SETTINGS


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option(
    "--demo", is_flag=True, help="A complete repository: specs, data and a small base model."
)
def command(folder: Path, *, demo: bool) -> None:
    """Make a repository of fine-tunes in FOLDER (this folder when none is named)."""
    root = folder.resolve()
    written = make_demo(root) if demo else make_repository(root)
    for name in written:
        click.echo(f"wrote {name}")
    if demo and SETTINGS not in written:
        added = f"../{DEMO_BASE_MODEL}"
        click.echo(f"kept {SETTINGS}; to serve the demo, name {added} under serve.base_models")
    at = "" if folder == Path() else f" --dir {folder}"
    click.echo(f"\nNext: ftctl{at} plan\nThen: ftctl{at} apply")
