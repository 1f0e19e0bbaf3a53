"""Parameters of a chat request: honoured, without effect on an answer, or refused by name."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, Field, JsonValue

from backends.contract.completions import Sampling
from backends.did_you_mean import did_you_mean
from controller.server.api.errors import ApiError, invalid
from controller.server.api.requests import Body, ExactBody, unknown_parameter
from controller.server.chat.chat_messages import Message, NonEmpty, Tool, check_history

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

_NONE: Final[tuple[JsonValue, ...]] = ()
UNSUPPORTED: Final[Mapping[str, tuple[JsonValue, ...]]] = {
    **dict.fromkeys(("allowed_token_ids", "audio", "chat_template", "function_call"), _NONE),
    **dict.fromkeys(("guided_choice", "guided_grammar", "guided_json", "guided_regex"), _NONE),
    **dict.fromkeys(("moderation", "prompt_logprobs", "structured_outputs"), _NONE),
    **dict.fromkeys(("truncate_prompt_tokens", "web_search_options"), _NONE),
    **dict.fromkeys(("add_generation_prompt", "skip_special_tokens"), (True,)),
    **dict.fromkeys(("continue_final_message", "echo", "ignore_eos", "logprobs"), (False,)),
    **dict.fromkeys(("include_stop_str_in_output", "use_beam_search"), (False,)),
    **dict.fromkeys(("frequency_penalty", "min_p", "min_tokens", "presence_penalty"), (0,)),
    **dict.fromkeys(("best_of", "length_penalty", "repetition_penalty", "top_p"), (1,)),
    **dict.fromkeys(("bad_words", "documents", "functions", "stop_token_ids"), ([],)),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "top_k": (0, -1),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
"""Refused parameters, each with its neutral values, which are accepted, as is null."""

_INSTEAD: Final = {
    "functions": "use 'tools'",
    "function_call": "use 'tool_choice'",
    "guided_json": "describe the form in the messages, and check the answer",
    "reasoning_effort": (
        "only 'none' is; a model thinks as it was trained to, or with 'chat_template_kwargs'"
    ),
    "response_format": "describe the form in the messages, and check the answer",
    "tool_choice": "no model can be forced to call a tool; use 'auto', and check the answer",
}
Stops: TypeAlias = Annotated[
    list[NonEmpty],
    Field(max_length=MOST_STOPS),
    BeforeValidator(lambda stop: [stop] if isinstance(stop, str) else stop),
]
"""Texts at which an answer ends, or a single text."""
_THINKING: Final = ("enable_thinking", "thinking")
"""Names of the switch for thinking in chat templates."""


class StreamOptions(ExactBody):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Ignored: it hides the lengths of pieces, and does not change the answer."""


class ChatRequest(Body, extra="allow"):
    """The body of a request: all honoured parameters. `check` handles all others."""

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    tool_choice: JsonValue = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MOST_ANSWERS)
    stop: Stops | None = None
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


def ignored(given: ChatRequest) -> list[str]:
    """Return the parameters that are accepted, but have no effect here, by name."""
    extra = given.model_extra or {}
    return sorted(name for name in HARMLESS & extra.keys() if extra[name] is not None)


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


def check(given: ChatRequest) -> None:
    """Refuse every parameter that the answer would not follow, rather than ignore it.

    Raises:
        ApiError: A parameter is unknown, unsupported or invalid; the error names it.
    """
    for name, value in (given.model_extra or {}).items():
        _check_other(name, value)
    _check_other("tool_choice", given.tool_choice)
    _check_thinking(given)
    if given.stream_options is not None and not given.stream:
        message = "'stream_options' may only be given with 'stream': true."
        raise invalid(message, "stream_options", "invalid_value")
    if None not in {given.max_tokens, given.max_completion_tokens}:
        message = "'max_tokens' and 'max_completion_tokens' mean the same; give one of them."
        raise invalid(message, "max_tokens", "invalid_value")
    check_history(given.messages)


def samplings(given: ChatRequest) -> list[Sampling]:
    """Return the sampling of each answer."""
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed % 2**63
    return [
        Sampling(
            stop=tuple(given.stop or ()),
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
        known = sorted(ChatRequest.model_fields.keys() | HARMLESS | UNSUPPORTED.keys())
        raise unknown_parameter(name[:200], did_you_mean(name, known))
    if value is None or any(_same(value, neutral) for neutral in UNSUPPORTED[name]):
        return
    raise _unsupported(name, _INSTEAD.get(name, ""))


def _check_thinking(given: ChatRequest) -> None:
    switches = given.chat_template_kwargs or {}
    for name, value in switches.items():
        param = f"chat_template_kwargs.{name[:200]}"
        if name not in _THINKING:
            raise _unsupported(param, "only 'enable_thinking' is")
        if not isinstance(value, bool):
            raise invalid(f"Invalid '{param}': must be true or false.", param, "invalid_value")
    if len(set(switches.values())) > 1:
        message = "'chat_template_kwargs' contradict each other: give one of them."
        raise invalid(message, "chat_template_kwargs", "invalid_value")
    _check_other("reasoning_effort", given.reasoning_effort)
    if given.reasoning_effort is not None and given.thinking:
        message = "'reasoning_effort': 'none' contradicts 'chat_template_kwargs'."
        raise invalid(message, "reasoning_effort", "invalid_value")


def _unsupported(name: str, instead: str) -> ApiError:
    reason = f" ({instead})" if instead else ""
    message = f"'{name}' is not supported by this server{reason}."
    return invalid(message, name, "unsupported_value")


def _same(value: object, neutral: JsonValue) -> bool:
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)
