"""An evaluation as promptfoo's own export, version 3, which `promptfoo import` reads. Pure.

A prompt is a column of its viewer: here, a model. A test is a row: here, an example.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from backends.contract.inspector import Json
from controller.export.evaluated import (
    Evaluated,
    Line,
    Overview,
    RoleCounts,
    overview_of,
    text_of,
)

_VERSION: Final = 3
_PROMPT: Final = "{{question}}"
_PASSED, _FAILED = 0, 1


def promptfoo_lines(evaluated: Evaluated, role: str | None = None) -> Iterator[bytes]:
    """Yield the text of the file, a result a line.

    Args:
        evaluated: The evaluation.
        role: The only model to write; None for all that answered.
    """
    overview = overview_of(evaluated, None if role is None else [role])
    roles = list(overview.roles)
    head = {
        "evalId": f"eval-ftctl-{evaluated.key}",
        "config": {
            "description": evaluated.title,
            "prompts": [_PROMPT],
            "providers": [_provider(evaluated, one) for one in roles],
        },
        "shareableUrl": None,
        "metadata": {"evaluationCreatedAt": evaluated.evaluation.evaluated},
        "vars": ["question", "reference"],
    }
    results = {
        "version": _VERSION,
        "timestamp": evaluated.evaluation.evaluated,
        "prompts": [_prompt(evaluated, one, overview) for one in roles],
        "stats": _stats(overview),
    }
    yield f'{_open(head)}, "results": {_open(results)}, "results": ['.encode()
    separator = "\n"
    for place, line in enumerate(evaluated.lines()):
        for column, one in enumerate(roles):
            if one in line["answers"]:
                result = _result(line, one, evaluated, overview)
                result |= {"promptIdx": column, "testIdx": place}
                yield (separator + text_of(result)).encode("utf-8", errors="replace")
                separator = ",\n"
    yield b"\n]}}\n"


def _open(value: Mapping[str, Any]) -> str:
    """Return the JSON text of an object without its end."""
    return json.dumps(value, ensure_ascii=False)[:-1]


def _provider(evaluated: Evaluated, role: str) -> dict[str, str]:
    return {"id": role, "label": f"{role} ({evaluated.model_of(role)})"}


def _prompt(evaluated: Evaluated, role: str, overview: Overview) -> dict[str, Any]:
    counts = overview.roles[role]
    named = evaluated.evaluation.scores.get(role, {})
    return {
        "raw": _PROMPT,
        "label": _PROMPT,
        "provider": _provider(evaluated, role)["label"],
        "metrics": {
            "score": counts.right,
            "testPassCount": counts.right,
            "testFailCount": counts.examples - counts.right,
            "testErrorCount": 0,
            "assertPassCount": counts.right,
            "assertFailCount": counts.examples - counts.right,
            "totalLatencyMs": round(counts.latency_s * 1000),
            "tokenUsage": _tokens(counts.tokens, counts.examples),
            # The viewer divides a named score by its count.
            "namedScores": {name: number * counts.examples for name, number in named.items()},
            "namedScoresCount": dict.fromkeys(named, counts.examples),
            "cost": 0,
        },
    }


def _stats(overview: Overview) -> dict[str, Json]:
    total = RoleCounts()
    for counts in overview.roles.values():
        total.examples += counts.examples
        total.right += counts.right
        total.tokens += counts.tokens
    return {
        "successes": total.right,
        "failures": total.examples - total.right,
        "errors": 0,
        "tokenUsage": _tokens(total.tokens, total.examples),
    }


def _tokens(completion: int, requests: int) -> dict[str, int]:
    counts = {"prompt": 0, "completion": completion, "total": completion, "cached": 0}
    return {**counts, "numRequests": requests}


def _result(line: Line, role: str, evaluated: Evaluated, overview: Overview) -> dict[str, Any]:
    is_right = overview.is_right(line, role)
    values = line["values"].get(role, {})
    tokens = line.get("tokens", {}).get(role, 0)
    names = {"question": _question(line), "reference": _reference(line)}
    about = {**line["columns"], "id": line["id"], "origin": line["origin"]}
    by = overview.judged_by or "the text of the expected answer"
    return {
        "promptId": role,
        "provider": _provider(evaluated, role),
        "prompt": {"raw": text_of(line["messages"]), "label": _PROMPT},
        "testCase": {"vars": names, "metadata": about},
        "vars": names,
        "response": {"output": _output(line, role), "tokenUsage": _tokens(tokens, 1)},
        "success": is_right,
        "failureReason": _PASSED if is_right else _FAILED,
        "score": int(is_right),
        "latencyMs": round(line.get("latency_s", {}).get(role, 0.0) * 1000),
        "gradingResult": {
            "pass": is_right,
            "score": int(is_right),
            "reason": f"{'right' if is_right else 'wrong'} by {by}",
        },
        "namedScores": {name: value for name, value in values.items() if value is not None},
        "metadata": about | _thinking(line, role),
        "cost": 0,
    }


def _question(line: Line) -> str:
    """Return the question; the whole conversation as JSON, as promptfoo writes it, if it is longer."""
    messages = line["messages"]
    content = messages[0].get("content") if len(messages) == 1 else None
    return content if isinstance(content, str) else text_of(messages)


def _reference(line: Line) -> str:
    return line.get("reference") or text_of(line.get("reference_calls") or "")


def _output(line: Line, role: str) -> Json:
    text, calls = line["answers"][role], line.get("calls", {}).get(role)
    if not calls:
        return text or ""
    return {"content": text, "tool_calls": calls} if text else calls


def _thinking(line: Line, role: str) -> dict[str, str]:
    thinking = line.get("thinking", {}).get(role)
    return {"thinking": thinking} if thinking else {}
