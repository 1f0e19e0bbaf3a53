"""Rules for a fine-tune for which nothing is trained. Pure."""

from collections.abc import Iterator

from controller.lockfile.model import Build
from controller.plan.actions import Blocked, BlockReason, Prompt
from controller.plan.desired import Desired
from controller.plan.fingerprint import InputChange, diff_inputs
from controller.plan.moving.rows import changed_fields
from controller.plan.state import State


def stop_without_base(state: State) -> Blocked | None:
    """Stop where the base model that would answer cannot be asked."""
    spec = state.desired.spec
    if state.build is not None or spec.trains:
        return None
    silent = state.silent_base
    if silent is None:
        return None
    remedy = f"Name another base model in {state.desired.file}: this one must answer itself."
    return state.blocked(BlockReason.DRIFT, silent, remedy)


def prompt(state: State) -> Prompt | None:
    """Record the base model with its prompt."""
    desired, spec = state.desired, state.desired.spec
    if state.build is not None or spec.trains:
        return None
    previous = state.previous
    differing = tuple(_read_without_training(previous, desired)) if previous else ()
    changed = ", ".join(changed_fields(desired.move, [change.field for change in differing]))
    return Prompt(
        name=state.name,
        reason=f"{changed} changed" if changed else "no build is recorded",
        fingerprint=state.target,
        base_model=spec.base_name,
        system=spec.prompt.system,
        few_shot=spec.prompt.few_shot,
        changes=differing,
        data=desired.data,
        judged_against=state.judged_against,
        move=desired.move,
        production_end=state.overview.observed.shutdowns.get(state.name),
        shutdown=state.overview.observed.base_shutdowns.get(state.name, desired.shutdown),
        warnings=(*desired.warnings, *state.gate_warnings()),
        download_bytes=desired.base_model.download_bytes,
        cancels=state.cancels,
        replaces=state.entry.production,
    )


def _read_without_training(previous: Build, desired: Desired) -> Iterator[InputChange]:
    """Yield the inputs that differ, without those that only training reads."""
    for change in diff_inputs(previous.inputs, desired.inputs):
        if change.field != "seed" and not change.field.startswith("hyperparameters."):
            yield change
