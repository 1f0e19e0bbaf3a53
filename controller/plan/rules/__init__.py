"""The next step of a fine-tune: ordered tuples of rules, of which the first that fits decides. Pure.

A rule is a function of the state alone. It may rely on the rules before it: none of them did fit.
"""

from collections.abc import Callable
from typing import TypeAlias

from controller.plan.actions import Action
from controller.plan.rules import builds, jobs, lifecycle, prompts, training, without_spec
from controller.plan.state import State

Rule: TypeAlias = Callable[[State], Action | None]
"""Returns the action for a state that it fits, else None."""

WITH_SPEC: tuple[Rule, ...] = (
    lifecycle.require_pinned_build,
    jobs.report_missing,
    jobs.resume,
    jobs.wait,
    builds.reuse_own,
    builds.deploy,
    builds.evaluate,
    builds.judge_again,
    builds.promote,
    builds.stop_at_gate,
    builds.reuse_shared,
    builds.reuse_early,
    training.stop_after_failure,
    training.stop_without_answer,
    prompts.stop_without_base,
    training.adopt,
    training.keep_unjudged_home,
    prompts.prompt,
    training.keep_to_budget,
    training.keep_to_memory,
    training.train,
)
WITHOUT_SPEC: tuple[Rule, ...] = (
    without_spec.keep_protected,
    without_spec.keep_all,
    without_spec.keep_while_unreadable,
    without_spec.retire,
)


def next_action(state: State) -> Action | None:
    """Return the next step of a fine-tune; None if everything is as declared."""
    overview = state.overview
    if state.name in overview.unresolved:
        return overview.unresolved[state.name]
    if state.name in overview.desired:
        step = state.restore or _first(WITH_SPEC, state)
        return lifecycle.protect_first(state, lifecycle.hold_suspended(state, step))
    is_moved = any(restore.source == state.name for restore in overview.restores.values())
    return None if is_moved else _first(WITHOUT_SPEC, state)


def _first(rules: tuple[Rule, ...], state: State) -> Action | None:
    return next((action for rule in rules if (action := rule(state)) is not None), None)
