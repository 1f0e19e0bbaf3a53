"""Rules of `lifecycle`: pins, suspension, protection. Pure."""

from controller.lockfile.model import Entry
from controller.plan.actions import Action, Blocked, BlockReason, Protect, Wait
from controller.plan.fingerprint import short_id
from controller.plan.overview import pinned_builds
from controller.plan.state import State


def require_pinned_build(state: State) -> Blocked | None:
    """Stop where a pin does not name exactly one recorded build."""
    pin = state.lifecycle.pin
    matches = pinned_builds(pin, state.entry) if pin is not None else [state.target]
    if len(matches) == 1:
        return None
    known = ", ".join(short_id(key) for key in state.entry.builds) or "none"
    reason = f"lifecycle.pin: {pin} names {len(matches) or 'no'} recorded builds"
    return state.blocked(BlockReason.LIFECYCLE, reason, f"Recorded builds: {known}")


def hold_suspended(state: State, step: Action | None) -> Action | None:
    """Hold the step of a suspended fine-tune back."""
    if step is None or not state.lifecycle.suspend:
        return step
    reason = f"lifecycle.suspend is set; without it: {step.reason}"
    remedy = f"Remove `suspend` from {state.desired.file} to let it continue."
    return state.blocked(BlockReason.SUSPENDED, reason, remedy)


def protect_first(state: State, step: Action | None) -> Action | None:
    """Record a changed protection where the step would not do it."""
    protect = state.lifecycle.protect
    acts = step is not None and step.acts
    if acts or protect == state.entry.protect or state.entry == Entry():
        return step
    reason = "lifecycle.protect was changed"
    if isinstance(step, Blocked):
        reason += f"; otherwise blocked: {step.reason}"
    job = step.job if isinstance(step, Wait) else None
    return Protect(name=state.name, reason=reason, protect=protect, job=job)
