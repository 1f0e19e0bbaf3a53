"""What the service may do without asking: the door for stricter approvals.

On a branch, the merge is the approval: a person decided by the plan of the pull request.
The budgets of specs and of `ftctl.yaml` hold as in `ftctl apply --auto-approve`. What changes
without a merge is not approved: other answers of a database, of a URL or of a hub retrain nothing.

In a folder there is no merge, so the service does only what needs no approval.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from backends.atomic_files import write_atomic
from controller.plan.approval import Approval, approve
from controller.run.stages import PreparedRun

Approver: TypeAlias = Callable[[PreparedRun, str | None], Approval | None]
"""Returns what a pass may do, by its plan and the commit of the branch that it was made from."""


@dataclass(slots=True, kw_only=True)
class MergeApproval:
    """Approval of what each commit of the branch declared when it was first acted on."""

    memory: Path
    """File that keeps it, so that a restart approves nothing else."""
    commit: str | None = None
    decisions: dict[str, str | None] = field(default_factory=dict)
    """Digest of what was decided by that commit, by fine-tune; None for one without a spec."""

    def load(self) -> None:
        """Read what was approved; without the file, the next pass approves what it finds."""
        try:
            found = json.loads(self.memory.read_bytes())
            self.commit, self.decisions = str(found["commit"]), dict(found["decisions"])
        except (OSError, ValueError, KeyError, TypeError):
            self.commit, self.decisions = None, {}

    def __call__(self, prepared: PreparedRun, commit: str | None) -> Approval:
        """Approve what a commit declares, but what changed since it was first acted on."""
        plan = prepared.plan
        before = dict(self.decisions) if commit == self.commit else {}
        names = {*plan.decisions, *(action.name for action in plan.actions if action.acts)}
        known = {name: plan.decisions.get(name) for name in names} | before
        if (commit, known) != (self.commit, self.decisions):
            value = {"commit": commit, "decisions": known}
            write_atomic(self.memory, json.dumps(value, sort_keys=True).encode() + b"\n")
            self.commit, self.decisions = commit, known
        allowed = [
            action
            for action in plan.actions
            if not action.needs_approval
            or known.get(action.name) == plan.decisions.get(action.name)
        ]
        return approve(allowed, plan.decisions, plan.settings)


def approve_nothing(prepared: PreparedRun, commit: str | None) -> None:
    """Approve nothing: only what needs no approval is done."""
    del prepared, commit
