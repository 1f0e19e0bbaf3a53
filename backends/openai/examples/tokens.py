"""Token counts as the service bills them, and the tokens of an example, offline. Needs the package `bpe-openai`."""

import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from backends.contract.inspector import Piece
from backends.openai.examples.encodings import encoding_name
from backends.openai.examples.images import image_tokens

with warnings.catch_warnings():
    # The package reads its tables in a way that some versions of Python call outdated.
    warnings.simplefilter("ignore", DeprecationWarning)
    _bpe: Final[Any] = importlib.import_module("bpe_openai")

_OUTPUTS: Final = ("preferred_output", "non_preferred_output")
_OFFERED: Final = ("tools", "functions")
"""Keys that list the tools or functions that a model may call."""
_OUTPUT_NAMES: Final = ("assistant (preferred)", "assistant (not preferred)")
_PER_MESSAGE: Final = 3
_PER_EXAMPLE: Final = 3
_PER_NAME: Final = 1
_AT_ONCE: Final = 200_000
"""Maximum number of characters to encode at once; the tokenizer refuses a million."""
_ROLE_AND_CONTENT: Final = 2


class _Encoding(Protocol):
    """The part of the package's encodings that is used."""

    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode_single_token_bytes(self, token: int) -> bytes: ...


def counter(model: str) -> Callable[[Mapping[str, Any]], int]:
    """Return a function that counts one example: every text, and a frame around each message."""
    encode = _encoding(model).encode_ordinary
    roles: dict[str, int] = {}

    def count_text(text: str) -> int:
        return (
            len(encode(text)) if len(text) <= _AT_ONCE else sum(map(len, _in_parts(text, encode)))
        )

    def count_message(message: Mapping[str, Any]) -> int:
        role, content = message["role"], message.get("content")
        if role not in roles:
            roles[role] = _PER_MESSAGE + count_text(role)
        if len(message) == _ROLE_AND_CONTENT and type(content) is str:
            return roles[role] + count_text(content)
        return roles[role] + sum(
            _count_value(key, value, count_text) for key, value in message.items()
        )

    def count(example: Mapping[str, Any]) -> int:
        source = example.get("input", example)
        total = _PER_EXAMPLE + sum(map(count_message, source.get("messages", ())))
        if source is not example:
            total += sum(
                count_message(answer) for key in _OUTPUTS for answer in example.get(key, ())
            )
        for key in _OFFERED:
            if source.get(key):
                total += count_text(_compact(source[key]))
        return total

    return count


def answer_counter(model: str) -> Callable[[Mapping[str, Any]], int]:
    """Return a function that counts an answer: its texts and calls, and its end mark."""
    encode = _encoding(model).encode_ordinary

    def count_text(text: str) -> int:
        return sum(map(len, _in_parts(text, encode)))

    def count(message: Mapping[str, Any]) -> int:
        return 1 + sum(_count_value(key, value, count_text) for key, value in message.items())

    return count


def count_file(path: Path, model: str, most: int) -> int:
    """Return the tokens of a file; each example counts at most `most`, where the service cuts it."""
    count = counter(model)
    return sum(min(count(example), most) for example in _examples(path))


def show(model: str, example: Mapping[str, Any]) -> list[Piece]:
    """Return an example token by token, framed as in ChatML. See `OpenAIInspector.show`."""
    encoding = _encoding(model)

    def tokens(text: str, *, trained: bool) -> Iterator[Piece]:
        held = b""
        for part in _in_parts(text, encoding.encode_ordinary):
            for token in part:
                held += encoding.decode_single_token_bytes(token)
                # A token may be a part of a character, which is nothing to look at.
                with suppress(UnicodeDecodeError):
                    yield Piece(text=held.decode(), trained=trained)
                    held = b""

    return [
        piece
        for role, texts, trained in _turns(example)
        for piece in (
            Piece(text="<|im_start|>", trained=False),
            *tokens(role, trained=False),
            Piece(text="\n", trained=False),
            *tokens("\n".join(texts), trained=trained),
            Piece(text="<|im_end|>\n", trained=trained),
        )
    ]


def _turns(example: Mapping[str, Any]) -> Iterator[tuple[str, list[str], bool]]:
    """Yield the speaker, the texts, and True if training learns from them.

    Learnt from are answers without `weight: 0`; of a preference pair both, and nothing before
    them; of a prompt for reinforcement nothing, since the answer is sampled.
    """
    source = example.get("input", example)
    for key in (*_OFFERED, "parallel_tool_calls"):
        if source.get(key) not in (None, []):
            yield key, [_compact(source[key])], False
    messages = source["messages"]
    supervised = source is example and messages[-1]["role"] == "assistant"
    for message in messages:
        role, weight = message["role"], message.get("weight", 1)
        of = message.get("name") or message.get("tool_call_id")
        heading = f"{role} {of}" if of else role
        yield heading, list(_texts(message)), supervised and role == "assistant" and weight != 0
    for name, key in zip(_OUTPUT_NAMES, _OUTPUTS, strict=True):
        for message in example.get(key, ()):
            yield name, list(_texts(message)), True


def _encoding(model: str) -> _Encoding:
    return _named(encoding_name(model))


@cache
def _named(name: str) -> _Encoding:
    """Return an encoding; building its tables takes a tenth of a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        encoding: _Encoding = _bpe.get_encoding(name)
    return encoding


def _in_parts(text: str, encode: Callable[[str], list[int]]) -> Iterator[list[int]]:
    for start in range(0, len(text), _AT_ONCE):
        yield encode(text[start : start + _AT_ONCE])


def _count_value(key: str, value: object, count_text: Callable[[str], int]) -> int:
    if key in {"role", "weight"} or value is None:
        return 0
    if isinstance(value, str):
        return count_text(value) + (_PER_NAME if key == "name" else 0)
    if key == "content" and isinstance(value, list):
        return sum(
            image_tokens(part["image_url"])
            if part.get("type") == "image_url"
            else count_text(_part_text(part))
            for part in value
        )
    return count_text(_compact(value))


def _examples(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _part_text(part: Mapping[str, Any]) -> str:
    """Return one part of a message's content as text."""
    kind = str(part.get("type"))
    text = part.get(kind)
    return text if isinstance(text, str) else f"[{kind}]"


def _compact(value: object) -> str:
    """Return JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from map(_part_text, content)
    for key, value in message.items():
        if key not in {"role", "content", "name", "tool_call_id", "weight"} and value is not None:
            yield value if isinstance(value, str) else _compact(value)
