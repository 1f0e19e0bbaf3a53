"""A plan as Markdown, for a pull request's comment."""

import re
from collections.abc import Mapping

from controller.plan.actions import Action
from controller.plan.desired import Desired
from controller.plan.plan import Plan
from controller.render.plan import plan_text
from controller.render.shutdowns import shutdown_lines
from controller.render.summary import cost, no_changes, notes_of, summary
from controller.render.text import escape_control, one_line

MARK = "<!-- ftctl:plan -->"
"""First line of the comment, by which it is found again and replaced."""
LIMIT = 60_000
"""GitHub takes 65,536 characters; what is over is cut, and said to be."""
ROWS_LIMIT = 20_000
"""Characters of the table, so that some of the full plan has room too."""
_REASON_WIDTH = 300


def plan_markdown(plan: Plan, desired: Mapping[str, Desired]) -> str:
    """Return the plan as one comment: summary first, a table, the full plan folded."""
    if not plan.actions:
        lines = [no_changes(plan), *map(cell, notes_of(plan))]
        return f"{MARK}\n### ftctl plan\n\n" + "\n\n".join(lines) + "\n"
    rows = ["| fine-tune | action | reason |", "|---|---|---|"]
    for action in plan.actions:
        style = action.style
        said = "; ".join([action.reason, *action.review()])
        reason = f"{cell(one_line(said, _REASON_WIDTH))}{_cancels(action)}"
        rows.append(f"| {cell(action.name)} | {style.symbol} {style.sentence} | {reason} |")
    spends = any(action.estimate is not None for action in plan.actions)
    rows = [*_fitting(rows), *_ends(plan)]
    text = plan_text(plan, desired)
    room = LIMIT - sum(len(row) + 1 for row in rows)
    if len(text) > room:
        text = f"{text[:room]}\n… cut; run `ftctl plan` for the rest"
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return "\n".join(
        [
            MARK,
            "### ftctl plan",
            "",
            f"**{summary(plan)}** {cost(plan)}".rstrip(),
            "",
            *rows,
            "",
            "<details><summary>Full plan</summary>",
            "",
            f"{fence}text",
            text,
            fence,
            "",
            "</details>",
            "",
            f"Plan ID `{plan.id}`."
            + (" Merging this pull request starts the training." if spends else ""),
            "",
        ]
    )


def _ends(plan: Plan) -> list[str]:
    """Return a paragraph for each end of models in production: a reviewer sees it unfolded."""
    lines = shutdown_lines(plan.shutdowns)
    return [part for line in lines for part in ("", f"**{cell(line.removeprefix('! '))}**")]


def _cancels(action: Action) -> str:
    return f"; **cancels {cell(str(action.cancels))}**" if action.cancels is not None else ""


def cell(text: str) -> str:
    """Escape text for a Markdown table: it may have been written by anybody."""
    flat = " ".join(escape_control(text).split())
    for character in "\\`*_{}[]<>()#+-!|~@":
        flat = flat.replace(character, f"\\{character}" if character != "@" else "@\u200b")
    return flat


def _fitting(rows: list[str]) -> list[str]:
    length = 0
    for index, row in enumerate(rows):
        length += len(row) + 1
        if length > ROWS_LIMIT:
            return [*rows[:index], f"| … | and {len(rows) - index} more | see `ftctl plan` |"]
    return rows
