"""Find, by rendering probes, how a chat template writes answers and in which form. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.local_gpu.templates.answers import AnswerReader, read_answer
from backends.local_gpu.templates.call_forms import CALL_FORMS, Form, types_of
from backends.local_gpu.templates.messages import with_thought, written_out
from backends.local_gpu.templates.rendering import Jinja
from backends.local_gpu.templates.turns import Ways

_THINKING: Final = (
    ("<think>", "</think>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
)
_WRAPS: Final = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
_SAID: Final = "PROBE_SAID"
_THOUGHT: Final = "PROBE_THOUGHT"
_NAME: Final = "probe_called"
_ARGUMENTS: Final = {"first": "probe argument", "second": 7}
_ASKED: Final = {"role": "user", "content": "PROBE_ASKED"}
_ANSWERED: Final = {"role": "assistant", "content": _SAID}
PROBE_TOOL: Final[Mapping[str, Any]] = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "A probe.",
        "parameters": {
            "type": "object",
            "properties": {"first": {"type": "string"}, "second": {"type": "integer"}},
            "required": ["first"],
        },
    },
}


def probe_call(number: str = "probe0001") -> dict[str, Any]:
    """Return a call of the probe tool."""
    function = {"name": _NAME, "arguments": json.dumps(_ARGUMENTS)}
    return {"id": number, "type": "function", "function": function}


_CALLED: Final = {"role": "assistant", "content": None, "tool_calls": [probe_call()]}
_RESULT: Final = {"role": "tool", "tool_call_id": "probe0001", "content": "PROBE_RESULT"}

_PROMPTED: Final = {"role": "system", "content": "PROBE_PROMPT"}
PROBES: Final[Sequence[Mapping[str, Any]]] = (
    {"messages": [_ASKED, _ANSWERED]},
    {"messages": [_ASKED, _ANSWERED, _ASKED, _ANSWERED]},
    {"messages": [_PROMPTED, _ASKED, _ANSWERED]},
    {"messages": [_ASKED, _ANSWERED], "tools": [PROBE_TOOL]},
    {"messages": [_ASKED, _CALLED], "tools": [PROBE_TOOL]},
    {"messages": [_ASKED, _CALLED, _RESULT, _ANSWERED], "tools": [PROBE_TOOL]},
)
"""Conversations of every kind that occurs in practice."""


def thinking_marks(source: str) -> tuple[str, str] | None:
    """Return the marks that a template puts around thinking."""
    return next((pair for pair in _THINKING if pair[1] in source), None)


def ways_of(jinja: Jinja, ends: Sequence[str], *, thinking: bool) -> Ways:
    """Return how a template writes answers.

    Args:
        jinja: The template.
        ends: Texts at which generation stops.
        thinking: True if the assistant thinks before it answers.
    """
    ways = Ways(jinja=jinja, thinking=thinking, ends=tuple(ends))
    if jinja.marked and (marked := _by_marks(ways)) is not None:
        return marked
    if not thinking:
        ways = replace(ways, cut=_cut(ways))
        ways = replace(
            ways, lead={offered: _lead(ways, offered=offered) for offered in (False, True)}
        )
    return replace(ways, after={False: _after(ways, []), True: _after(ways, [_CALLED])})


def form_of(ways: Ways, source: str) -> Form:
    """Return the form in which a model writes its answers."""
    if "<|channel|>" in source and "<|message|>" in source:
        return Form(channels=True)
    wraps = tuple(mark for mark in _WRAPS if mark in source)
    before = _learned(ways, [_ASKED, _ANSWERED], []).partition(_SAID)[0]
    blank = "" if before.strip() else before
    plain = Form(thinking=thinking_marks(source), wraps=wraps, blank=blank)
    call = next((one for one in CALL_FORMS if _reads(replace(plain, call=one), ways)), None)
    return replace(plain, call=call)


def shows_thought(ways: Ways, form: Form) -> bool:
    """Return True if a template shows thinking when it is switched on."""
    messages = written_out({"messages": [_ASKED, with_thought(_ANSWERED, _THOUGHT)]})
    try:
        rendered = ways.rendered(messages, None)
        opening = ways.opening(messages[:-1], None)
    except BackendError:
        return False
    span = rendered.answers[-1]
    reader = AnswerReader(form=form, types={}, offered=False, opening=opening)
    return read_answer(reader, rendered.text[span.start : span.end]).thinking == _THOUGHT


def _learned(ways: Ways, said: Sequence[Mapping[str, Any]], tools: Sequence[Any]) -> str:
    """Return the text of the last answer that a model learns; empty where a template refuses it."""
    try:
        rendered = ways.rendered(written_out({"messages": said}), tools)
    except BackendError:
        return ""
    span = rendered.answers[-1]
    return rendered.text[span.start : span.end]


def _by_marks(ways: Ways) -> Ways | None:
    """Return ways that trust a template's own marks.

    None unless it marks every answer, and no answer begins before its prompt ends.
    """
    marked = replace(ways, marked=True)
    leads = {}
    for offered in (False, True):
        tools = [PROBE_TOOL] if offered else []
        for said in ([_ASKED, _ANSWERED], [_ASKED, _ANSWERED, _ASKED, _ANSWERED]):
            messages = written_out({"messages": said})
            try:
                rendered = marked.rendered(messages, tools)
                prompt = marked.text(messages[:-1], tools, asks=True)
            except BackendError:
                return marked
            if len(rendered.answers) != len(said) // 2:
                return None
            start = rendered.answers[-1].start
            if not rendered.text.startswith(prompt) or start < len(prompt):
                return None
            leads[offered] = rendered.text[len(prompt) : start]
    return replace(marked, lead=leads)


def _cut(ways: Ways) -> str:
    """Return the block of thinking that ends prompts, and that answers without thinking lack."""
    messages = written_out({"messages": [_ASKED, _ANSWERED]})
    marks = thinking_marks(ways.jinja.source)
    try:
        prompt = ways.text(messages[:-1], None, asks=True)
        text = ways.text(messages, None)
    except BackendError:
        return ""
    if marks is None or text.startswith(prompt):
        return ""
    before, found, behind = prompt.rpartition(marks[0])
    return found + behind if found and not behind.strip() and text.startswith(before) else ""


def _lead(ways: Ways, *, offered: bool) -> str:
    """Return the text before every answer, such as a channel's name; empty if only blanks."""
    tools = [PROBE_TOOL] if offered else []
    before, found, _ = _learned(ways, [_ASKED, _ANSWERED], tools).partition(_SAID)
    if not found or not before.strip():
        return ""
    called = _learned(ways, [_ASKED, _CALLED], tools) if offered else ""
    return before if _NAME not in called or called.startswith(before) else ""


def _after(ways: Ways, called: Sequence[Mapping[str, Any]]) -> str:
    """Return the token that ends an answer where the template writes it with the next turn."""
    said = [_ASKED, *called] if called else [_ASKED, _ANSWERED]
    then = _RESULT if called else _ASKED
    tools = [PROBE_TOOL] if called else []
    try:
        text = ways.text(written_out({"messages": said}), tools)
        longer = ways.text(written_out({"messages": [*said, then]}), tools)
    except BackendError:
        return ""
    if text.rstrip().endswith(ways.ends) or not longer.startswith(text):
        return ""
    return next((end for end in ways.ends if longer.startswith(end, len(text))), "")


def _reads(form: Form, ways: Ways) -> bool:
    """Return True if a form reads a call as the template writes it."""
    end = _learned(ways, [_ASKED, _ANSWERED], []).partition(_SAID)[2]
    text = _learned(ways, [_ASKED, _CALLED], [PROBE_TOOL])
    try:
        opening = ways.opening(written_out({"messages": [_ASKED]}), [PROBE_TOOL])
    except BackendError:
        return False
    reader = AnswerReader(form=form, types=types_of([PROBE_TOOL]), offered=True, opening=opening)
    read = read_answer(reader, text.removesuffix(end))
    called = [one["function"] for one in read.calls]
    return called == [{"name": _NAME, "arguments": json.dumps(_ARGUMENTS)}] and (
        _NAME not in read.text
    )
