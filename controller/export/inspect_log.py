"""An evaluation as a log of inspect, version 2 in JSON, which `inspect view` reads. Pure.

A log is about one model, so each model that answered has a log of its own.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from backends.contract.inspector import Json
from controller.evaluate.gate import CANDIDATE
from controller.export.evaluated import Evaluated, Line, RoleCounts, overview_of, text_of
from controller.lockfile.model import RecordedSample

_VERSION: Final = 2
_LEVEL: Final = 0.95
_DEEPEST: Final = 100
"""Levels of a call's arguments."""
_STOPS: Final = {
    "stop": "stop",
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


def inspect_lines(evaluated: Evaluated, role: str = CANDIDATE) -> Iterator[bytes]:
    """Yield the text of the file, a sample a line.

    Args:
        evaluated: The evaluation.
        role: The model whose answers are written.
    """
    counts = overview_of(evaluated, [role]).roles.get(role, RoleCounts())
    when, model = evaluated.evaluation.evaluated, evaluated.model_of(role)
    head = {
        "version": _VERSION,
        "status": "success",
        "eval": _spec(evaluated, role, counts),
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": _results(evaluated, role, counts),
        "stats": {
            "started_at": when,
            "completed_at": when,
            "model_usage": {model: _usage(counts.tokens)},
        },
    }
    yield f'{json.dumps(head, ensure_ascii=False)[:-1]}, "samples": ['.encode()
    separator = "\n"
    for line in evaluated.lines():
        if role in line["answers"]:
            sample = text_of(_sample(line, role, model))
            yield (separator + sample).encode("utf-8", errors="replace")
            separator = ",\n"
    yield b"\n]}\n"


def _spec(evaluated: Evaluated, role: str, counts: RoleCounts) -> dict[str, Any]:
    build, evaluation = evaluated.build, evaluated.evaluation
    verdict = None if build.verdict is None else build.verdict.model_dump(mode="json")
    return {
        "eval_id": f"{evaluated.key}-{role}",
        "run_id": evaluated.key,
        "created": evaluation.evaluated,
        "task": evaluated.name,
        "task_id": f"{evaluated.name}-{role}",
        "dataset": {"name": build.data.held_out.digest, "samples": counts.examples},
        "model": evaluated.model_of(role),
        "config": {},
        "metadata": {
            "role": role,
            "build": build.fingerprint,
            "evaluation": evaluation.fingerprint,
            "commit": build.spec_commit,
            "verdict": verdict if role == CANDIDATE else None,
        },
    }


def _results(evaluated: Evaluated, role: str, counts: RoleCounts) -> dict[str, Json]:
    evaluation = evaluated.evaluation
    samples = evaluation.samples.get(role, {})
    return {
        "total_samples": counts.examples,
        "completed_samples": counts.examples,
        "scores": [
            {"name": name, "scorer": name, "metrics": _metrics(number, samples.get(name))}
            for name, number in evaluation.scores.get(role, {}).items()
        ],
    }


def _metrics(number: float, sample: RecordedSample | None) -> dict[str, Json]:
    ends = sample.sample.interval(_LEVEL) if sample is not None else (None, None)
    values = {"score": number, "low95": ends[0], "high95": ends[1]}
    return {
        name: {"name": name, "value": value} for name, value in values.items() if value is not None
    }


def _sample(line: Line, role: str, model: str) -> dict[str, Any]:
    asked = [_message(one) for one in line["messages"]]
    answer = _answer(line, role, model)
    seconds = line.get("latency_s", {}).get(role)
    stop = _STOPS.get(line.get("finish_reason", {}).get(role, ""), "unknown")
    choice: Json = {"message": answer, "stop_reason": stop}
    output: dict[str, Json] = {"model": model, "choices": [choice], "time": seconds}
    if tokens := line.get("tokens", {}).get(role):
        output["usage"] = _usage(tokens)
    values = line["values"].get(role, {})
    return {
        "id": line["id"],
        "epoch": 1,
        "input": asked,
        "target": line.get("reference") or text_of(line.get("reference_calls") or ""),
        "messages": [*asked, answer],
        "output": output,
        "scores": {
            name: {"value": value, "answer": line["answers"][role] or ""}
            for name, value in values.items()
            if value is not None
        },
        "metadata": {**line["columns"], "origin": line["origin"]},
    }


def _answer(line: Line, role: str, model: str) -> dict[str, Json]:
    text, thinking = line["answers"][role] or "", line.get("thinking", {}).get(role)
    content: Json = text
    if thinking:
        reasoning: Json = {"type": "reasoning", "reasoning": thinking}
        content = [reasoning, {"type": "text", "text": text}]
    message: dict[str, Json] = {
        "role": "assistant",
        "content": content,
        "source": "generate",
        "model": model,
    }
    calls = line.get("calls", {}).get(role)
    return message | ({"tool_calls": _calls(calls)} if calls else {})


def _message(message: Mapping[str, Any]) -> dict[str, Json]:
    """Return a message of a prompt as inspect writes it."""
    role = "system" if message["role"] == "developer" else message["role"]
    content = message.get("content") or ""
    made: dict[str, Json] = {
        "role": role,
        "content": content if isinstance(content, str) else [_part(one) for one in content],
        "source": "input",
    }
    if calls := message.get("tool_calls"):
        made["tool_calls"] = _calls(calls)
    if "tool_call_id" in message:
        made["tool_call_id"] = message["tool_call_id"]
    return made


def _part(part: Mapping[str, Any]) -> dict[str, Json]:
    """Return a part of a message: a text, or the JSON of anything else."""
    return {"type": "text", "text": part["text"] if part.get("type") == "text" else text_of(part)}


def _calls(calls: Sequence[Mapping[str, Any]]) -> list[Json]:
    return [_call(place, one) for place, one in enumerate(calls)]


def _call(place: int, written: Mapping[str, Any]) -> dict[str, Json]:
    """Return a call; arguments that are not a JSON object are kept as the error's text."""
    call: dict[str, Json] = {"id": written.get("id") or f"call_{place}"}
    if isinstance(custom := written.get("custom"), Mapping):
        # The input of a custom tool is a text.
        text: Json = str(custom.get("input") or "")
        return _named(call, custom) | {"arguments": {"input": text}}
    function = written.get("function")
    body = function if isinstance(function, Mapping) else {}
    call, text = _named(call, body), body.get("arguments") or "{}"
    arguments = _arguments(text)
    if arguments is not None:
        return call | {"arguments": arguments}
    return call | {"arguments": {}, "parse_error": f"not a JSON object: {text}"}


def _named(call: Mapping[str, Json], body: Mapping[str, Json]) -> dict[str, Json]:
    return {**call, "function": str(body.get("name")), "type": "function"}


def _arguments(written: Json) -> dict[str, Json] | None:
    """Return arguments as a model wrote them; None if they are not an object that JSON can hold."""
    try:
        arguments = json.loads(written) if isinstance(written, str) else written
        # Python reads and writes NaN and endless numbers, which no other reader of JSON takes.
        json.dumps(arguments, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) and not _is_deeper(arguments) else None


def _is_deeper(value: Json) -> bool:
    """Return whether a value is nested more deeply than readers of a log can be asked to follow."""
    level: list[Json] = [value]
    for _ in range(_DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return False
    return True


def _inside(value: Json) -> Iterable[Json]:
    match value:
        case Mapping():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _usage(tokens: int) -> dict[str, int]:
    return {"output_tokens": tokens, "total_tokens": tokens}
