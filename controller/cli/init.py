"""`ftctl init`."""

from pathlib import Path

import click

from controller.project.scaffold import (
    DEMO_BASE_MODEL,
    make_demo,
    make_repository,
    make_service,
)
from controller.spec.settings import FILE as SETTINGS


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option(
    "--demo", is_flag=True, help="A complete repository: specs, data and a small base model."
)
@click.option("--service", is_flag=True, help="Files that run `reconcile --watch` as a service.")
def command(folder: Path, *, demo: bool, service: bool) -> None:
    """Make a repository of fine-tunes in FOLDER (this folder when none is named).

    With --service: a unit of systemd, a Containerfile and their settings, and no repository.
    """
    root = folder.resolve()
    if service and demo:
        raise click.UsageError("--demo makes a repository, --service files for a machine.")
    if service:
        for name in make_service(root):
            click.echo(f"wrote {name}")
        click.echo("\nNext: ftctl help service")
        return
    written = make_demo(root) if demo else make_repository(root)
    for name in written:
        click.echo(f"wrote {name}")
    if demo and SETTINGS not in written:
        added = f"../{DEMO_BASE_MODEL}"
        click.echo(f"kept {SETTINGS}; to serve the demo, name {added} under serve.base_models")
    at = "" if folder == Path() else f" --dir {folder}"
    click.echo(f"\nNext: ftctl{at} plan\nThen: ftctl{at} apply")
