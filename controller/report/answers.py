"""Answers of an evaluation: what changed, confusion, slices, tokens and time. Pure.

Lines are read once and one at a time. What grows with them are counts, and the texts of a limited
number of examples.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from backends.contract.completions import text_of
from backends.contract.inspector import Json
from controller.evaluate.answers import shown_calls
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.metric import percentile
from controller.report.answer_model import (
    CHANGES,
    AnswerGroup,
    Answers,
    AnswerView,
    Change,
    ExampleView,
    Message,
    Text,
    Usage,
)
from controller.report.confusion import Confusion
from controller.report.lines import EvaluatedExample
from controller.report.model import role_name
from controller.report.slices import SliceCounts

LONGEST_TEXT: Final = 2_000
"""Characters of one text on a page; the JSON has all of them."""
MOST_CHARACTERS: Final = 6_000_000
"""Characters of all texts on a page."""
MOST_EXAMPLES: Final[Mapping[Change, int]] = {
    "broken": 500,
    "fixed": 500,
    "changed": 500,
    "wrong": 200,
    "right": 100,
    "same": 100,
    "uncounted": 100,
}
"""Examples of each outcome on a page."""
MOST_MESSAGES: Final = 40
"""Messages before an answer on a page."""
_CUT_OFF = "length"


@dataclass(slots=True)
class _UsageCounts:
    answers: int = 0
    cut: int = 0
    tokens: int = 0
    latencies: list[float] = field(default_factory=list)


def answers_of(
    examples: Iterable[EvaluatedExample],
    *,
    metric: str | None,
    rivals: Sequence[str],
    labels: Sequence[str] = (),
) -> Answers:
    """Return the answers of an evaluation.

    Args:
        examples: Lines of the evaluation file, in order.
        metric: Name of the metric that tells right from wrong; None without one.
        rivals: Roles that this build is compared with, the most important first.
        labels: Labels that the spec declares.
    """
    collected = _Collected(metric=metric, rivals=rivals, confusion=Confusion(labels))
    for example in examples:
        collected.add(example)
    return collected.result()


@dataclass(slots=True, kw_only=True)
class _Collected:
    metric: str | None
    rivals: Sequence[str]
    confusion: Confusion
    count: int = 0
    room: int = MOST_CHARACTERS
    roles: dict[str, None] = field(default_factory=dict)
    changes: dict[str, Counter[Change]] = field(default_factory=lambda: defaultdict(Counter))
    shown: dict[Change, list[ExampleView]] = field(default_factory=lambda: defaultdict(list))
    slices: SliceCounts = field(default_factory=SliceCounts)
    usage: dict[str, _UsageCounts] = field(default_factory=lambda: defaultdict(_UsageCounts))

    def add(self, example: EvaluatedExample) -> None:
        self.count += 1
        self.roles |= dict.fromkeys(example.answers)
        rivals = [role for role in self.rivals if role in example.answers]
        outcomes = {role: outcome(example, role, self.metric) for role in rivals}
        for role, change in outcomes.items():
            self.changes[role][change] += 1
        self.confusion.add(example)
        if self.metric is not None:
            self.slices.add(example, self.metric)
        for role in example.answers:
            self._count_usage(role, example)
        first: Change = next(iter(outcomes.values()), "uncounted")
        if len(self.shown[first]) < MOST_EXAMPLES[first] and self.room > 0:
            view = _view(example, self.count, outcomes, self.metric)
            self.room -= sum(len(text.shown) for text in _texts(view))
            self.shown[first].append(view)

    def _count_usage(self, role: str, example: EvaluatedExample) -> None:
        counts = self.usage[role]
        counts.answers += 1
        counts.cut += example.finish_reason.get(role) == _CUT_OFF
        counts.tokens += example.tokens.get(role) or 0
        latency = example.latency_s.get(role)
        if latency is not None:
            counts.latencies.append(latency)

    def result(self) -> Answers:
        roles = [role for role in (CANDIDATE, *self.rivals) if role in self.roles]
        roles += [role for role in self.roles if role not in roles]
        rival = next((role for role in self.rivals if role in self.roles), None)
        counts = self.changes[rival] if rival else Counter({"uncounted": self.count})
        return Answers(
            count=self.count,
            metric=self.metric,
            roles=roles,
            rival=rival,
            changes={role: dict(self.changes[role]) for role in self.rivals if role in self.roles},
            groups=[
                AnswerGroup(change=change, count=counts[change], examples=self.shown[change])
                for change in CHANGES
                if counts[change]
            ],
            matrices=self.confusion.matrices(roles),
            slices=self.slices.result(roles),
            usage=[_usage(role, self.usage[role]) for role in roles],
        )


def outcome(example: EvaluatedExample, rival: str, metric: str | None) -> Change:
    """Return what became of one example, compared with a rival."""
    if metric is None:
        ours, theirs = (
            (example.answers.get(role, "").strip(), shown_calls(example.calls.get(role) or ()))
            for role in (CANDIDATE, rival)
        )
        return "same" if ours == theirs else "changed"
    values = [example.values.get(role, {}).get(metric) for role in (CANDIDATE, rival)]
    if None in values:
        return "uncounted"
    right, was_right = (value == 1 for value in values)
    if right:
        return "right" if was_right else "fixed"
    return "broken" if was_right else "wrong"


def cut_text(text: str, most: int = LONGEST_TEXT) -> Text:
    """Return a text, cut if it is too long to show."""
    return Text(shown=text[:most], characters=len(text))


def _view(
    example: EvaluatedExample, number: int, outcomes: Mapping[str, Change], metric: str | None
) -> ExampleView:
    messages = [
        Message(role=str(one.get("role", "")), text=cut_text(_said(one)))
        for one in islice(example.messages, max(0, len(example.messages) - MOST_MESSAGES), None)
    ]
    asked = next((one for one in reversed(messages) if one.role == "user"), None)
    is_answerable = example.reference is not None or example.reference_calls
    expected = _with_calls(example.reference or "", example.reference_calls)
    return ExampleView(
        number=number,
        id=example.id,
        origin=example.origin,
        question=asked.text if asked else cut_text(""),
        context=[one for one in messages if one is not asked],
        expected=cut_text(expected) if is_answerable else None,
        answers=[
            _answer(example, role, metric)
            for role in sorted(example.answers, key=lambda role: (role != CANDIDATE, role))
        ],
        outcomes=outcomes,
        columns=dict(example.columns),
    )


def _answer(example: EvaluatedExample, role: str, metric: str | None) -> AnswerView:
    thinking = example.thinking.get(role)
    return AnswerView(
        role=role,
        name=role_name(role),
        text=cut_text(_with_calls(example.answers[role], example.calls.get(role))),
        thinking=cut_text(thinking) if thinking else None,
        value=example.values.get(role, {}).get(metric) if metric else None,
        finish_reason=example.finish_reason.get(role) or "",
    )


def _said(message: Mapping[str, Json]) -> str:
    calls = message.get("tool_calls")
    found = [one for one in calls if isinstance(one, dict)] if isinstance(calls, list) else None
    return _with_calls(text_of(message), found)


def _with_calls(text: str, calls: Sequence[Mapping[str, Json]] | None) -> str:
    return "\n".join(filter(None, [text, shown_calls(calls or ())]))


def _texts(view: ExampleView) -> list[Text]:
    texts = [view.question, *(one.text for one in view.context)]
    texts += [one.text for one in view.answers]
    texts += [one.thinking for one in view.answers if one.thinking]
    return [*texts, *([view.expected] if view.expected else [])]


def _usage(role: str, counts: _UsageCounts) -> Usage:
    latencies = counts.latencies
    return Usage(
        role=role,
        name=role_name(role),
        answers=counts.answers,
        tokens=counts.tokens or None,
        latency_p50_s=percentile(latencies, 50) if latencies else None,
        latency_p95_s=percentile(latencies, 95) if latencies else None,
        cut=counts.cut,
    )
