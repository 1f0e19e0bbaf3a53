"""`--approved FILE` and `--approve-cost USD` of `ftctl apply`: what somebody approved elsewhere."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from controller.apply.context import Outcome
from controller.cli.common import Finite
from controller.errors import FtctlError
from controller.plan.actions import Action
from controller.plan.approvals.held import Held, held_by_cost, held_by_plan
from controller.plan.approvals.saved import SavedPlan, read_plan
from controller.plan.plan import Plan
from controller.render.plan_json import PLAN_FORMAT
from controller.run.result import ProgressReporter

approved_option = click.option(
    "--approved",
    metavar="PLAN_FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Carry out what this plan file approves, without asking; the rest waits. Repeatable.",
)
approve_cost_option = click.option(
    "--approve-cost",
    metavar="USD",
    type=Finite(min=0),
    help="Approve this cost of all jobs, above budget.approve_above_usd.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A plan's actions: those that may be carried out, and those that wait."""

    actions: tuple[Action, ...]
    held: tuple[Outcome, ...]


def require_one_approval(approved: Sequence[Path], others: Sequence[object]) -> None:
    """Refuse two approvals of one run.

    Raises:
        FtctlError: There are plan files, and another approval.
    """
    if approved and any(others):
        message = "--approved cannot be combined with PLAN_FILE, --plan-id or --auto-approve"
        raise FtctlError(message, "Use one of them.")


def read_approved(files: Sequence[Path], screen: ProgressReporter) -> list[SavedPlan]:
    """Return approved plans. One of another format approves nothing, which is reported.

    Raises:
        FtctlError: A file cannot be read.
    """
    plans = []
    for file in files:
        try:
            plans.append(read_plan(file.read_bytes()))
        except ValueError:
            is_not = f"{file} is not a plan file of format {PLAN_FORMAT}"
            screen.notice(f"{is_not}: it approves nothing")
        except OSError as error:
            remedy = "Write one: ftctl plan --out FILE"
            raise FtctlError(f"{file}: {error.strerror or error}", remedy) from None
    return plans


def split_held(
    plan: Plan,
    approved: Sequence[SavedPlan] | None,
    only: Collection[str],
    above_usd: float | None,
    approved_usd: float | None,
) -> Parts:
    """Return what a run may do of a plan, and what waits for an approval.

    Args:
        plan: The plan of this run.
        approved: Plans that somebody approved; None if this run's own plan is approved as a whole.
        only: Fine-tunes to act on; empty for all.
        above_usd: Cost that needs no approval of its own; None for any.
        approved_usd: Cost that somebody approved; None for none.
    """
    actions = [action for action in plan.actions if not only or action.name in only]
    held: list[Held] = []
    if approved is not None:
        wanted = {action.name for action in actions}
        held = [one for one in held_by_plan(plan, approved) if one.action.name in wanted]
        actions = _without(actions, held)
    costly = held_by_cost(actions, above_usd, approved_usd)
    return Parts(
        actions=tuple(_without(actions, costly)),
        held=tuple(
            Outcome(action=one.action, message=one.message, exit_code=one.exit_code)
            for one in (*held, *costly)
        ),
    )


def _without(actions: Sequence[Action], held: Sequence[Held]) -> list[Action]:
    """Return actions without those that wait; what needs no approval is done all the same."""
    names = {one.action.name for one in held}
    return [one for one in actions if one.name not in names or not one.needs_approval]
