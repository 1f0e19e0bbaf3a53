"""Chat requests as servers take them. Pure.

Messages of examples carry more than a server takes in a prompt: weights, the thinking of earlier
turns, arguments as objects. What OpenAI's protocol does not know of a message is left out for
OpenAI and Azure, which refuse it; other servers get everything but the weight.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from backends.base import Json, Prompt, Sampling
from backends.openai.wire import Refused

MOST_STOPS: Final = 4
THINKING: Final = "chat_template_kwargs"
"""Field with which vLLM, SGLang and their like are told whether a model thinks."""
_LIMIT: Final = "max_tokens"
_NEWER_LIMIT: Final = "max_completion_tokens"
_NEWER: Final = ("o1", "o3", "o4", "gpt-5", "gpt-6")
"""Models that call the limit `max_completion_tokens`."""
_KNOWN: Final = frozenset(
    {"role", "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id"}
)
_SEEDS: Final = 2**31
_INVALID: Final = frozenset({400, 422})
_OF_PROMPT: Final = frozenset(
    {"context_length_exceeded", "content_filter", "invalid_prompt", "string_above_max_length"}
)
"""Codes of refusals that are about one prompt; another prompt can be answered."""
_TOO_LONG: Final = ("context_length_exceeded", "context length", "string_above_max_length")


def chat_request(
    model: str, family: str, prompt: Prompt, sampling: Sampling, *, strict: bool
) -> dict[str, Any]:
    """Return the body of a chat request.

    Args:
        model: The model's name at the server, or its deployment's.
        family: The base model's own name: a deployment's name tells nothing of it.
        prompt: What to answer.
        sampling: How.
        strict: Whether the server takes only what OpenAI's protocol knows.
    """
    newer = any(_is_newer(name) for name in (model, family))
    request: dict[str, Any] = {
        "model": model,
        "messages": [_message(message, strict=strict) for message in prompt.messages],
        _NEWER_LIMIT if newer else _LIMIT: sampling.max_tokens,
        "seed": sampling.seed % _SEEDS,
    }
    if not newer:
        request["temperature"] = sampling.temperature
    if prompt.tools:
        request["tools"] = [dict(tool) for tool in prompt.tools]
    if sampling.stop:
        request["stop"] = list(sampling.stop[:MOST_STOPS])
    if not strict:
        request[THINKING] = {"enable_thinking": sampling.thinking}
    return request


def lightened(request: Mapping[str, Any], error: Refused) -> dict[str, Any] | None:
    """Return a request without, or with another name for, the field that was refused.

    - A prompt that leaves less room than the limit is sent without the limit: the answer then ends
      where the room does, which is before the limit.
    - A limit under the name that the model does not know gets its other name.
    - Servers that do not know the switch for thinking get none.

    Args:
        request: What was sent.
        error: What the server said.

    Returns:
        What to send instead; None when nothing can be spared.
    """
    if error.status not in _INVALID:
        return None
    limits = [name for name in (_LIMIT, _NEWER_LIMIT) if name in request]
    if limits and is_too_long(error):
        return {key: value for key, value in request.items() if key not in limits}
    if _LIMIT in request and _NEWER_LIMIT in error.message:
        kept = {key: value for key, value in request.items() if key != _LIMIT}
        return {**kept, _NEWER_LIMIT: request[_LIMIT]}
    if THINKING in request and not is_about_prompt(error):
        return {key: value for key, value in request.items() if key != THINKING}
    return None


def is_about_prompt(error: Refused) -> bool:
    """Return whether a server refused this prompt and would answer another one."""
    return error.status in _INVALID and (error.code in _OF_PROMPT or is_too_long(error))


def is_too_long(error: Refused) -> bool:
    """Return whether prompt and answer together are longer than the model's context."""
    said = f"{error.code} {error.message}".lower()
    return error.status in _INVALID and any(mark in said for mark in _TOO_LONG)


def _is_newer(model: str) -> bool:
    return model.removeprefix("ft:").startswith(_NEWER)


def _message(message: Mapping[str, Json], *, strict: bool) -> dict[str, Any]:
    kept = {
        key: value
        for key, value in message.items()
        if key != "weight" and (key in _KNOWN or not strict)
    }
    calls = kept.get("tool_calls")
    if isinstance(calls, list):
        kept["tool_calls"] = [_call(call) for call in calls]
    return kept


def _call(call: Json) -> Json:
    """Return a call with its arguments as the protocol writes them: JSON in a text."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return call
    text = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}
