"""`--replace NAME` of `ftctl plan` and `ftctl apply`."""

from collections.abc import Collection

import click

from controller.cli.common import check_names
from controller.errors import FtctlError
from controller.run.stages import PreparedRun

replace_option = click.option(
    "--replace",
    metavar="NAME",
    multiple=True,
    help="Train this fine-tune again under the newest recipe.",
)


def check_replaced(names: Collection[str], prepared: PreparedRun) -> None:
    """Check that every fine-tune to replace is declared, and that its build can be replaced.

    Raises:
        FtctlError: A name is unknown, or its recorded build was made under the newest recipe.
    """
    check_names(list(names), list(prepared.desired) + list(prepared.resolved.unresolved))
    busy = {action.name for action in prepared.plan.actions}
    for name in names:
        if name not in busy:
            message = f"--replace {name}: its build was made under the newest recipe"
            remedy = "Leave --replace out; another `seed` in its spec trains another model."
            raise FtctlError(message, remedy)
