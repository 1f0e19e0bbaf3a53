"""Check how the base models below a folder are read, and print a table.

python tests/families.py FOLDER        every folder in it is a base model; tokenizers suffice

For each model and kind of conversation: `right` if every answer is learned, the prompt that asks for
it is exactly the text before it, and a perfect model's answer is read back as it was; `refused` if
the example is refused, with a remedy; anything else is an error, and the exit status 1.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backends.contract.errors import BackendError
from backends.local_gpu.templates.answers import Answer, read_answer
from backends.local_gpu.templates.learnable import check
from backends.local_gpu.tokens.chat_tokens import Chat, load_chat

ASKED = {"role": "user", "content": "How do I change my PIN?"}
ANSWER = {"role": "assistant", "content": "change_pin"}
AGAIN = {"role": "user", "content": "And the rate?"}
OTHER = {"role": "assistant", "content": "exchange rate,\n  not <b>the</b> balance"}
SYSTEM = {"role": "system", "content": "Answer with the label."}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_rate",
        "description": "The rate of two currencies.",
        "parameters": {
            "type": "object",
            "properties": {
                "pair": {"type": "string"},
                "days": {"type": "integer"},
                "more": {"type": "object"},
            },
            "required": ["pair"],
        },
    },
}
ARGUMENTS = {"pair": "EUR \"to\" 'KRW'\n</x>", "days": 7, "more": {"live": True, "by": [1, None]}}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": "get_rate", "arguments": json.dumps(ARGUMENTS)},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call00001", "content": "1500 won"}
THOUGHT = {**ANSWER, "reasoning_content": "They ask about a PIN."}
KINDS: Mapping[str, tuple[bool, dict[str, Any]]] = {
    "one answer": (False, {"messages": [ASKED, ANSWER]}),
    "several": (False, {"messages": [ASKED, ANSWER, AGAIN, OTHER, ASKED, ANSWER]}),
    "system": (False, {"messages": [SYSTEM, ASKED, ANSWER]}),
    "system, several": (False, {"messages": [SYSTEM, ASKED, ANSWER, AGAIN, OTHER]}),
    "offered": (False, {"messages": [ASKED, OTHER], "tools": [TOOL]}),
    "call": (False, {"messages": [ASKED, CALL], "tools": [TOOL]}),
    "tools": (False, {"messages": [ASKED, CALL, RESULT, OTHER], "tools": [TOOL]}),
    "tools, several": (
        False,
        {"messages": [ASKED, CALL, RESULT, OTHER, AGAIN, CALL, RESULT, ANSWER], "tools": [TOOL]},
    ),
    "thinking": (True, {"messages": [ASKED, THOUGHT]}),
    "thinking, several": (True, {"messages": [ASKED, THOUGHT, AGAIN, OTHER, ASKED, THOUGHT]}),
}


def main(folder: Path) -> int:
    """Print the table, then what was wrong and every remedy; return the exit status."""
    _say("| model | " + " | ".join(KINDS) + " |")
    _say("|---" * (len(KINDS) + 1) + "|")
    wrong: list[str] = []
    remedies: list[str] = []
    for base in sorted(path for path in folder.iterdir() if path.is_dir()):
        cells = []
        for name, (thinking, conversation) in KINDS.items():
            found = outcome(base, conversation, thinking=thinking)
            cells.append(found.partition(":")[0])
            if found.startswith("refused"):
                remedies.append(f"{base.name}, {name}: {found}")
            elif found != "right":
                wrong.append(f"{base.name}, {name}: {found}")
        _say("| " + " | ".join([base.name, *cells]) + " |")
    _say("\n".join(["", *remedies, "", *(wrong or ["nothing is wrong"])]))
    return int(bool(wrong))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def outcome(base: Path, conversation: Mapping[str, Any], *, thinking: bool) -> str:
    """Return `right`, `refused: why (remedy)`, or what is wrong."""
    try:
        chat = load_chat(base, None, thinking=thinking)
        check(chat.template, conversation)
    except BackendError as error:
        return f"refused: {error.message} → {error.remedy}" if error.remedy else "no remedy"
    (encoded,) = chat.encode([conversation])
    if isinstance(encoded, BackendError):
        return f"planned, and refused by the job: {encoded.message}"
    if chat.counts([conversation]) != [len(encoded.ids)]:
        return "counted otherwise than trained"
    return next(_faults(chat, conversation, encoded.ids, encoded.learned), "right")


def _faults(chat: Chat, conversation: Mapping[str, Any], ids: Any, learned: Any) -> Iterator[str]:
    messages = conversation["messages"]
    places = [place for place, m in enumerate(messages) if m["role"] == "assistant"]
    spans = _spans(learned)
    if len(spans) != len(places):
        yield f"{len(spans)} answers learned, of {len(places)}"
        return
    for place, (start, end) in zip(places, spans, strict=True):
        before = {**conversation, "messages": messages[:place]}
        if chat.prompt(before) != list(ids[:start]):
            prompt = chat.tokenizer.decode(chat.prompt(before), skip_special_tokens=False)
            seen = chat.tokenizer.decode(list(ids[:start]), skip_special_tokens=False)
            yield f"asked otherwise than trained: {prompt!r} {seen!r}"
        if ids[end - 1] not in chat.stops:
            yield "the end of an answer is not learned"
        read = _read(chat, list(ids[start:end]), before)
        message = messages[place]
        if read.text.strip() != (message["content"] or "").strip():
            yield f"answer read back as {read.text!r}"
        if read.thinking != message.get("reasoning_content", ""):
            yield f"thinking read back as {read.thinking!r}"
        wanted = [json.loads(c["function"]["arguments"]) for c in message.get("tool_calls", ())]
        got = [json.loads(call["function"]["arguments"]) for call in read.calls]
        if wanted != got:
            yield f"calls read back as {got}"


def _read(chat: Chat, ids: list[int], before: Mapping[str, Any]) -> Answer:
    """Read an answer; a tokenizer of few words may write its mark for a blank as bytes."""
    whole = chat.parse(ids, before)
    text = chat.decode(ids)
    if "\u2581" not in text:
        return whole
    return read_answer(chat.reader(before), text.replace("\u2581", " "))


def _spans(learned: Any) -> list[tuple[int, int]]:
    edges = [
        place
        for place in range(len(learned) + 1)
        if (place < len(learned) and learned[place]) != (place > 0 and learned[place - 1])
    ]
    return list(zip(edges[::2], edges[1::2], strict=True))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
