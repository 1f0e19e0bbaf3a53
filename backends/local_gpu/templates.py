"""Chat templates: rendering a conversation, and finding what the assistant says in it.

The same jinja2 environment as transformers' `apply_chat_template`, with two differences that make
training repeatable: today's date is pinned, and a template without generation markers is not
answered with an empty mask but with spans found by rendering the conversation's beginnings.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.base import BackendError
from backends.local_gpu.run_dir import read_json

Conversation = Mapping[str, Any]
"""One example: `messages`, and `tools` if it has any."""
Messages = list[dict[str, Any]]
"""What a template renders."""

TODAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What a template is told today's date is: a model must not depend on the day it was trained."""

_SHIPPED: Final = Path(__file__).with_name("chat_templates")
_OPEN: Final = "\ufdd0ftctl\ufdd1"
_CLOSE: Final = "\ufdd1ftctl\ufdd0"
"""Around what the assistant says; noncharacters, which no text may interchange."""
_ROLE_AND_CONTENT: Final = 2
_OF_EVERY_DICT: Final = frozenset(dir(dict))
"""Attributes, which go before keys: `message.items` is the method."""
_SPECIAL: Final = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of rendered text, in characters."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A conversation as text."""

    text: str
    answers: Sequence[Span]
    """What the assistant says and is to learn, end of turn included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A conversation up to where the assistant's next answer begins."""

    text: str
    opening: str
    """What of it belongs to the answer's own turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A compiled chat template."""

    source: str
    """Its text, for the model's folder."""
    marked: bool
    """Whether it says itself what the assistant wrote."""
    compiled: jinja2.Template
    tools: jinja2.Template
    """What conversations with tools are rendered with; often the same."""
    known: Mapping[str, object]
    """What every template knows: jinja's own names, and the tokenizer's special tokens."""

    def prompt(self, conversation: Conversation, *, thinking: bool | None = None) -> Asked:
        """Render a conversation up to where the assistant's next answer begins."""
        del thinking
        messages = _messages(conversation)
        texts = [
            self._render(conversation, messages, add_generation_prompt=asked)
            .replace(_OPEN, "")
            .replace(_CLOSE, "")
            for asked in (False, True)
        ]
        return Asked(text=texts[1], opening=texts[1].removeprefix(texts[0]))

    def answer(self, conversation: Conversation) -> tuple[str, str]:
        """Return what the prompt says of the last answer's turn, and the answer as it is learnt.

        Raises:
            BackendError: The template refuses the conversation, or does not show its answer.
        """
        asked = self.prompt({**conversation, "messages": conversation["messages"][:-1]})
        rendered = self.render(conversation)
        span = rendered.answers[-1]
        return asked.opening, rendered.text[span.start : span.end]

    def text(self, conversation: Conversation) -> str:
        """Render a whole conversation without looking for its answers: many times as fast."""
        text = self._render(conversation, _messages(conversation))
        return text.replace(_OPEN, "").replace(_CLOSE, "") if self.marked else text

    def render(self, conversation: Conversation) -> Rendered:
        """Render a whole conversation and find the answers that are to be learnt.

        Raises:
            BackendError: The template refuses the conversation, or does not show its answers.
        """
        messages = _messages(conversation)
        found = (
            self._marked_answers(conversation, messages)
            if self.marked
            else self._derived_answers(conversation, messages)
        )
        given = [m for m in conversation["messages"] if m["role"] == "assistant"]
        if any(message.get("weight") == 0 for message in given):
            if len(given) != len(found.answers):
                raise BackendError(
                    "an answer has weight 0, and the template does not show every answer apart",
                    "set `chat_template: chatml`",
                )
            kept = [s for s, m in zip(found.answers, given, strict=True) if m.get("weight") != 0]
            return Rendered(text=found.text, answers=kept)
        return found

    def _marked_answers(self, conversation: Conversation, messages: Messages) -> Rendered:
        pieces = self._render(conversation, messages).split(_OPEN)
        text = pieces[0]
        answers = []
        for piece in pieces[1:]:
            answer, _, rest = piece.partition(_CLOSE)
            answers.append(_without_trailing_blanks(len(text), answer))
            text += answer + rest
        return Rendered(text=text, answers=answers)

    def _derived_answers(self, conversation: Conversation, messages: Messages) -> Rendered:
        text = self._render(conversation, messages)
        answers = []
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render(conversation, messages[:place], add_generation_prompt=True)
            after = self._render(conversation, messages[: place + 1])
            if not (text.startswith(after) and after.startswith(before)):
                raise BackendError(
                    "the base model's chat template writes an answer differently once more "
                    "messages follow, so it cannot be told which tokens are the answer",
                    "set `chat_template: chatml`, or use a template with generation markers",
                )
            answers.append(_without_trailing_blanks(len(before), after[len(before) :]))
        return Rendered(text=text, answers=answers)

    def _render(
        self, conversation: Conversation, messages: Messages, *, add_generation_prompt: bool = False
    ) -> str:
        tools = conversation.get("tools") or None
        template = self.tools if tools else self.compiled
        given = {
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        # What `template.render` does, without gathering the names that are the same every time.
        context = jinja2.runtime.new_context(
            template.environment,
            template.name,
            template.blocks,
            {**self.known, **given},
            shared=True,
        )
        try:
            text = "".join(template.root_render_func(context))
        except (jinja2.TemplateError, TypeError, KeyError) as error:
            raise BackendError(
                f"the chat template refuses this conversation: {error}",
                "change the conversation, or set `chat_template: chatml`",
            ) from error
        return text


def load_template(folder: Path, shipped: str | None) -> Template:
    """Compile a model's chat template, or one that ftctl ships.

    Args:
        folder: The model's folder.
        shipped: Name of a shipped template that replaces the model's own.

    Raises:
        BackendError: The model has none, or it cannot be compiled.
    """
    settings = read_json(folder / "tokenizer_config.json") or {}
    named = _sources(folder, settings, shipped)
    source = named["default"]
    with_tools = named.get("tool_use", source)
    environment = _environment()
    try:
        return Template(
            source=source,
            marked="generation" in jinja_tags(source) and "generation" in jinja_tags(with_tools),
            compiled=environment.from_string(source),
            tools=environment.from_string(with_tools),
            known={
                **environment.globals,
                **{key: _text(settings[key]) for key in _SPECIAL if settings.get(key)},
            },
        )
    except jinja2.TemplateError as error:
        raise BackendError(
            f"the chat template in {folder} cannot be read: {error}", "set `chat_template: chatml`"
        ) from error


def plain_conversation(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation with its messages as templates expect them."""
    return {**conversation, "messages": _messages(conversation)}


def endless() -> BackendError:
    """Return the error that says that an answer's end would not be learnt."""
    return BackendError(
        "end of turn is not in the loss: the template does not end an answer with a "
        "token at which generation stops, so the model would never learn to stop",
        "set `chat_template: chatml`, or name the template's last token in "
        "eos_token_id of generation_config.json",
    )


def special_text(settings: Mapping[str, Any], key: str) -> str | None:
    """Return a special token's text as `tokenizer_config.json` gives it."""
    return _text(settings[key]) if settings.get(key) else None


def jinja_tags(source: str) -> set[str]:
    """Return the first word of every `{% … %}` of a template."""
    tokens = list(_environment().lex(source))
    return {
        next((text for _, kind, text in tokens[place + 1 : place + 3] if kind == "name"), "")
        for place, (_, kind, _) in enumerate(tokens)
        if kind == "block_begin"
    }


class _Generation(jinja2.ext.Extension):  # type: ignore[misc]
    """`{% generation %}…{% endgeneration %}`: puts marks around what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """Turn the block into a call that wraps its output."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_wrap")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _wrap(self, caller: jinja2.runtime.Macro) -> str:
        return f"{_OPEN}{caller()}{_CLOSE}"


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = TODAY.strftime
    environment.getattr = _quick_getattr(environment.getattr)
    return environment


def _quick_getattr(getattr_: Callable[[object, str], object]) -> Callable[[object, str], object]:
    """Return what finds `message.content` at once, which the sandbox does after two exceptions."""

    def find(value: object, name: str) -> object:
        if type(value) is dict and name in value and name not in _OF_EVERY_DICT:
            return value[name]
        return getattr_(value, name)

    return find


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - templates call it so
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Jinja's own filter escapes for HTML, which no model was trained on."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _sources(folder: Path, settings: Mapping[str, Any], shipped: str | None) -> dict[str, str]:
    if shipped is not None:
        return {"default": (_SHIPPED / f"{shipped}.jinja").read_text(encoding="utf-8")}
    beside = folder / "chat_template.jinja"
    if beside.exists():
        return {"default": beside.read_text(encoding="utf-8")}
    inside = settings.get("chat_template")
    if isinstance(inside, str):
        return {"default": inside}
    if isinstance(inside, list):
        named = {str(entry["name"]): str(entry["template"]) for entry in inside}
        if "default" in named:
            return named
    raise BackendError(
        f"the base model in {folder} has no chat template", "set `chat_template: chatml`"
    )


def _text(token: object) -> str:
    return str(token["content"]) if isinstance(token, Mapping) else str(token)


def _messages(conversation: Conversation) -> Messages:
    """Return messages as templates expect them: content is text, tool arguments are objects."""
    return [_message(message) for message in conversation["messages"]]


def _message(message: dict[str, Any]) -> dict[str, Any]:
    if len(message) == _ROLE_AND_CONTENT and type(message.get("content")) is str:
        return message
    plain = {key: value for key, value in message.items() if key != "weight"}
    content = message.get("content") or ""
    plain["content"] = content if isinstance(content, str) else "".join(_parts(content))
    if message.get("tool_calls"):
        plain["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    return plain


def _parts(content: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for part in content:
        if part.get("type") != "text":
            raise BackendError(
                f"a message holds a part of type {part.get('type')!r}; only text is read here",
                "remove the part, or train at a service that reads it",
            )
        yield part["text"]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError as error:
            raise BackendError(f"the arguments of a tool call are no JSON: {error}") from error
    return {**call, "function": function}


def _without_trailing_blanks(start: int, text: str) -> Span:
    """A template may put a line break behind its end of turn; nobody wants that learnt."""
    return Span(start=start, end=start + len(text.rstrip()))
