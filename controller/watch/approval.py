"""What the service may do without asking: the door for stricter approvals.

On a branch, the merge is the approval: whoever may merge decided by the plan of the pull request.
The budgets of specs and of `ftctl.yaml` hold as in `ftctl apply --auto-approve`. In a folder nobody
merged anything, so the service does only what needs no approval.
"""

from collections.abc import Callable
from typing import TypeAlias

from controller.plan.approval import Approval, approve
from controller.run.stages import PreparedRun

Approver: TypeAlias = Callable[[PreparedRun, str | None], Approval | None]
"""Returns what a pass may do, by its plan and the commit of the branch that it was made from."""


def approve_merged(prepared: PreparedRun, commit: str | None) -> Approval | None:
    """Approve what a branch declares: it was merged."""
    del commit
    plan = prepared.plan
    return approve(plan.actions, plan.decisions, plan.settings)


def approve_nothing(prepared: PreparedRun, commit: str | None) -> Approval | None:
    """Approve nothing: only what needs no approval is done."""
    del prepared, commit
    return None
