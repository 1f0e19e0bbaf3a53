"""`ftctl schema`."""

import json
from pathlib import Path

import click

from backends.atomic_files import write_atomic
from controller.spec.model import spec_schema


@click.command("schema")
@click.option("--out", type=click.Path(path_type=Path), help="Write it to a file.")
def command(*, out: Path | None) -> None:
    """Print the JSON Schema of specs, for editors and checks."""
    text = json.dumps(spec_schema(), ensure_ascii=False, indent=2) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomic(out.resolve(), text.encode())
