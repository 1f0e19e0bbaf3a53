"""`ftctl store`: models that outlive the machine that trained them."""

import click

from controller.cli.group import Group
from controller.cli.store import prune, pull, push, verify


@click.group("store", cls=Group)
def command() -> None:
    """Keep models where other machines and fresh clones find them. See `ftctl help store`."""


for _module in (push, pull, verify, prune):
    command.add_command(_module.command)
