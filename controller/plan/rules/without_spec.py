"""Rules for a recorded fine-tune whose spec is gone. Pure."""

from controller.plan.actions import Blocked, BlockReason, Retire
from controller.plan.hosting import billed
from controller.plan.state import State


def keep_protected(state: State) -> Blocked | None:
    """Keep a protected fine-tune."""
    if not state.entry.protect:
        return None
    remedy = (
        f"Bring {state.file} back; to let it go, set `lifecycle: {{protect: false}}` there first."
    )
    reason = f"{state.file} is gone, but it is protected"
    return state.blocked(BlockReason.LIFECYCLE, reason, remedy)


def keep_all(state: State) -> Blocked | None:
    """Keep every fine-tune where no spec is left: that looks like a mistake."""
    if state.overview.declared:
        return None
    remedy = "Check --dir. To forget them all, delete finetunes/ftctl.lock."
    reason = "no spec is left at all, which looks like a mistake"
    return state.blocked(BlockReason.LIFECYCLE, reason, remedy)


def keep_while_unreadable(state: State) -> Blocked | None:
    """Keep a fine-tune while an unreadable spec may be its new name."""
    strangers = sorted(state.overview.unresolved.keys() - state.overview.recorded.keys())
    if not strangers:
        return None
    reason = f"{state.file} is gone, and {strangers[0]}, which may be its new name, cannot be read"
    remedy = f"Correct the problems of {strangers[0]} first."
    return state.blocked(BlockReason.LIFECYCLE, reason, remedy)


def retire(state: State) -> Retire:
    """Forget the fine-tune."""
    return Retire(
        name=state.name,
        reason=f"{state.file} was removed; its models are kept",
        cancels=state.cancels,
        replaces=state.entry.production,
        deployments=tuple(map(str, billed(state.entry))),
    )
