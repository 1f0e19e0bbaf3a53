"""`ftctl apply`."""

from dataclasses import dataclass
from pathlib import Path

import click

from controller.cli.approved import (
    approve_cost_option,
    approved_option,
    read_approved,
    require_one_approval,
    split_held,
)
from controller.cli.common import (
    ask,
    check_names,
    json_option,
    lock_timeout_option,
    print_coloured,
    print_json_line,
    project_of,
    wants_json,
)
from controller.cli.progress import open_screen
from controller.cli.replace import check_replaced, replace_option
from controller.cli.summary import finish
from controller.errors import ExitCode, FtctlError, PlanStale
from controller.plan.approval import approve
from controller.plan.approvals.saved import SavedPlan, read_plan
from controller.plan.plan import Plan
from controller.render.plan import plan_text
from controller.render.plan_json import PLAN_FORMAT, plan_json
from controller.run.reconcile import prepare_run, run_until_settled
from controller.run.stages import require_readable
from controller.run.state import RunOptions
from controller.run.store.store_builds import is_to_store


@click.command("apply")
@click.argument("plan_file", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("-y", "--auto-approve", is_flag=True, help="Approve the plan that this run shows.")
@click.option("--no-wait", is_flag=True, help="Submit, record and end; `reconcile` follows up.")
@click.option(
    "--plan-id", "--expect", "expect", metavar="PLAN_ID", help="Refuse any plan but this one."
)
@approved_option
@approve_cost_option
@click.option("--only", metavar="NAME", multiple=True, help="Act on this fine-tune alone.")
@replace_option
@lock_timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    plan_file: Path | None,
    *,
    auto_approve: bool,
    no_wait: bool,
    expect: str | None,
    approved: tuple[Path, ...],
    approve_cost: float | None,
    only: tuple[str, ...],
    replace: tuple[str, ...],
    lock_timeout: float,
) -> int:
    """Train, evaluate, judge and promote until specs and models agree.

    Carries out the plan that it shows, and what follows from it. With PLAN_FILE (from
    `plan --out`) carries out that plan without asking, and no other. With --approved, fine-tunes
    for which something else is planned by now wait, and the others are carried out.
    """
    project, as_json = project_of(ctx), wants_json(ctx)
    screen = open_screen(as_json=as_json)
    expected = _expected(expect, plan_file)
    require_one_approval(approved, others=[auto_approve, expect, plan_file])
    files = read_approved(approved, screen)
    replaced = {*replace, *(name for saved in files for name in saved.replace)}
    replaced |= expected.saved.replace if expected and expected.saved else set()
    prepared = prepare_run(project, replace=replaced)
    require_readable(prepared)
    check_replaced(replace, prepared)
    plan = prepared.plan
    check_names(only, [*prepared.desired, *(action.name for action in plan.actions)])
    _require_expected(expected, plan)
    is_approved = auto_approve or expected is not None or bool(approved)
    if as_json and not is_approved:
        raise FtctlError("--json cannot ask before spending", "Add --auto-approve.")
    if not plan.actions and not is_to_store(prepared):
        _print_no_changes(plan, as_json=as_json)
        return ExitCode.DONE
    if not as_json:
        print_coloured(plan_text(plan, prepared.desired))
        click.echo()
    above_usd = prepared.loaded.settings.budget.approve_above_usd
    parts = split_held(plan, files if approved else None, only, above_usd, approve_cost)
    for outcome in parts.held:
        screen.done(outcome)
    if not is_approved:
        ask(parts.actions)
    options = RunOptions(
        approval=approve(parts.actions, plan.decisions, plan.settings),
        wait=not no_wait,
        lock_timeout_s=lock_timeout,
    )
    with finish(project, screen, as_json=as_json) as ending:
        ending.result = run_until_settled(prepared, screen, options)
        ending.result.held = parts.held
    return ending.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """The plan that a person approved elsewhere."""

    plan_id: str
    saved: SavedPlan | None = None
    """Content of a plan file; None if only the ID is known."""


def _expected(expect: str | None, plan_file: Path | None) -> _Expected | None:
    if plan_file is None:
        return None if expect is None else _Expected(plan_id=expect)
    try:
        saved = read_plan(plan_file.read_bytes())
    except ValueError:
        message = f"{plan_file} is not a plan file of format {PLAN_FORMAT}"
        raise FtctlError(message, "Write one with this ftctl: ftctl plan --out FILE") from None
    if expect is not None and expect != saved.id:
        raise PlanStale(f"{plan_file} is plan {saved.id}, not {expect}", "Approve one of them.")
    return _Expected(plan_id=saved.id, saved=saved)


def _require_expected(expected: _Expected | None, plan: Plan) -> None:
    if expected is None or expected.plan_id == plan.id:
        return
    message = f"the plan is {plan.id} now, not {expected.plan_id}"
    if expected.saved is not None:
        changed = expected.saved.changed_since(plan)
        if not changed:
            return
        message += f"; changed since: {', '.join(changed)}"
    raise PlanStale(message, "Look at `ftctl plan` and approve that one.")


def _print_no_changes(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        print_json_line(plan_json(plan, {}))
    else:
        click.echo(plan_text(plan, {}))
