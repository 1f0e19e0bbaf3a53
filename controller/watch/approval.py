"""What the service may do without asking: the door for stricter approvals.

On a branch, the merge is the approval: a person decided by the plan of the pull request.
The budgets of specs and of `ftctl.yaml` hold as in `ftctl apply --auto-approve`. What changes
without a merge is not approved: other answers of a database, of a URL or of a hub retrain nothing.

In a folder there is no merge, so the service does only what needs no approval.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from backends.atomic_files import write_atomic
from controller.plan.approval import Approval, approve
from controller.plan.approvals.held import held_by_cost
from controller.run.stages import PreparedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a pass may do of its plan."""

    approval: Approval | None
    held: Mapping[str, str] = field(default_factory=dict)
    """Fine-tunes that wait for an approval, each with the reason and what to do."""


Approver: TypeAlias = Callable[[PreparedRun, str | None], Decision]
"""Decides what a pass may do, by its plan and the commit of the branch that it was made from."""
_CHANGED = "waits: what it is made from changed without a merge"
_MERGE = "Merge a commit to approve what `ftctl plan` shows now."


@dataclass(slots=True, kw_only=True)
class MergeApproval:
    """Approval of what each commit of the branch declared when it was first acted on."""

    memory: Path
    """File that keeps it, so that a restart approves nothing else."""
    commit: str | None = None
    decisions: dict[str, str | None] = field(default_factory=dict)
    """Digest of what was decided by that commit, by fine-tune; None for one without a spec."""

    costly: dict[str, str] = field(default_factory=dict)
    """Fine-tunes that wait since then because of their cost, each with the reason: a later pass
    finds fewer jobs in its plan, and would take them for cheap."""

    def load(self) -> None:
        """Read what was approved; without the file, the next pass approves what it finds."""
        try:
            found = json.loads(self.memory.read_bytes())
            self.commit = str(found["commit"])
            self.decisions, self.costly = dict(found["decisions"]), dict(found["costly"])
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            self.commit, self.decisions, self.costly = None, {}, {}

    def __call__(self, prepared: PreparedRun, commit: str | None) -> Decision:
        """Approve what a commit declares, but what changed since it was first acted on.

        What costs more than `budget.approve_above_usd` waits as well: a merge approves no cost.
        """
        plan = prepared.plan
        is_known = commit == self.commit
        names = {*plan.decisions, *(action.name for action in plan.actions if action.acts)}
        known = {name: plan.decisions.get(name) for name in names}
        known |= self.decisions if is_known else {}
        deciding = [action for action in plan.actions if action.needs_approval]
        held = {
            action.name: f"{_CHANGED}\n{_MERGE}"
            for action in deciding
            if known.get(action.name) != plan.decisions.get(action.name)
        }
        costly = dict(self.costly) if is_known else {}
        rest = [action for action in plan.actions if action.name not in {*held, *costly}]
        above_usd = prepared.loaded.settings.budget.approve_above_usd
        costly |= {one.action.name: one.message for one in held_by_cost(rest, above_usd, None)}
        self._remember(commit, known, costly)
        held = costly | held
        held = {action.name: held[action.name] for action in deciding if action.name in held}
        allowed = [
            action
            for action in plan.actions
            if not action.needs_approval or action.name not in held
        ]
        return Decision(approval=approve(allowed, plan.decisions, plan.settings), held=held)

    def _remember(
        self, commit: str | None, decisions: dict[str, str | None], costly: dict[str, str]
    ) -> None:
        if (commit, decisions, costly) == (self.commit, self.decisions, self.costly):
            return
        value = {"commit": commit, "decisions": decisions, "costly": costly}
        write_atomic(self.memory, json.dumps(value, ensure_ascii=False).encode() + b"\n")
        self.commit, self.decisions, self.costly = commit, decisions, costly


def approve_nothing(prepared: PreparedRun, commit: str | None) -> Decision:
    """Approve nothing: only what needs no approval is done."""
    del prepared, commit
    return Decision(approval=None)
