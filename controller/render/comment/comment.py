"""The whole comment: what matters first, cut by whole models below GitHub's limit. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from controller.plan.actions import Action
from controller.plan.actions.building import BuildingAction
from controller.plan.desired import Desired, Shutdown
from controller.plan.plan import Plan
from controller.render.comment.details import model_details
from controller.render.comment.escape import code, fenced, length, prose
from controller.render.comment.facts import NOTHING, Review
from controller.render.comment.merging import merging, names
from controller.render.comment.table import HEAD, by_importance, cancels, table_rows
from controller.render.shutdowns import shutdown_lines
from controller.render.summary import corrected, cost, no_changes, summary

MARK = "<!-- ftctl:plan -->"
"""First line of the comment, by which it is found again and replaced."""
BOUND = "<!-- ftctl:bound "
"""Begin of the second line: plan and commits that the comment is about, as JSON."""
LIMIT = 64_000
"""GitHub takes 65,536 characters."""
_DETAILS_SHARE = 0.4
"""Part of the room that the table leaves to what is folded below it, if it needs it."""
_LISTED = 10
"""Lines of a list before the rest is counted."""
_LINE_WIDTH = 400
_PROBLEMS_LIMIT = 50_000


def plan_comment(plan: Plan, desired: Mapping[str, Desired], review: Review = NOTHING) -> str:
    """Return a plan as a comment for a pull request.

    Args:
        plan: The plan.
        desired: What the specs ask for, by name.
        review: What a reviewer sees beside the plan.
    """
    head, tail = _head(plan, desired, review), _tail(plan, review)
    actions = by_importance(plan.actions)
    room = LIMIT - sum(length(line) + 1 for line in [*head, *HEAD, *tail]) - 2 * _LINE_WIDTH
    blocks = [model_details(action, desired.get(action.name), review) for action in actions]
    wanted = sum(length(block) + 2 for block in blocks)
    rows, left = _rows(actions, review, int(room - min(wanted, room * _DETAILS_SHARE)))
    folded = _fitting(blocks, room - sum(length(row) + 1 for row in rows))
    lines = [*head, *rows, *left, "", *folded, *tail]
    return "\n".join(lines) + "\n"


def problems_comment(text: str, review: Review = NOTHING) -> str:
    """Return a comment for a pull request that has no plan.

    Args:
        text: Every problem, for people.
        review: The commits.
    """
    kept: list[str] = []
    room = _PROBLEMS_LIMIT
    lines = text.splitlines()
    for line in lines:
        room -= length(line) + 1
        if room < 0:
            break
        kept.append(line)
    more = len(lines) - len(kept)
    cut = [f"And {more:,} more lines."] if more else []
    title = "**There is no plan: the fine-tunes have problems.**"
    return "\n".join(
        [*_binding(None, review), title, "", fenced("\n".join(kept), "text"), *cut, ""]
    )


def _binding(plan: Plan | None, review: Review) -> list[str]:
    bound = {"plan": plan.id if plan else None, "head": review.head, "base": review.base}
    return [MARK, f"{BOUND}{json.dumps(bound)} -->", "### ftctl plan", ""]


def _head(plan: Plan, desired: Mapping[str, Desired], review: Review) -> list[str]:
    if plan.actions:
        told = [f"**{prose(f'{summary(plan)} {cost(plan)}'.rstrip())}**"]
    else:
        told = [f"**{prose(line)}**" for line in no_changes(plan).splitlines()]
    important = [*_ends(plan, desired), *_cancellations(plan.actions)]
    decided = merging(plan, review) if plan.actions else []
    return [
        *_binding(plan, review),
        *(part for line in told for part in (line, "")),
        *(f"- {line}" for line in important),
        *([""] if important else []),
        *(part for line in decided for part in (line, "")),
    ]


def _ends(plan: Plan, desired: Mapping[str, Desired]) -> Iterator[str]:
    """Yield a line for each end of models in production, and of base models to be trained."""
    bases: dict[str, Shutdown] = {}
    for action in plan.actions:
        if isinstance(action, BuildingAction) and action.shutdown is not None:
            of = desired.get(action.name)
            model = of.base_name if of is not None else action.shutdown.model
            bases[action.name] = replace(action.shutdown, model=model, is_base=True)
    for line in [*shutdown_lines(plan.shutdowns), *shutdown_lines(bases)]:
        yield f"**ends:** {prose(line.removeprefix('! '), _LINE_WIDTH)}"


def _cancellations(actions: Sequence[Action]) -> Iterator[str]:
    cancelling = [action for action in by_importance(actions) if action.cancels is not None]
    for action in cancelling[:_LISTED]:
        yield f"{names([action.name])} {cancels(action)}"
    more = len(cancelling) - _LISTED
    if more > 0:
        yield f"{more} more cancel a running job; the table has each."


def _rows(actions: Sequence[Action], review: Review, room: int) -> tuple[list[str], list[str]]:
    """Return the table as far as there is room, and a paragraph about the models it leaves out."""
    if not actions:
        return [], []
    rows = list(HEAD)
    for row in table_rows(actions, review):
        room -= length(row) + 1
        if room < 0:
            break
        rows.append(row)
    rest = actions[len(rows) - len(HEAD) :]
    if not rest:
        return rows, []
    others = Plan(actions=tuple(rest), specs=len(rest))
    told = f"{summary(others).removeprefix('Plan: ')} {cost(others)}".rstrip()
    return rows, ["", f"**And {len(rest)} more models**, in the plan of the run: {prose(told)}"]


def _fitting(blocks: Sequence[str], room: int) -> list[str]:
    """Return the blocks for which there is room, each whole, and count the others."""
    kept: list[str] = []
    for block in blocks:
        if length(block) + 2 <= room:
            room -= length(block) + 2
            kept += [block, ""]
    more = len(blocks) - len(kept) // 2
    where = "have no room here: type `ftctl plan`, or look into the plan of the run."
    return [*kept, *([f"Details of {more} more {where}", ""] if more else [])]


def _tail(plan: Plan, review: Review) -> list[str]:
    notes = [f"Not asked: {place}: {why}" for place, why in plan.skipped.items()]
    if notes:
        notes.append("For these, the plan relies on the specs and the lockfile alone.")
    notes += [f"Note: {note}" for note in (*plan.notes, review.base_note) if note]
    notes += [corrected(plan)] if plan.actions and plan.corrected else []
    if len(notes) > _LISTED:
        notes = [*notes[:_LISTED], f"And {len(notes) - _LISTED} more notes: ftctl plan"]
    paragraphs = [prose(note, _LINE_WIDTH) for note in notes]
    planned = f"Plan {code(plan.id)}"
    if review.head:
        planned += f" of commit {code(review.head[:12])}"
    if review.base:
        planned += f", compared with {code(review.base[:12])}"
    return [part for one in [*paragraphs, f"{planned}."] for part in (one, "")][:-1]
