"""Check that a conversation can be learned from: the same check for trainer and plan.

Most conversations of a dataset are of a few kinds: the same roles in the same order, with or
without tools. For each kind, a sample with meaningless texts is checked. A conversation is checked
itself if its own texts have a meaning for the template (`</think>`), or if it calls tools.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, groupby
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.local_gpu.templates.answer_forms import PROBE_TOOL, probe_call
from backends.local_gpu.templates.chat_templates import Template
from backends.local_gpu.templates.messages import Conversation, thought
from backends.local_gpu.templates.turns import Rendered

_SAME: Final = 3
"""Turns after which a longer conversation is of the same kind."""
_OFFERED: Final = "probe_offered"
_FIXES: Final = 2
"""Largest number of changes in a remedy."""
_ROLE_AND_CONTENT: Final = 2
_PROMPTS: Final = frozenset({"system", "developer"})


def check(template: Template, conversation: Conversation) -> None:
    """Check that a conversation can be learned from; render it only if its kind does not decide.

    Raises:
        BackendError: It cannot be learned from; the remedy works for this template.
    """
    if _check_kind(template, conversation):
        learned(template, conversation)


def learned(template: Template, conversation: Conversation) -> Rendered:
    """Render a conversation, and check that the model learns every part that it should.

    Raises:
        BackendError: A part is not learned, or the template refuses the conversation.
    """
    if template.recipe == 1:
        return template.render(conversation)
    _check_kind(template, conversation)
    try:
        return _verified(template, conversation)
    except BackendError as error:
        raise _mended(template, conversation, error) from None


def text_of(template: Template, conversation: Conversation) -> str:
    """Return the text of a conversation as in training, rendered only once where that is enough.

    Raises:
        BackendError: The template refuses it.
    """
    telling = _telling(template.telling).search
    if template.recipe == 1 or any(telling(_text(one)) for one in conversation["messages"]):
        return template.render(conversation).text
    kind = ("whole", _kind(conversation))
    if kind not in template.kinds:
        sample = _sample(conversation)
        template.kinds[kind] = template.render(sample).text == template.whole(sample)
    if template.kinds[kind]:
        return template.whole(conversation)
    return template.render(conversation).text


def plain_kinds(template: Template) -> tuple[bool, bool, bool]:
    """Return which plain conversations can certainly be learned from: texts only.

    Returns:
        True for conversations where user and assistant alternate, for conversations where a role
        speaks twice in a row, and for conversations with a system prompt.
    """
    asked, said = {"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}
    system = {"role": "system", "content": "3"}
    turns = [[asked, said] * count for count in range(1, _SAME + 1)]
    twice = [[asked, asked, said], [asked, said, said], [asked, said, asked, asked, said, said]]
    return (
        _all_pass(template, turns),
        _all_pass(template, twice),
        _all_pass(template, [[system, *kind] for kind in turns]),
    )


def _all_pass(template: Template, kinds: Sequence[Sequence[Mapping[str, Any]]]) -> bool:
    try:
        for kind in kinds:
            check(template, {"messages": kind})
    except BackendError:
        return False
    return True


def means(template: Template, text: str) -> bool:
    """Return True if the template or an answer's reader looks for something in the text."""
    return _telling(template.telling).search(text) is not None


@lru_cache(maxsize=16)
def _telling(texts: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(texts))) or "(?!)")


def _check_kind(template: Template, conversation: Conversation) -> bool:
    """Check a sample of the kind; return True if each conversation needs its own check."""
    kind = _kind(conversation)
    known = template.kinds.get(kind)
    if known is None:
        known = template.kinds[kind] = _look_at_kind(template, conversation)
    if isinstance(known, BackendError):
        raise BackendError(known.message, known.remedy)
    return known or any(means(template, _text(message)) for message in conversation["messages"])


def _look_at_kind(template: Template, conversation: Conversation) -> BackendError | bool:
    sample = _sample(conversation)
    try:
        rendered = _verified(template, sample)
        _all_shown(template, sample, rendered.text)
    except BackendError as error:
        return _mended(template, sample, error)
    return bool(conversation.get("tools")) or any(
        message.get("tool_calls") or thought(message) for message in conversation["messages"]
    )


def _kind(conversation: Conversation) -> object:
    """Return a key that is equal for all conversations that a template writes alike."""
    messages = conversation["messages"]
    kinds = [_kind_of(message) for message in messages]
    first = kinds[:1] if kinds[:1] and kinds[0][0] == "system" else []
    turns = kinds[len(first) :]
    if len(turns) > 2 * _SAME and turns == turns[:2] * (len(turns) // 2):
        turns = turns[: 2 * _SAME]
    return (tuple(first), tuple(turns), bool(conversation.get("tools")))


def _kind_of(message: Mapping[str, Any]) -> tuple[object, ...]:
    content = message.get("content")
    if len(message) == _ROLE_AND_CONTENT and type(content) is str:
        return message["role"], bool(content)
    return (
        message["role"],
        message.get("weight") == 0,
        bool(_text(message)),
        len(message.get("tool_calls") or ()),
        bool(thought(message)),
    )


def _sample(conversation: Conversation) -> Conversation:
    """Return a conversation of the same kind with meaningless texts."""
    messages = []
    for place, message in enumerate(conversation["messages"]):
        plain = {**message, "content": f"PROBE{place}SAID" if _text(message) else None}
        if message.get("tool_calls"):
            plain["tool_calls"] = [
                probe_call(str(call.get("id", "probe0001"))) for call in message["tool_calls"]
            ]
        for key in ("reasoning_content", "thinking", "reasoning"):
            if isinstance(message.get(key), str) and message[key].strip():
                plain[key] = f"PROBE{place}THOUGHT"
        messages.append(plain)
    tools = []
    if conversation.get("tools"):
        tools = [PROBE_TOOL, {"type": "function", "function": {**PROBE_TOOL["function"]}}]
        tools[1]["function"]["name"] = _OFFERED
    return {"messages": messages, "tools": tools}


def _all_shown(template: Template, sample: Conversation, text: str) -> None:
    """Check that a template shows every part of a conversation.

    Raises:
        BackendError: The template leaves out a part.
    """
    missing = dict.fromkeys(
        f"the {message['role']}'s text"
        for message in sample["messages"]
        if message["content"] and message["content"] not in text
    )
    names = [*missing, *(["tools"] if sample["tools"] and _OFFERED not in text else [])]
    if names:
        raise BackendError(
            f"the base model's chat template leaves out {' and '.join(names)}",
            f"Remove what it leaves out{template.or_chatml}.",
        )


def _verified(template: Template, conversation: Conversation) -> Rendered:
    rendered = template.render(conversation)
    messages = template.messages(conversation)
    places = [
        place
        for place, message in enumerate(conversation["messages"])
        if message["role"] == "assistant" and message.get("weight") != 0
    ]
    if len(places) != len(rendered.answers):
        raise BackendError(
            "the base model's chat template does not mark every answer as one",
            f"Use another base model{template.or_chatml}.",
        )
    for place, span in zip(places, rendered.answers, strict=True):
        text, message = rendered.text[span.start : span.end], messages[place]
        if not template.ended(text):
            raise missing_end_of_turn(template)
        if span.start == 0:
            raise BackendError(
                "there is no text before an answer, so its first token would not be learned",
                "Begin the conversation with a message of the user.",
            )
        said = message["content"]
        if said.strip() not in text:
            raise BackendError(
                "the base model's chat template leaves out a part of an answer, "
                "which would not be learned",
                f"Remove what it leaves out{template.or_chatml}.",
            )
        is_plain = not (message.get("tool_calls") or thought(message))
        if not is_plain or means(template, said) or _looks_like_call(template, said):
            _check_read_back(template, conversation, place, message, text)
    return rendered


def _check_read_back(
    template: Template,
    conversation: Conversation,
    place: int,
    message: Mapping[str, Any],
    text: str,
) -> None:
    """Check that the answer of a perfect model, read back, equals the example's answer."""
    read = template.read_back(conversation, place, _without_end(template, text))
    called = [call["function"] for call in message.get("tool_calls") or ()]
    wanted = [(call["name"], call.get("arguments") or {}) for call in called]
    got = [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in read.calls
    ]
    if called and not any(name in text for name, _ in wanted):
        raise BackendError(
            "the base model's chat template does not show calls of tools, "
            "so they would not be learned",
            f"Use a base model whose template shows them{template.or_chatml}.",
        )
    form = template.form.call
    if called and form is not None and form.offered and not conversation.get("tools"):
        raise BackendError(
            "a tool is called, and none is offered: this model writes a call as plain JSON, "
            "which is one only where tools are offered",
            "Give the example its `tools`.",
        )
    if wanted != got:
        raise BackendError(
            "calls of tools would be understood as others: "
            f"{json.dumps(wanted, ensure_ascii=False)[:200]} is read back as "
            f"{json.dumps(got, ensure_ascii=False)[:200]}",
            "Give the example `tools` that name the types of its arguments, "
            f"or remove it{template.or_chatml}.",
        )
    said = (read.text.strip(), read.thinking.strip())
    if said != (message["content"].strip(), thought(message).strip()):
        raise BackendError(
            f"an answer would be understood as another: {message['content'][:100]!r} is read "
            f"back as {read.text[:100]!r}",
            f"Remove the marks that have a meaning in it{template.or_chatml}.",
        )


def _looks_like_call(template: Template, said: str) -> bool:
    """Return True if a text may be a call without marks; `_check_read_back` decides."""
    form = template.form.call
    return form is not None and not form.opens and said.lstrip().startswith("{")


def _without_end(template: Template, text: str) -> str:
    """Return an answer as decoded from a model: without the token that ends it."""
    end = next(one for one in template.ways[False].ends if text.endswith(one))
    return text.removesuffix(end)


def missing_end_of_turn(template: Template) -> BackendError:
    """Return the error for an answer whose end the model would not learn."""
    return BackendError(
        "end of turn is not in the loss: the template does not end an answer with a "
        "token at which generation stops, so the model would never learn to stop",
        "Name the template's last token in eos_token_id of generation_config.json"
        f"{template.or_chatml}.",
    )


def _mended(template: Template, conversation: Conversation, error: BackendError) -> BackendError:
    """Return the error with a remedy that was tested: the fewest changes that make it pass."""
    for count in range(1, _FIXES + 1):
        for some in combinations(_CHANGES, count):
            other = conversation
            for _, change in some:
                other = change(other)
            if other == conversation or not _passes(template, other):
                continue
            words = ", and ".join(words for words, _ in some) + template.or_chatml
            return BackendError(error.message, f"{words[0].upper()}{words[1:]}.")
    return error


def _passes(template: Template, conversation: Conversation) -> bool:
    try:
        rendered = _verified(template, conversation)
        sample = _sample(conversation)
        _all_shown(template, sample, template.render(sample).text)
    except BackendError:
        return False
    return bool(rendered.answers)


def _without_prompt(conversation: Conversation) -> Conversation:
    kept = [m for m in conversation["messages"] if m["role"] not in _PROMPTS]
    return {**conversation, "messages": kept}


def _as_system(conversation: Conversation) -> Conversation:
    messages = [
        {**message, "role": "system"} if message["role"] == "developer" else message
        for message in conversation["messages"]
    ]
    return {**conversation, "messages": messages}


def _joined(conversation: Conversation) -> Conversation:
    groups = [list(group) for _, group in groupby(conversation["messages"], lambda m: m["role"])]
    return {**conversation, "messages": [group[-1] for group in groups]}


def _from_the_user(conversation: Conversation) -> Conversation:
    messages = conversation["messages"]
    first = next((p for p, m in enumerate(messages) if m["role"] not in _PROMPTS), 0)
    if first < len(messages) and messages[first]["role"] == "assistant":
        return {**conversation, "messages": [*messages[:first], *messages[first + 1 :]]}
    return conversation


def _one_call(conversation: Conversation) -> Conversation:
    messages: list[Any] = []
    for message in conversation["messages"]:
        again = messages and message["role"] == "tool" == messages[-1]["role"]
        if not again:
            calls = message.get("tool_calls")
            messages.append({**message, "tool_calls": calls[:1]} if calls else message)
    return {**conversation, "messages": messages}


def _calls_alone(conversation: Conversation) -> Conversation:
    messages = [
        {**message, "content": None} if message.get("tool_calls") else message
        for message in conversation["messages"]
    ]
    return {**conversation, "messages": messages}


def _without_tools(conversation: Conversation) -> Conversation:
    kept = [
        message
        for message in conversation["messages"]
        if message["role"] != "tool" and not message.get("tool_calls")
    ]
    return {"messages": list(_joined({"messages": kept})["messages"])}


def _one_answer(conversation: Conversation) -> Conversation:
    messages = conversation["messages"]
    ends = [place for place, m in enumerate(messages) if m["role"] == "assistant"]
    return {**conversation, "messages": messages[: ends[0] + 1] if ends else messages}


_CHANGES: Final[Sequence[tuple[str, Callable[[Conversation], Conversation]]]] = (
    ("give the prompt the role `system`", _as_system),
    ("move the text of the prompt into the first message of the user", _without_prompt),
    ("join messages of the same role that follow each other", _joined),
    ("begin the conversation with a message of the user", _from_the_user),
    ("let the assistant call one tool at a time", _one_call),
    ("remove the text beside calls of tools", _calls_alone),
    ("remove tools, calls and their results, or use a base model that shows them", _without_tools),
    ("train on conversations with one answer each", _one_answer),
)
"""Changes that a remedy may propose, the smallest first."""


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(_texts(content))


def _texts(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (part["text"] for part in parts if isinstance(part.get("text"), str))
