"""What merging a pull request does, in a few sentences. Pure."""

from collections.abc import Iterator, Sequence

from controller.plan.actions import Action, Deferred, Retire
from controller.plan.actions.groups import ReplacingAction
from controller.plan.budget import exceeds
from controller.plan.plan import Plan
from controller.render.comment.escape import code, prose
from controller.render.comment.facts import Review
from controller.render.summary import costs
from controller.render.text import dollars, most_dollars

COST_LABEL = "ftctl/approve-cost"
"""Label by which somebody with write access approves the cost of a pull request."""
COMMAND = "/ftctl plan"
"""Comment by which somebody with write access asks for a plan that is made with keys."""
_NAMES = 5
_NAME_WIDTH = 80


def merging(plan: Plan, review: Review) -> list[str]:
    """Return a paragraph for each thing that a reviewer decides by merging."""
    paragraphs = ["".join(_effects(plan.actions))]
    known = [usd for usd in costs(plan.actions)[1] if usd[1] > 0]
    estimates, _ = costs(plan.actions)
    limit = review.approve_above_usd
    highest = sum(high for _, high in known)
    if limit is not None and (exceeds(highest, limit) or None in estimates.values()):
        paragraphs.append(
            f"**The cost needs an approval of its own:** it may exceed {prose(dollars(limit, limit))} "
            f"({code('budget.approve_above_usd')}). Until somebody with write access adds the label "
            f"{code(COST_LABEL)}, merging starts no job beyond that."
        )
    late = [one.name for one in plan.actions if isinstance(one, Deferred) and not one.parent]
    if late:
        paragraphs.append(
            f"**Not known here:** {names(late)}. Merging does not start them, because nobody saw "
            f"what they cost. For a plan made with keys and servers, somebody with write access "
            f"comments {code(COMMAND)}."
        )
    return paragraphs


def names(known: Sequence[str]) -> str:
    """Return names of models in Markdown, the rest counted."""
    shown = ", ".join(code(name, _NAME_WIDTH) for name in known[:_NAMES])
    more = len(known) - _NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _effects(actions: Sequence[Action]) -> Iterator[str]:
    approved = [action for action in actions if action.needs_approval]
    if not approved:
        yield "**Merging** starts nothing, costs nothing and changes no model in production."
        return
    yield "**Merging** carries out this plan and no other: it "
    yield ", ".join(_done(approved))
    yield ". A model for which something else is planned by then waits, and the others continue."


def _done(actions: Sequence[Action]) -> Iterator[str]:
    estimates, known = costs(actions)
    if estimates:
        jobs = "1 job" if len(estimates) == 1 else f"{len(estimates)} jobs"
        most = most_dollars(sum(high for _, high in known))
        unknown = len(estimates) - len(known)
        price = f"at most {prose(most)}" if known else "a price that is not known"
        beside = f" and {unknown} of unknown price" if known and unknown else ""
        yield f"starts {jobs} for {price}{beside}"
    cancelled = {action.cancels.job for action in actions if action.cancels is not None}
    if cancelled:
        yield f"cancels {len(cancelled)} running {'job' if len(cancelled) == 1 else 'jobs'}"
    retired = [action.name for action in actions if isinstance(action, Retire)]
    changed = [
        action.name
        for action in actions
        if isinstance(action, ReplacingAction) and not isinstance(action, Retire)
    ]
    if changed:
        yield f"may change what is in production of {names(changed)}"
    if retired:
        yield f"forgets {names(retired)}"
    others = len({action.name for action in actions} - {*retired, *changed})
    if others:
        yield f"updates the record of {others} {'model' if others == 1 else 'models'}"
