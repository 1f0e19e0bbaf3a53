"""`ftctl data`: what people see of their data, before anything is trained on it."""

import click

from controller.cli.data import build, diff, explain, preview, stats
from controller.cli.group import Group


@click.group("data", cls=Group)
def command() -> None:
    """Build a fine-tune's dataset, and show what the model reads."""


for _module in (build, stats, preview, diff, explain):
    command.add_command(_module.command)
