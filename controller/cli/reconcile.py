"""`ftctl reconcile`."""

import click

from controller.cli.common import json_option, print_json, project_of, wants_json
from controller.cli.finish import finish
from controller.cli.screen import open_screen
from controller.plan.actions import Train
from controller.reconcile import Walk, converge, plan_once
from controller.render.plan import no_changes, plan_json


@click.command("reconcile")
@click.option("--wait", is_flag=True, help="Go on until no job is open.")
@click.option(
    "--lock-timeout",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for another run that is recording.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, *, wait: bool, lock_timeout: float) -> int:
    """Move open jobs on: record, evaluate, judge, promote. Submits nothing new.

    Safe to run at any time, from anywhere, as often as you like.
    """
    project, as_json = project_of(ctx), wants_json(ctx)
    planned = plan_once(project)
    if not planned.plan.actions:
        if as_json:
            print_json(plan_json(planned.plan, {}))
        else:
            click.echo(no_changes(planned.plan))
        return 0
    screen = open_screen(as_json=as_json)
    walk = Walk(approved=frozenset(), wait=wait, lock_timeout_s=lock_timeout)
    with finish(project, screen, as_json=as_json) as ending:
        ending.converged = converge(project, planned, screen, walk)
    left = sum(isinstance(action, Train) for action in planned.plan.actions)
    if left and not as_json:
        click.echo(f"{left} to train: that is for `ftctl apply`.")
    return ending.exit_code
