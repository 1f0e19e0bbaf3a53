"""A base model's chat template: the same rendering for training, prompts, scores and display.

`check` of `learnable` decides if an example can be learned from, for the trainer and for plans.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import jinja2

from backends.contract.errors import BackendError
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.model_files import instead_of_none, special_text, template_sources
from backends.local_gpu.templates.answer_forms import PROBES, form_of, shows_thought, ways_of
from backends.local_gpu.templates.answers import Answer, AnswerReader, read_answer
from backends.local_gpu.templates.call_forms import Form, types_of
from backends.local_gpu.templates.first_recipe import render_first
from backends.local_gpu.templates.messages import (
    Conversation,
    split_thought,
    thought,
    with_thought,
    written_out,
)
from backends.local_gpu.templates.rendering import REFUSALS, Jinja, compile_template, literals
from backends.local_gpu.templates.turns import Rendered, Ways, by_marks

NEWEST: Final = 2
"""The recipe that renders by `forms` and `turns`; recipe 1 renders by `first_recipe`."""

_SPECIAL: Final = ("bos_token", "eos_token", "unk_token", "pad_token")
_CHATML: Final = ("<|im_start|>", "<|im_end|>")
_ROLE_AND_CONTENT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A chat template and its known properties."""

    ways: Mapping[bool, Ways]
    """The template's ways of writing answers, without and with thinking."""
    form: Form
    """Form in which the model writes answers."""
    thinking: bool
    """True if the model is trained to think before it answers."""
    thinks: bool
    """True if the template can show thinking."""
    recipe: int
    chatml: bool
    """True if the template `chatml` could be used instead."""
    telling: frozenset[str]
    """Texts that have a meaning within a message."""
    kinds: dict[object, BackendError | bool] = field(default_factory=dict)
    """Results of `learnable` by kind of conversation."""

    @property
    def source(self) -> str:
        """Source of the template, for the model's folder."""
        return self.ways[False].jinja.source

    def prompt(self, conversation: Conversation, *, thinking: bool | None = None) -> str:
        """Render a conversation up to where the assistant's next answer begins.

        Raises:
            BackendError: The template refuses the conversation, or has no thinking to switch on.
        """
        if thinking and self.form.thinking is None and not self.form.channels:
            raise BackendError(
                "the model cannot be asked to think: its chat template has no place for that",
                "Ask without thinking.",
            )
        ways = self.ways[self.thinking if thinking is None else thinking]
        return ways.prompt(self._asked(conversation), conversation.get("tools") or None)

    def asked(self, conversation: Conversation) -> str:
        """Render a conversation to answer in a single pass; often equal to its prompt."""
        tools = conversation.get("tools") or None
        return self.ways[self.thinking].text(self._asked(conversation), tools, asks=True)

    def reader(self, conversation: Conversation, *, thinking: bool | None = None) -> AnswerReader:
        """Return a reader that splits the answer to a conversation; see `answers`."""
        ways = self.ways[self.thinking if thinking is None else thinking]
        tools = conversation.get("tools") or None
        return AnswerReader(
            form=self.form,
            types=types_of(tools),
            offered=bool(tools),
            opening=ways.opening(self._asked(conversation), tools),
        )

    def render(self, conversation: Conversation) -> Rendered:
        """Render a whole conversation and find the answers to learn.

        Raises:
            BackendError: The template refuses the conversation, or does not show its answers.
        """
        found = self._rendered(conversation)
        given = [m for m in conversation["messages"] if m["role"] == "assistant"]
        if all(message.get("weight") != 0 for message in given):
            return found
        if len(given) != len(found.answers):
            raise BackendError(
                "an answer has weight 0, and the template does not show every answer apart",
                f"Remove the weight{self.or_chatml}.",
            )
        kept = [s for s, m in zip(found.answers, given, strict=True) if m.get("weight") != 0]
        return Rendered(text=found.text, answers=kept)

    def whole(self, conversation: Conversation) -> str:
        """Render a whole conversation without searching for answers; often equals `render`'s.

        Texts that have a meaning for the template are not searched for either.
        """
        tools, messages = conversation.get("tools") or None, conversation["messages"]
        if not all(
            len(one) == _ROLE_AND_CONTENT and type(one.get("content")) is str for one in messages
        ):
            messages = self.messages(conversation)
        return self.ways[self.thinking].text(messages, tools)

    @property
    def or_chatml(self) -> str:
        """End of a remedy, where the shipped template is an alternative."""
        return ", or set `chat_template: chatml`" if self.chatml else ""

    @property
    def instead(self) -> str:
        """Remedy where the template cannot be used at all."""
        return instead_of_none(chatml=self.chatml)

    def messages(self, conversation: Conversation) -> list[dict[str, Any]]:
        """Return messages as rendered in training, with thinking separate from the answer.

        Raises:
            BackendError: A message has thinking that the model would not learn.
        """
        if self.thinking and not self.thinks:
            raise BackendError(
                "thinking is on, and the base model's chat template does not show what is thought",
                "Set `thinking: off` and remove what is thought, or use a base model that shows it.",
            )
        return [
            self._thinking_apart(message) if message["role"] == "assistant" else message
            for message in written_out(conversation)
        ]

    def read_back(self, conversation: Conversation, place: int, text: str) -> Answer:
        """Return the parts of a rendered answer, as a client of the model would receive them."""
        before = {**conversation, "messages": conversation["messages"][:place]}
        return read_answer(self.reader(before), text)

    def ended(self, text: str) -> bool:
        """Return True if an answer ends with a token at which generation stops."""
        return text.endswith(self.ways[False].ends)

    def _rendered(self, conversation: Conversation) -> Rendered:
        if self.recipe == 1:
            return render_first(self.ways[False].jinja, conversation)
        tools = conversation.get("tools") or None
        return self.ways[self.thinking].rendered(self.messages(conversation), tools)

    def _asked(self, conversation: Conversation) -> list[dict[str, Any]]:
        """Return messages to answer; earlier answers may contain thinking."""
        return [
            self._thought_before(message) if message["role"] == "assistant" else message
            for message in written_out(conversation)
        ]

    def _thought_before(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return an earlier answer as learned, with its thinking only where thinking is on."""
        inside, said, _ = self._split(message)
        return with_thought({**message, "content": said}, inside if self.thinking else "")

    def _thinking_apart(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return an answer with its thinking separate; refuse thinking where it is off."""
        inside, said, is_block = self._split(message)
        if inside and not self.thinking:
            # Another template would show a block in the text as plain text.
            other = self.or_chatml if is_block else ""
            begin = "Set `hyperparameters: {thinking: on}`, or r" if self.thinks else "R"
            raise BackendError(
                "an answer has thinking in it, and thinking is off",
                f"{begin}emove what is thought{other}.",
            )
        if not inside and not is_block:
            return message if len(message) == _ROLE_AND_CONTENT else with_thought(message, "")
        return with_thought({**message, "content": said}, inside)

    def _split(self, message: Mapping[str, Any]) -> tuple[str, str, bool]:
        """Return an answer's thinking and its text, and True if its content had both in a block."""
        said, inside = message["content"], thought(message)
        marks = block_marks(self.form)
        block = split_thought(said, marks) if marks is not None and not inside else None
        return (inside, said, False) if block is None else (*block, True)


def load_template(
    folder: Path,
    shipped: str | None,
    *,
    special: Mapping[int, str],
    thinking: bool = False,
    recipe: int = NEWEST,
) -> Template:
    """Compile a model's chat template, or one that ftctl ships.

    Args:
        folder: The model's folder.
        shipped: Name of a shipped template that replaces the model's own.
        special: The tokenizer's control tokens.
        thinking: True if the model is trained to think before it answers.
        recipe: Recipe by which conversations are rendered.

    Raises:
        BackendError: The model has no chat template, or its template cannot be compiled.
    """
    settings = read_json(folder / "tokenizer_config.json") or {}
    chatml = set(_CHATML) <= set(special.values())
    if shipped is not None and _CHATML[1] not in special.values():
        raise BackendError(
            f"the tokenizer in {folder} lacks the control tokens of the template {shipped}",
            _without_shipped(folder),
        )
    named = template_sources(folder, shipped, chatml=chatml)
    source = named["default"]
    with_tools = named.get("tool_use", source)
    names = {key: text for key in _SPECIAL if (text := special_text(settings, key))}
    try:
        jinja = compile_template(source, with_tools, names)
    except jinja2.TemplateError as error:
        raise BackendError(
            f"the chat template in {folder} cannot be read: {error}",
            instead_of_none(chatml=chatml),
        ) from error
    ends = _ends(folder, settings, special)
    ends += _turn_end(jinja, special)
    ways = {on: ways_of(jinja, ends, thinking=on) for on in (False, True)}
    form = form_of(ways[False], source + with_tools)
    template = Template(
        ways=ways,
        form=form,
        thinking=thinking,
        thinks=shows_thought(ways[True], form),
        recipe=NEWEST,
        chatml=chatml and shipped is None,
        telling=(
            literals(source)
            | literals(with_tools)
            | frozenset(form.marks)
            | frozenset(block_marks(form) or ())
        ),
    )
    # Where nothing changed, the newest rules also serve old trainings: they support more kinds.
    return replace(template, recipe=1) if recipe == 1 and differs(template) else template


def block_marks(form: Form) -> tuple[str, str] | None:
    """Return the marks around thoughts that people write into an answer's text."""
    return form.thinking or (("<think>", "</think>") if form.channels else None)


def differs(template: Template) -> bool:
    """Return True if recipe 1 rendered a probe that it accepted differently from the newest."""
    jinja = template.ways[False].jinja
    for probe in PROBES:
        try:
            first = render_first(jinja, probe)
            trained = all(template.ended(first.text[: one.end]) for one in first.answers)
            if trained and first != template.render(probe):
                return True
        except BackendError:
            # Refused by recipe 1: no training has used it. Refused now: a plan reports it.
            continue
    return False


def _without_shipped(folder: Path) -> str:
    try:
        template_sources(folder, None)
    except BackendError as error:
        return error.remedy
    return "Remove `chat_template`: the model's own template is used then."


def _ends(folder: Path, settings: Mapping[str, Any], special: Mapping[int, str]) -> list[str]:
    """Return the texts that end an answer, as named in the model's files."""
    named = [special_text(settings, "eos_token") or ""]
    for name in ("generation_config.json", "config.json"):
        numbers = (read_json(folder / name) or {}).get("eos_token_id")
        listed = numbers if isinstance(numbers, list) else [numbers]
        named += [special[one] for one in listed if isinstance(one, int) and one in special]
    return list(dict.fromkeys(text for text in named if text))


def _turn_end(jinja: Jinja, special: Mapping[int, str]) -> list[str]:
    """Return the control token that a template writes at the end of an answer, if any."""
    probe = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    try:
        text = jinja.text(probe, None, {"add_generation_prompt": False})
    except REFUSALS:
        return []
    learned = by_marks(text)
    if learned.answers:
        text = learned.text[: learned.answers[-1].end]
    ends = [token for token in special.values() if text.rstrip().endswith(token)]
    return sorted(ends, key=len)[-1:]
