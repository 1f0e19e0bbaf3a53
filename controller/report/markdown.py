"""A report as Markdown, for a pull request. Pure.

Data that is declared private, or may be, stays out of it: counts and scores only.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from controller.evaluate.judgement import Holds
from controller.render.comment.escape import cell, code, html_prose, without_pipes
from controller.render.text import one_line
from controller.report.answer_model import AnswerGroup, Answers, ExampleView
from controller.report.build import CANNOT_TELL, page_name
from controller.report.model import IndexRow, ModelScore, Report, ScoreBlock, role_name
from controller.report.words import (
    CHANGE_NAMES,
    NONE,
    changes_of,
    curve_words,
    interval_words,
    moment_words,
    plain_words,
    score_words,
    signed_words,
)

LIMIT: Final = 60_000
"""Characters: GitHub takes 65,536 in a comment."""
MOST_EXAMPLES: Final = 10
"""Examples of each outcome."""
_WIDTH = 160
_MARKS = {"passed": "✅", "failed": "❌", CANNOT_TELL: "❔"}
_GATE_MARKS = {Holds.YES: "✅", Holds.NO: "❌", Holds.CANNOT_TELL: "❔"}
_SIGNS = {"good": "better", "bad": "worse", "neutral": ""}


def report_markdown(report: Report) -> str:
    """Return a report as Markdown."""
    parts = [
        _top(report),
        _gate(report),
        _scores("Scores", _shared(report)),
        _scores("Retained ability", report.retained),
        _answers(report),
        *(_slices(report.answers) if report.answers and not report.may_be_private else ()),
        _curve(report),
        _data(report),
        _pairs("Cost and time", report.costs),
        _builds(report),
        _pairs("Declared", [(key, plain_words(value)) for key, value in report.declared]),
    ]
    text = ""
    for part in filter(None, parts):
        if len(text) + len(part) > LIMIT:
            return f"{text}\n… cut: the whole report is in `{page_name(report.name)}.html`.\n"
        text += f"{part}\n\n"
    return text.rstrip("\n") + "\n"


def card_sections(report: Report) -> str:
    """Return the part of a model's card that the lockfile and the spec tell: no examples."""
    parts = [
        cell(report.description),
        _scores("Scores", _shared(report)),
        _scores("Retained ability", report.retained),
        _data(report),
        _pairs("Trained with", [(key, plain_words(value)) for key, value in report.trained]),
    ]
    return "\n\n".join(filter(None, parts))


def index_markdown(rows: Sequence[IndexRow], commit: str | None) -> str:
    """Return the list of all fine-tunes."""
    at = f"\n\nAt commit `{commit}`." if commit else ""
    if not rows:
        return f"# Fine-tunes{at}\n\nNo fine-tune is declared yet: add finetunes/NAME.yaml.\n"
    table = _table(
        ["fine-tune", "verdict", "why", "first score", "changed answers"],
        [
            [
                f"[{row.name}]({row.page}.md)",
                _verdict(row.headline.verdict),
                cell(row.headline.why),
                cell(row.score),
                cell(row.changes),
            ]
            for row in rows
        ],
    )
    return f"# Fine-tunes{at}\n\n{table}\n"


def _shared(report: Report) -> list[ScoreBlock]:
    """Return the scores to show: of private data, those of slices only where the gate names them.

    A slice is called after a value of the data; the gate's are in the repository already.
    """
    return [
        block
        for block in report.scores
        if not report.may_be_private or block.conditions or "[" not in block.name
    ]


def _top(report: Report) -> str:
    lines = [
        f"## {report.name}: {_verdict(report.headline.verdict)}",
        f"{cell(report.headline.why)}",
    ]
    if report.description:
        lines.append(cell(report.description))
    if report.build is not None:
        build = report.build
        role = f" ({build.role})" if build.role else ""
        facts = (
            f"Build `{build.id}`{role}, model {cell(build.model_id)}, from {cell(build.base_model)}"
        )
        if report.evaluated:
            facts += f", evaluated {moment_words(report.evaluated)}"
        lines.append(f"{facts}, on {build.held_out:,} held-out examples.")
    lines += [f"> {cell(note)}" for note in report.notes]
    return "\n\n".join(lines)


def _verdict(verdict: str) -> str:
    return f"{_MARKS.get(verdict, '')} {verdict}".strip()


def _gate(report: Report) -> str:
    lines = [
        f"- {_GATE_MARKS[one.holds]} {cell(one.text)}"
        + (f": {cell(one.sentence)}" if one.sentence else "")
        for one in report.gate
    ]
    return "\n".join(["### Gate", "", *lines]) if lines else ""


def _scores(title: str, blocks: Sequence[ScoreBlock]) -> str:
    if not blocks:
        return ""
    roles = list(dict.fromkeys(row.role for block in blocks for row in block.rows))
    rows = []
    for block in blocks:
        by_role = {row.role: row for row in block.rows}
        scores = [_score(by_role.get(role), block.unit) for role in roles]
        rows.append([cell(block.name), *scores])
    head = ["metric", *(cell(role_name(role)) for role in roles)]
    return f"### {title}\n\n{_table(head, rows, numbers=True)}"


def _score(row: ModelScore | None, unit: str) -> str:
    if row is None or row.value is None:
        return NONE
    text = score_words(row.value) + (f" {unit}" if unit else "")
    if row.interval:
        text += f" ({interval_words(row.interval)})"
    if row.difference:
        lead = signed_words(row.difference.value)
        if row.difference.interval:
            lead += f", {interval_words(row.difference.interval)}"
        text += f"; {' '.join(filter(None, [lead, _SIGNS[row.difference.tone]]))}"
    return cell(text)


def _answers(report: Report) -> str:
    answers = report.answers
    if answers is None:
        return f"### Answers\n\n{cell(report.no_answers)}" if report.no_answers else ""
    changes = changes_of(answers)
    rows = [
        [cell(role_name(rival)), *(f"{counts.get(change, 0):,}" for change in changes)]
        for rival, counts in answers.changes.items()
    ]
    head = ["compared with", *(CHANGE_NAMES[change] for change in changes)]
    by = f"Right or wrong by {cell(answers.metric)}." if answers.metric else "Compared as texts."
    parts = [f"### Answers\n\n{by}"]
    if rows:
        parts.append(_table(head, rows, numbers=True))
    if report.is_private:
        parts.append("The data is declared private, so no example stands here.")
    elif report.may_be_private:
        parts.append(
            "No spec can be read that tells whether the data is private, so no example stands here."
        )
    else:
        parts += [_group(group, answers) for group in answers.groups if _is_change(group)]
    return "\n\n".join(parts)


def _is_change(group: AnswerGroup) -> bool:
    return group.change in {"broken", "fixed", "changed"}


def _group(group: AnswerGroup, answers: Answers) -> str:
    shown = group.examples[:MOST_EXAMPLES]
    first = "" if len(shown) == group.count else f", the first {len(shown)}"
    change, rival = CHANGE_NAMES[group.change].capitalize(), role_name(answers.rival or "")
    title = f"{change}, compared with {rival}: {group.count:,}{first}"
    head = ["", "question", "expected", *(cell(role_name(role)) for role in answers.roles)]
    rows = [[f"{one.number}", *_row(one, answers.roles)] for one in shown]
    return _folded(title, _table(head, rows))


def _row(example: ExampleView, roles: Sequence[str]) -> Iterator[str]:
    given = {answer.role: answer.text.shown for answer in example.answers}
    expected = example.expected.shown if example.expected else NONE
    texts = (example.question.shown, expected, *(given.get(role, NONE) for role in roles))
    for text in texts:
        yield cell(one_line(text, _WIDTH))


def _slices(answers: Answers) -> Iterator[str]:
    for one in answers.slices:
        head = [cell(one.column), "examples", *(cell(role_name(role)) for role in answers.roles)]
        rows = [
            [
                cell(one_line(row.value, _WIDTH)),
                f"{row.count:,}",
                *(score_words(row.scores[role]) for role in answers.roles),
            ]
            for row in one.rows
        ]
        title = f"{answers.metric} by {one.column}"
        yield _folded(title, _table(head, rows, numbers=True))


def _curve(report: Report) -> str:
    if report.curve is None:
        return ""
    findings = [f"> {cell(finding)}" for finding in report.curve.findings]
    words = curve_words(report.curve)
    return "\n\n".join(["### Loss during training", *findings, *([words] if words else [])])


def _data(report: Report) -> str:
    view = report.data
    if view is None:
        return ""
    counts = ", ".join(f"{one.examples:,} {one.name}" for one in view.splits)
    parts = ["### Data", *([f"Examples: {counts}."] if counts else [])]
    if view.sources:
        rows = [
            [
                cell(one.path),
                one.split,
                f"{one.rows:,}",
                f"{one.dropped:,}",
                f"{one.examples:,}",
                cell(one.licence or "not declared"),
            ]
            for one in view.sources
        ]
        parts.append(_table(["source", "for", "rows", "dropped", "examples", "licence"], rows))
    return "\n\n".join([*parts, *(f"> {cell(note)}" for note in view.notes)])


def _pairs(title: str, pairs: Sequence[tuple[str, str]]) -> str:
    if not pairs:
        return ""
    return _folded(title, _table(["", ""], [[_value(key), _value(value)] for key, value in pairs]))


def _value(text: str) -> str:
    """Return a key or a value of a spec: a list or a mapping as one piece of code."""
    return without_pipes(code(text)) if text[:1] in {"[", "{"} else cell(text)


def _builds(report: Report) -> str:
    if not report.builds:
        return ""
    rows = [
        [
            f"`{one.id}`",
            moment_words(one.finished),
            one.verdict,
            one.role or NONE,
            cell(one.model_id),
        ]
        for one in report.builds
    ]
    return _folded("Builds", _table(["build", "finished", "gate", "role", "model ID"], rows))


def _folded(title: str, content: str) -> str:
    """Return content that is folded. Its title is HTML, where Markdown's escapes mean nothing."""
    return f"<details><summary>{html_prose(title)}</summary>\n\n{content}\n\n</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """Return a table of escaped cells; with numbers, all columns but the first end right."""
    rule = ["---", *(["---:" if numbers else "---"] * (len(head) - 1))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
