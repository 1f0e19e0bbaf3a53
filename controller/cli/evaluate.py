"""`ftctl evaluate`."""

import click

from controller.cli.common import (
    ask,
    json_option,
    lock_timeout_option,
    print_coloured,
    project_of,
    wants_json,
)
from controller.cli.progress import open_screen
from controller.cli.summary import finish
from controller.errors import FtctlError
from controller.lockfile.store import read_lockfile
from controller.render.plan import plan_text
from controller.run.evaluate import evaluate_again, plan_evaluation
from controller.run.reconcile import prepare_run


@click.command("evaluate")
@click.argument("name")
@click.option("-y", "--auto-approve", is_flag=True, help="Approve what this run shows.")
@lock_timeout_option
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, auto_approve: bool, lock_timeout: float) -> int:
    """Measure a fine-tune's model again, by the newest version of scoring.

    That is its candidate, or else its production build. The scores are recorded and judged; a
    candidate that passes is promoted. Nothing is trained.
    """
    project, as_json = project_of(ctx), wants_json(ctx)
    prepared = prepare_run(project)
    order = plan_evaluation(name, read_lockfile(project.root, project.state), prepared)
    if as_json and order.action.needs_approval and not auto_approve:
        raise FtctlError("--json cannot ask before spending", "Add --auto-approve.")
    if not as_json:
        print_coloured(plan_text(order.plan, prepared.desired))
        click.echo()
    if not auto_approve:
        ask(order.plan.actions, again=f"ftctl evaluate {name}")
    screen = open_screen(as_json=as_json)
    with finish(project, screen, as_json=as_json) as ending:
        ending.result = evaluate_again(order, screen, lock_timeout_s=lock_timeout)
    return ending.exit_code
