"""`ftctl init`."""

from pathlib import Path

import click

from controller.scaffold import make_demo, make_repository


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
    at = "" if folder == Path() else f" --dir {folder}"
    click.echo(f"\nNext: ftctl{at} plan\nThen: ftctl{at} apply")
