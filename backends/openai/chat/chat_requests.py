"""Chat requests in the form that each server accepts. Pure.

Messages of examples carry more than a server accepts in a prompt: weights, the thinking of earlier
turns, arguments as objects. OpenAI and Azure refuse unknown keys of a message, so requests to them
leave out keys that OpenAI's protocol does not know; other servers get every key but the weight.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from backends.contract.completions import Prompt, Sampling
from backends.contract.inspector import Json
from backends.openai.api.protocol import Rejected

MOST_STOPS: Final = 4
THINKING: Final = "chat_template_kwargs"
"""Field that switches a model's thinking on or off at vLLM, SGLang and similar servers."""
LOGPROBS: Final = ("logprobs", "top_logprobs")
"""Fields that ask for log-probabilities of the answer's tokens."""
_LIMIT: Final = "max_tokens"
_NEWER_LIMIT: Final = "max_completion_tokens"
_NEWER: Final = ("o1", "o3", "o4", "gpt-5", "gpt-6")
"""Models whose limit is named `max_completion_tokens`."""
_KNOWN: Final = frozenset(
    {"role", "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id"}
)
_SEEDS: Final = 2**31
_INVALID: Final = frozenset({400, 422})
_OF_PROMPT: Final = frozenset(
    {"context_length_exceeded", "content_filter", "invalid_prompt", "string_above_max_length"}
)
"""Error codes that concern a single prompt; other prompts can be answered."""
_TOO_LONG: Final = ("context_length_exceeded", "context length", "string_above_max_length")


def chat_request(
    model: str, family: str, prompt: Prompt, sampling: Sampling, *, strict: bool
) -> dict[str, Any]:
    """Return the body of a chat request.

    Args:
        model: The model's or its deployment's name at the server.
        family: The base model's own name, which a deployment's name does not show.
        prompt: The prompt to answer.
        sampling: How to draw the answer.
        strict: True where the server accepts only fields of OpenAI's protocol.
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
    if prompt.logprobs:
        request |= dict(zip(LOGPROBS, (True, prompt.logprobs), strict=True))
    if not strict:
        request[THINKING] = {"enable_thinking": sampling.thinking}
    return request


def lightened(request: Mapping[str, Any], error: Rejected) -> dict[str, Any] | None:
    """Return a request with the refused field removed or renamed.

    - If prompt and limit exceed the model's context, the limit is removed: the answer then ends with
      the context, which is before the limit.
    - If the model does not know the limit under its old name, the limit is renamed.
    - If the server gives no log-probabilities, they are not asked for.
    - If the server does not know the switch for thinking, the switch is removed.

    Args:
        request: The refused request.
        error: The server's error.

    Returns:
        The request to send instead; None when no field can be removed or renamed.
    """
    if error.status not in _INVALID:
        return None
    limits = [name for name in (_LIMIT, _NEWER_LIMIT) if name in request]
    if limits and is_too_long(error):
        return {key: value for key, value in request.items() if key not in limits}
    if _LIMIT in request and _NEWER_LIMIT in error.message:
        kept = {key: value for key, value in request.items() if key != _LIMIT}
        return {**kept, _NEWER_LIMIT: request[_LIMIT]}
    if is_about_prompt(error):
        return None
    asks = LOGPROBS[0] in request
    named = "logprob" in f"{error.param} {error.message}".lower()
    if THINKING in request and not (asks and named):
        return {key: value for key, value in request.items() if key != THINKING}
    if asks:
        return {key: value for key, value in request.items() if key not in LOGPROBS}
    return None


def is_about_prompt(error: Rejected) -> bool:
    """Return True if the server refused this prompt, but would answer other prompts."""
    return error.status in _INVALID and (error.code in _OF_PROMPT or is_too_long(error))


def is_too_long(error: Rejected) -> bool:
    """Return True if prompt and answer together are longer than the model's context."""
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
    """Return a call with its arguments in the protocol's form: JSON in a text."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return call
    text = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}
