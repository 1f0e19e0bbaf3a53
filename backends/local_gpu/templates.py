"""A base model's chat template: one rendering for training, asking, scoring and showing.

`check` decides whether an example can be learnt from, for the trainer as for whoever plans.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import jinja2

from backends.base import BackendError
from backends.local_gpu.answers import Answer, AnswerReader, read_answer
from backends.local_gpu.call_forms import Form, types_of
from backends.local_gpu.first_recipe import render_first
from backends.local_gpu.forms import PROBES, form_of, shows_thought, ways_of
from backends.local_gpu.messages import (
    Conversation,
    split_thought,
    thought,
    with_thought,
    written_out,
)
from backends.local_gpu.model_files import instead_of_none, special_text, template_sources
from backends.local_gpu.rendering import Jinja, compile_template, literals
from backends.local_gpu.run_dir import read_json
from backends.local_gpu.turns import Rendered, Ways, by_marks

NEWEST: Final = 2
"""The recipe that renders as `forms` and `turns` say; recipe 1 is that of `first_recipe`."""

_SPECIAL: Final = ("bos_token", "eos_token", "unk_token", "pad_token")
_CHATML: Final = ("<|im_start|>", "<|im_end|>")
_ROLE_AND_CONTENT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A chat template, and what is known of it."""

    ways: Mapping[bool, Ways]
    """What it does around answers, without and with thinking."""
    form: Form
    """How its model writes answers."""
    thinking: bool
    """Whether its model is trained to think before it answers."""
    thinks: bool
    """Whether it can show what is thought."""
    recipe: int
    chatml: bool
    """Whether the template `chatml` could be used instead."""
    telling: frozenset[str]
    """Texts that mean something within a message."""
    kinds: dict[object, BackendError | bool] = field(default_factory=dict)
    """What `learnable` found out about conversations of a kind."""

    @property
    def source(self) -> str:
        """Its text, for the model's folder."""
        return self.ways[False].jinja.source

    def prompt(self, conversation: Conversation, *, thinking: bool | None = None) -> str:
        """Render a conversation up to where the assistant's next answer begins.

        Raises:
            BackendError: The template refuses it, or knows no thinking and shall ask for some.
        """
        if thinking and self.form.thinking is None and not self.form.channels:
            raise BackendError(
                "the model cannot be asked to think: its chat template has no place for that",
                "ask without thinking",
            )
        ways = self.ways[self.thinking if thinking is None else thinking]
        return ways.prompt(self._asked(conversation), conversation.get("tools") or None)

    def asked(self, conversation: Conversation) -> str:
        """Render a conversation that is to be answered in one go, often as its prompt is."""
        tools = conversation.get("tools") or None
        return self.ways[self.thinking].text(self._asked(conversation), tools, asks=True)

    def reader(self, conversation: Conversation, *, thinking: bool | None = None) -> AnswerReader:
        """Return what takes an answer to a conversation apart; see `answers`."""
        ways = self.ways[self.thinking if thinking is None else thinking]
        tools = conversation.get("tools") or None
        return AnswerReader(
            form=self.form,
            types=types_of(tools),
            offered=bool(tools),
            opening=ways.opening(self._asked(conversation), tools),
        )

    def render(self, conversation: Conversation) -> Rendered:
        """Render a whole conversation and find the answers that are to be learnt.

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
                "remove the weight" + self.or_chatml,
            )
        kept = [s for s, m in zip(found.answers, given, strict=True) if m.get("weight") != 0]
        return Rendered(text=found.text, answers=kept)

    def whole(self, conversation: Conversation) -> str:
        """Render a whole conversation without looking for answers; often as it is trained on.

        Texts that mean something to the template are not looked for.
        """
        tools, messages = conversation.get("tools") or None, conversation["messages"]
        if not all(
            len(one) == _ROLE_AND_CONTENT and type(one.get("content")) is str for one in messages
        ):
            messages = self.messages(conversation)
        return self.ways[self.thinking].text(messages, tools)

    @property
    def or_chatml(self) -> str:
        """The end of a remedy, where another template is one."""
        return ", or set `chat_template: chatml`" if self.chatml else ""

    @property
    def instead(self) -> str:
        """The remedy where the template is of no use at all."""
        return instead_of_none(chatml=self.chatml)

    def messages(self, conversation: Conversation) -> list[dict[str, Any]]:
        """Return messages as they are rendered in training, what is thought apart from the answer.

        Raises:
            BackendError: Something is thought, and would not be learnt.
        """
        if self.thinking and not self.thinks:
            raise BackendError(
                "thinking is on, and the base model's chat template does not show what is thought",
                "set `thinking: off` and remove what is thought, or use a base model that shows it",
            )
        return [
            self._thinking_apart(message) if message["role"] == "assistant" else message
            for message in written_out(conversation)
        ]

    def read_back(self, conversation: Conversation, place: int, text: str) -> Answer:
        """Return what a rendered answer says to whoever gets it from the model."""
        before = {**conversation, "messages": conversation["messages"][:place]}
        return read_answer(self.reader(before), text)

    def ended(self, text: str) -> bool:
        """Say whether an answer ends with a token at which generation stops."""
        return text.endswith(self.ways[False].ends)

    def _rendered(self, conversation: Conversation) -> Rendered:
        if self.recipe == 1:
            return render_first(self.ways[False].jinja, conversation)
        tools = conversation.get("tools") or None
        return self.ways[self.thinking].rendered(self.messages(conversation), tools)

    def _asked(self, conversation: Conversation) -> list[dict[str, Any]]:
        """Return messages to answer: whoever asks may leave in what was thought before."""
        return [
            self._thought_before(message) if message["role"] == "assistant" else message
            for message in written_out(conversation)
        ]

    def _thought_before(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return an earlier answer as it was learnt, with what is thought only where that is on."""
        inside, said, _ = self._split(message)
        return with_thought({**message, "content": said}, inside if self.thinking else "")

    def _thinking_apart(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return an answer with what is thought apart from it, if it is to be learnt."""
        inside, said, is_block = self._split(message)
        if inside and not self.thinking:
            # Another template would show a block in the text as the text that it is.
            other = self.or_chatml if is_block else ""
            learn = "set `hyperparameters: {thinking: on}`, or " if self.thinks else ""
            raise BackendError(
                "an answer has thinking in it, and thinking is off",
                f"{learn}remove what is thought{other}",
            )
        if not inside and not is_block:
            return message if len(message) == _ROLE_AND_CONTENT else with_thought(message, "")
        return with_thought({**message, "content": said}, inside)

    def _split(self, message: Mapping[str, Any]) -> tuple[str, str, bool]:
        """Return what an answer thinks and says, and whether that was one text with a block."""
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
        thinking: Whether the model is trained to think before it answers.
        recipe: By which rules it is rendered.

    Raises:
        BackendError: The model has none, or it cannot be compiled.
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
    # Where nothing changed, the newest rules hold for old trainings too: they know more kinds.
    return replace(template, recipe=1) if recipe == 1 and differs(template) else template


def block_marks(form: Form) -> tuple[str, str] | None:
    """Return what stands around thoughts that people write into an answer's text."""
    return form.thinking or (("<think>", "</think>") if form.channels else None)


def differs(template: Template) -> bool:
    """Say whether recipe 1 rendered something that it accepted otherwise than this does."""
    jinja = template.ways[False].jinja
    for probe in PROBES:
        try:
            first = render_first(jinja, probe)
            trained = all(template.ended(first.text[: one.end]) for one in first.answers)
            if trained and first != template.render(probe):
                return True
        except BackendError:
            # Refused then: nothing was trained so. Refused now: a plan says so.
            continue
    return False


def _without_shipped(folder: Path) -> str:
    try:
        template_sources(folder, None)
    except BackendError as error:
        return error.remedy
    return "remove `chat_template`: the model's own template is used then"


def _ends(folder: Path, settings: Mapping[str, Any], special: Mapping[int, str]) -> list[str]:
    """Return the texts that end an answer: what the model's files name, and control tokens."""
    named = [special_text(settings, "eos_token") or ""]
    for name in ("generation_config.json", "config.json"):
        numbers = (read_json(folder / name) or {}).get("eos_token_id")
        listed = numbers if isinstance(numbers, list) else [numbers]
        named += [special[one] for one in listed if isinstance(one, int) and one in special]
    return list(dict.fromkeys(text for text in named if text))


def _turn_end(jinja: Jinja, special: Mapping[int, str]) -> list[str]:
    """Return the control token that a template ends an answer with, if it does."""
    probe = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    try:
        text = jinja.text(probe, None, {"add_generation_prompt": False})
    except (jinja2.TemplateError, TypeError, KeyError):
        return []
    learnt = by_marks(text)
    if learnt.answers:
        text = learnt.text[: learnt.answers[-1].end]
    ends = [token for token in special.values() if text.rstrip().endswith(token)]
    return sorted(ends, key=len)[-1:]
