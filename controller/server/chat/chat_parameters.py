"""Parameters of a chat request: honoured, without effect on an answer, or refused by name."""

import secrets
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from backends.contract.completions import Sampling
from controller.server.api.errors import ApiError, invalid
from controller.server.api.requests import unknown_parameter
from controller.server.chat.chat_messages import (
    AssistantMessage,
    CalledFunction,
    Function,
    Message,
    Strict,
    Tool,
    ToolCall,
    ToolMessage,
    check_history,
)

DEFAULT_TOKENS: Final = 1024
MOST_TOKENS: Final = 131_072
MOST_ANSWERS: Final = 16
MOST_STOPS: Final = 4

HARMLESS: Final = frozenset(
    {
        *("metadata", "prediction", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "safety_identifier", "service_tier", "store", "user"),
    }
)
"""Ignored parameters: about the client, storage or speed, without effect on the answer."""

UNSUPPORTED: Final[Mapping[str, tuple[JsonValue, ...]]] = {
    "add_generation_prompt": (True,),
    "allowed_token_ids": (),
    "audio": (),
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template": (),
    "continue_final_message": (False,),
    "documents": ([],),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": (),
    "functions": ([],),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "min_p": (0,),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "moderation": (),
    "presence_penalty": (0,),
    "prompt_logprobs": (),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "structured_outputs": (),
    "top_k": (0, -1),
    "top_logprobs": (0,),
    "top_p": (1,),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Refused parameters, each with its neutral values, which are accepted, as is null."""

_INSTEAD: Final = {
    "functions": "use 'tools'",
    "function_call": "use 'tool_choice'",
    "guided_json": "describe the form in the messages, and check the answer",
    "response_format": "describe the form in the messages, and check the answer",
}
_THINKING: Final = ("enable_thinking", "thinking")
"""Names of the switch for thinking in chat templates."""


class StreamOptions(Strict):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Ignored: it hides the lengths of pieces, and does not change the answer."""


class ChatRequest(BaseModel):
    """The body of a request: all honoured parameters. `check` handles all others."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    tool_choice: JsonValue = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MOST_ANSWERS)
    stop: JsonValue = None
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    seed: int | None = None
    reasoning_effort: JsonValue = None
    chat_template_kwargs: dict[str, JsonValue] | None = None

    @property
    def thinking(self) -> bool:
        """True to let the model think before it answers."""
        return any((self.chat_template_kwargs or {}).get(name) for name in _THINKING)

    @property
    def wants_tools(self) -> bool:
        """True to pass the tools to the model."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def wants_usage(self) -> bool:
        """True to end a stream with its token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def unforced(given: ChatRequest) -> list[str]:
    """Return the parameters that are accepted, but not enforced in the answer."""
    strict = [
        f"tools[{number}].function.strict"
        for number, tool in enumerate(given.tools or ())
        if tool.function.strict and given.wants_tools
    ]
    # A model that was trained to think does so even if thinking is switched off.
    written = given.chat_template_kwargs or {}
    off = [f"chat_template_kwargs.{name}" for name in written if not given.thinking]
    return strict + off + (["reasoning_effort"] if given.reasoning_effort is not None else [])


_MODELS: Final[tuple[type[BaseModel], ...]] = (
    *(ChatRequest, StreamOptions, AssistantMessage, ToolMessage),
    *(ToolCall, CalledFunction, Tool, Function),
)
KNOWN: Final = frozenset(
    {name for model in _MODELS for name in model.model_fields} | HARMLESS | UNSUPPORTED.keys()
)
"""Every parameter name, from which to suggest a correction of a misspelled name."""


def check(given: ChatRequest) -> None:
    """Refuse every parameter that the answer would not follow, rather than ignore it.

    Raises:
        ApiError: A parameter is unknown, unsupported or invalid; the error names it.
    """
    for name, value in (given.model_extra or {}).items():
        _check_other(name, value)
    _check_tools(given)
    _check_thinking(given)
    if given.stream_options is not None and not given.stream:
        message = "'stream_options' may only be given with 'stream': true."
        raise invalid(message, "stream_options", "invalid_value")
    if None not in {given.max_tokens, given.max_completion_tokens}:
        message = "'max_tokens' and 'max_completion_tokens' mean the same; give one of them."
        raise invalid(message, "max_tokens", "invalid_value")
    check_history(given.messages)


def samplings(given: ChatRequest) -> list[Sampling]:
    """Return the sampling of each answer.

    Raises:
        ApiError: `stop` is not a list of at most `MOST_STOPS` non-empty texts.
    """
    stops = given.stop if isinstance(given.stop, list) else [given.stop]
    stops = [] if given.stop is None else stops
    if len(stops) > MOST_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        message = f"'stop' must be at most {MOST_STOPS} texts, none of them empty."
        raise invalid(message, "stop", "invalid_value")
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed % 2**63
    return [
        Sampling(
            stop=tuple(str(stop) for stop in stops),
            max_tokens=given.max_completion_tokens or given.max_tokens or DEFAULT_TOKENS,
            temperature=1.0 if given.temperature is None else given.temperature,
            seed=seed + number,
            thinking=given.thinking,
        )
        for number in range(given.n or 1)
    ]


def _check_other(name: str, value: object) -> None:
    if name in HARMLESS:
        return
    if name not in UNSUPPORTED:
        raise unknown_parameter(name[:200], KNOWN)
    if value is None or any(_same(value, neutral) for neutral in UNSUPPORTED[name]):
        return
    raise _unsupported(name, _INSTEAD.get(name, ""))


def _check_tools(given: ChatRequest) -> None:
    choice = given.tool_choice
    if choice not in (None, "none", "auto"):
        forced = "it cannot be made sure that a tool is called; use 'auto', and check the answer"
        raise _unsupported("tool_choice", forced)


def _check_thinking(given: ChatRequest) -> None:
    for name, value in (given.chat_template_kwargs or {}).items():
        param = f"chat_template_kwargs.{name[:200]}"
        if name not in _THINKING:
            raise _unsupported(param, "only 'enable_thinking' is")
        if not isinstance(value, bool):
            raise invalid(f"Invalid '{param}': it must be true or false.", param, "invalid_value")
    if len(set((given.chat_template_kwargs or {}).values())) > 1:
        message = "'chat_template_kwargs' contradict each other: give one of them."
        raise invalid(message, "chat_template_kwargs", "invalid_value")
    if given.reasoning_effort is None:
        return
    if given.reasoning_effort != "none":
        instead = "a model thinks as it was trained to, or with 'chat_template_kwargs'"
        raise _unsupported("reasoning_effort", f"only 'none' is; {instead}")
    if given.thinking:
        message = "'reasoning_effort': 'none' contradicts 'chat_template_kwargs'."
        raise invalid(message, "reasoning_effort", "invalid_value")


def _unsupported(name: str, instead: str) -> ApiError:
    reason = f" ({instead})" if instead else ""
    message = f"'{name}' is not supported by this server{reason}."
    return invalid(message, name, "unsupported_value")


def _same(value: object, neutral: JsonValue) -> bool:
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)
