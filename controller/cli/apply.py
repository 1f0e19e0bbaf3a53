"""`ftctl apply`."""

import json
import sys
from pathlib import Path

import click

from controller.cli.common import (
    check_names,
    json_option,
    print_coloured,
    print_json,
    project_of,
    wants_json,
)
from controller.cli.finish import finish
from controller.cli.screen import open_screen
from controller.errors import ExitCode, FtctlError, PlanStale
from controller.plan.actions import Adopt, Retire, Reuse, Train
from controller.reconcile import Planned, Walk, converge, plan_once, submission
from controller.render.plan import no_changes, plan_json, plan_text


@click.command("apply")
@click.argument("plan_file", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("-y", "--auto-approve", is_flag=True, help="Do not ask before spending.")
@click.option("--no-wait", is_flag=True, help="Submit, record and end; `reconcile` goes on later.")
@click.option("--expect", metavar="PLAN_ID", help="Refuse any plan but this one.")
@click.option("--only", metavar="NAME", multiple=True, help="Act on this fine-tune alone.")
@click.option(
    "--lock-timeout",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for another run that is recording.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    plan_file: Path | None,
    *,
    auto_approve: bool,
    no_wait: bool,
    expect: str | None,
    only: tuple[str, ...],
    lock_timeout: float,
) -> int:
    """Train, evaluate, judge and promote until specs and models agree.

    With PLAN_FILE (from `plan --out`) carries out that plan without asking, and no other.
    """
    project = project_of(ctx)
    planned = plan_once(project)
    check_names(only, [*planned.resolved.desired, *(a.name for a in planned.plan.actions)])
    wanted = expect if plan_file is None else _plan_id(plan_file)
    if wanted is not None and wanted != planned.plan.id:
        message = f"the plan is {planned.plan.id} now, not {wanted}"
        raise PlanStale(message, "Look at `ftctl plan` and approve that one.")
    as_json = wants_json(ctx)
    if as_json and not auto_approve and wanted is None:
        raise FtctlError("--json cannot ask before spending", "Add --auto-approve.")
    if not planned.plan.actions:
        message = no_changes(planned.plan)
        if as_json:
            print_json(plan_json(planned.plan, {}))
        else:
            click.echo(message)
        return ExitCode.DONE
    if not as_json:
        print_coloured(plan_text(planned.plan, planned.resolved.desired))
        click.echo()
    if not auto_approve and wanted is None:
        _ask(planned)
    approved = (
        None
        if auto_approve
        else frozenset(
            submission(action) for action in planned.plan.actions if isinstance(action, Train)
        )
    )
    walk = Walk(
        approved=approved, wait=not no_wait, lock_timeout_s=lock_timeout, only=frozenset(only)
    )
    screen = open_screen(as_json=as_json)
    with finish(project, screen, as_json=as_json) as ending:
        ending.converged = converge(project, planned, screen, walk)
    return ending.exit_code


def _ask(planned: Planned) -> None:
    """Ask before anything is spent or changed; what merely goes on needs no new approval."""
    decisive = (Train, Reuse, Adopt, Retire)
    if not any(isinstance(action, decisive) for action in planned.plan.actions):
        return
    if not sys.stdin.isatty():
        message = "there is no terminal to ask at"
        raise FtctlError(message, "Approve beforehand: ftctl apply --auto-approve")
    click.echo("Do you want to perform these actions? Only 'yes' will be accepted.")
    if click.prompt("  Enter a value", prompt_suffix=": ", default="", show_default=False) != "yes":
        raise FtctlError("apply was not approved; nothing was done")


def _plan_id(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())["id"]
    except (ValueError, KeyError, TypeError):
        message = f"{path} is no plan"
        raise FtctlError(message, "Write one: ftctl plan --out FILE") from None
    return str(found)
