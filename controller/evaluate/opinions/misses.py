"""Held-out examples that a model failed, in the form of training data. Pure.

The answer is left empty, to be corrected: a file that is trained on as it is has no answers, which
is an error. The key `MISS_OF` marks each line, so that training data that asks what is held out is
refused.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from controller.canonical import digest
from controller.data.select.misses import MISS_OF
from controller.evaluate.gate import CANDIDATE, parse_condition, split_score
from controller.evaluate.opinions.shown import answer_text, reference_text
from controller.evaluate.scoring import chosen_metrics
from controller.spec.metrics import ChosenMetric

WRONG_ANSWER: Final = "ftctl_wrong_answer"
"""Key of the model's answer."""
EXPECTED: Final = "ftctl_expected_answer"
"""Key of the held-out example's answer."""


def deciding_metric(gate: Sequence[str], metrics: Sequence[ChosenMetric]) -> str | None:
    """Return the metric that calls an answer right or wrong.

    Args:
        gate: The conditions.
        metrics: Metrics that the spec asks for.

    Returns:
        The first such metric that the gate names, or else the first that is declared; None if
        there is none.
    """
    named = [split_score(parse_condition(text).metric)[0] for text in gate]
    of_rights = [
        one.name
        for one in chosen_metrics(metrics, ())
        if one.metric.is_proportion and one.metric.higher_is_better
    ]
    in_order = [*named, *(one.name for one in metrics)]
    return next((name for name in in_order if name in of_rights), None)


def missed(line: Mapping[str, Any], metric: str) -> bool:
    """Return True if the candidate's answer in a line of an evaluation's file is wrong."""
    value: float | None = line["values"][CANDIDATE].get(metric)
    return value == 0


def miss_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of an evaluation's file as a row of training data without its answer."""
    row: dict[str, Any] = {"messages": [*line["messages"], {"role": "assistant", "content": ""}]}
    if line.get("tools"):
        row["tools"] = line["tools"]
    return {
        **row,
        MISS_OF: line["origin"] or line["id"],
        WRONG_ANSWER: answer_text(line, CANDIDATE),
        EXPECTED: reference_text(line),
    }


def merged(
    misses: Iterable[Mapping[str, Any]], earlier: Iterable[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """Yield misses, and the lines of an earlier file that a person corrected, in their place.

    A miss may have several corrections: a question has more than one good answer.
    """
    corrected: dict[str, list[Mapping[str, Any]]] = {}
    for row in filter(is_corrected, earlier):
        corrected.setdefault(_key(row), []).append(row)
    for row in misses:
        yield from corrected.pop(_key(row), [row])
    for rows in corrected.values():
        yield from rows


def is_corrected(row: Mapping[str, Any]) -> bool:
    """Return True if a person wrote the answer of a miss."""
    messages = row.get("messages") or [{}]
    return bool(messages[-1].get("content") or messages[-1].get("tool_calls"))


def is_miss(row: object) -> bool:
    """Return True if a line of a file is a miss, with its answer or without."""
    if not isinstance(row, dict) or MISS_OF not in row:
        return False
    messages = row.get("messages")
    return isinstance(messages, list) and all(isinstance(one, dict) for one in messages)


def miss_line(row: Mapping[str, Any]) -> bytes:
    """Return a miss as a line of JSONL."""
    return json.dumps(row, ensure_ascii=False).encode(errors="replace") + b"\n"


def _key(row: Mapping[str, Any]) -> str:
    return digest([row[MISS_OF], row["messages"][:-1]])
