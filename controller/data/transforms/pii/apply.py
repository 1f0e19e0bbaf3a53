"""Personal data and secrets in an example: masked, refused or reported, as the spec says.

Every text and number of the example's canonical line is searched, including keys: contents in any
form, names, arguments of calls (inside their JSON, so that it stays valid), other keys of messages,
both answers of a pair, tool definitions and values that a grader reads. Content that cannot be
searched (an image or a sound) is refused where personal data must not pass. Findings that cannot be
masked are refused too: a function's name, a key that a grader uses. Messages and reports never
repeat a finding.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from backends.contract.inspector import Json
from controller.data.errors import PersonalDataFound
from controller.data.examples.example import Example, Message, map_texts
from controller.data.extras import import_extra
from controller.data.recipes import FIRST, NEWEST
from controller.spec.data import Prepare

Mask: TypeAlias = Callable[[str, str], str]
"""Returns a text with its findings masked; the second text is the key of the first."""

_FIXED: Final = frozenset({"role", "type", "weight"})
"""Keys whose values are defined by the protocol."""
_UNNAMING: Final = frozenset({"name", "tool_call_id"})
"""Keys that do not describe their value."""
_LONGEST_TYPE: Final = 200
"""Characters of a data URL in which its media type is read."""
_TEXT_PARTS: Final = frozenset({"text", "refusal", "thinking", "reasoning", "output_text"})


class PiiPolicy:
    """The spec's policy for personal data."""

    def __init__(self, prepare: Prepare, recipe: int = NEWEST) -> None:
        """Load the package that finds it.

        Raises:
            DataError: A package of the extra is missing.
        """
        self._pii: Any = import_extra(
            "controller.data.transforms.pii.detect", extra="data", what=f"pii: {prepare.pii}"
        )
        self._action = prepare.pii
        self._regions = prepare.pii_regions
        self._recipe = recipe

    def apply(self, example: Example) -> tuple[Example, str]:
        """Search an example.

        Returns:
            The example, masked if the spec says so; and the findings: `2 email, 1 phone`.

        Raises:
            PersonalDataFound: A finding is refused or cannot be masked, or content cannot be searched.
        """
        placeholders: dict[tuple[str, str], str] = {}
        found: Counter[str] = Counter()

        def mask(text: str, named: str = "") -> str:
            findings = self._pii.find_named(text, named, self._regions, self._recipe)
            if not findings:
                return text
            found.update(finding.kind for finding in findings)
            masked: str = self._pii.mask(text, findings, placeholders)
            return masked

        if self._recipe == FIRST and self._action == "mask":
            masked = _by_first_recipe(example, mask)
        else:
            walk = _Walk(mask, fails=self._action == "mask")
            masked = walk.example(example)
            found.update(walk.unseen)
        if not found:
            return example, ""
        listed = _listed(found)
        if self._action != "warn" and (unseen := sorted(found.keys() & _UNSEEN.values())):
            raise PersonalDataFound(
                f"{', '.join(unseen)}: its content cannot be searched",
                "Remove the row, or set data.prepare.pii: warn",
            )
        if self._action == "reject":
            raise PersonalDataFound(
                f"personal data: {listed}", "Remove it from the row, or set data.prepare.pii: mask"
            )
        return (masked if self._action == "mask" else example), listed

    def findings_in(self, text: str, named: str) -> str:
        """Return the findings in the value of a column: `2 email, 1 phone`; empty if none.

        Args:
            text: The value.
            named: The column's name.
        """
        findings = self._pii.find_named(text, named, self._regions, self._recipe)
        return _listed(Counter(finding.kind for finding in findings))


def _listed(found: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))


_UNSEEN: Final = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "sound",
    "audio": "sound",
    "video": "video",
    "file": "file",
    "input_file": "file",
}


class _Walk:
    """Walk over all texts and numbers of an example."""

    def __init__(self, mask: Mask, *, fails: bool) -> None:
        """Start a walk.

        Args:
            mask: Applied to each text.
            fails: True if a finding in a place that cannot be masked is an error.
        """
        self._mask = mask
        self._fails = fails
        self.unseen: Counter[str] = Counter()

    def example(self, example: Example) -> Example:
        graded, tools, rejected = example.graded, example.tools, example.rejected
        if graded is not None:
            graded = {self._kept(key): self._deep(item, key) for key, item in graded.items()}
        return example._replace(
            messages=list(map(self._message, example.messages)),
            tools=None if tools is None else [self._called(tool) for tool in tools],
            rejected=None if rejected is None else self._message(rejected),
            graded=graded,
            text=None if example.text is None else self._mask(example.text, ""),
        )

    def _message(self, message: Message) -> Message:
        new: Message = {}
        for key, value in message.items():
            if key == "content":
                new[key] = self._content(value)
            elif key in {"tool_calls", "function_call"}:
                many = value if isinstance(value, list) else [value]
                calls = [self._called(call) for call in many]
                new[key] = calls if isinstance(value, list) else calls[0]
            elif key in _FIXED:
                new[key] = self._fixed(value)
            else:
                new[self._kept(key)] = self._deep(value, "" if key in _UNNAMING else key)
        return new

    def _content(self, content: Json) -> Json:
        if not isinstance(content, list):
            return self._deep(content, "")
        return [self._part(part) for part in content]

    def _part(self, part: Json) -> Json:
        if not isinstance(part, dict):
            return self._deep(part, "")
        kind = str(part.get("type"))
        shown = {what for key, what in _UNSEEN.items() if key in part}
        if kind not in _TEXT_PARTS:
            shown.add(_UNSEEN.get(kind, "file"))
        self.unseen.update(shown)
        if shown:
            # The address is searchable, the bytes are not.
            part = {key: _without_bytes(value) for key, value in part.items()}
        return {
            key: self._fixed(value) if key in _FIXED else self._deep(value, "")
            for key, value in part.items()
        }

    def _called(self, value: Json) -> Json:
        """Return a call or a definition of a function, with its name unchanged."""
        if not isinstance(value, dict):
            return self._deep(value, "")
        new: dict[str, Json] = {}
        for key, item in value.items():
            if key in _FIXED:
                new[key] = self._fixed(item)
            elif key == "function":
                new[key] = self._called(item)
            elif key == "name" and isinstance(item, str):
                new[key] = self._kept(item)
            elif key == "arguments" and isinstance(item, str):
                new[key] = self._arguments(item)
            else:
                new[self._kept(key)] = self._deep(item, "" if key == "id" else key)
        return new

    def _arguments(self, text: str) -> str:
        try:
            written = json.loads(text)
            # Mask each number and text separately, so that the result is JSON.
            inside = self._deep(written, "")
        except (ValueError, RecursionError):
            return self._mask(text, "")
        return text if inside == written else json.dumps(inside, ensure_ascii=False)

    def _deep(self, value: Json, named: str) -> Json:
        if isinstance(value, str):
            if value.startswith("data:") and ";base64," in value[:_LONGEST_TYPE]:
                self.unseen["file"] += 1
                return value
            return self._mask(value, named)
        if isinstance(value, int | float) and not isinstance(value, bool):
            written = str(int(value) if isinstance(value, float) and value.is_integer() else value)
            return value if (text := self._mask(written, named)) == written else text
        if isinstance(value, dict):
            new = {self._mask(key, ""): self._deep(item, key) for key, item in value.items()}
            if len(new) < len(value):
                raise PersonalDataFound(
                    "personal data in two keys of one object", "Rename them, or remove them."
                )
            return new
        if isinstance(value, list):
            return [self._deep(item, named) for item in value]
        return value

    def _fixed(self, value: Json) -> Json:
        return self._kept(value) if isinstance(value, str) else self._deep(value, "")

    def _kept(self, name: str) -> str:
        """Return a name that cannot be masked, since other data refers to it."""
        if self._mask(name, "") != name and self._fails:
            raise PersonalDataFound(
                "personal data in the name of a function or key, which cannot be masked",
                "Rename it.",
            )
        return name


def _without_bytes(value: Json) -> Json:
    if isinstance(value, str):
        return value[: value.index(",")] if value.startswith("data:") and "," in value else value
    if isinstance(value, dict):
        return {key: _without_bytes(item) for key, item in value.items()}
    return value


def _by_first_recipe(example: Example, mask: Mask) -> Example:
    """Return an example with contents, arguments (as text) and graded values masked."""

    def in_text(text: str) -> str:
        return mask(text, "")

    masked = map_texts(example, in_text, FIRST)
    if any("tool_calls" in message for message in example.messages):
        masked = masked._replace(messages=[_in_calls(message, mask) for message in masked.messages])
    if masked.graded is not None:
        deep = _FirstWalk(mask, fails=False)
        graded = {key: deep.value(item) for key, item in masked.graded.items()}
        masked = masked._replace(graded=graded)
    return masked


class _FirstWalk(_Walk):
    """Walk over values alone, without their keys."""

    def value(self, value: Json) -> Json:
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, float):
            return value if (text := self._mask(str(value), "")) == str(value) else text
        return self._deep(value, "")

    def arguments(self, text: str) -> str:
        try:
            written = json.loads(text)
            inside = self.value(written)
        except (ValueError, RecursionError):
            return self._mask(text, "")
        return text if inside == written else json.dumps(inside, ensure_ascii=False)


def _in_calls(message: Message, mask: Mask) -> Message:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_in_call(call, mask) for call in calls]}


def _in_call(call: Json, mask: Mask) -> Json:
    if not isinstance(call, dict) or not isinstance(function := call.get("function"), dict):
        return call
    if not isinstance(arguments := function.get("arguments"), str):
        return call
    masked = _FirstWalk(mask, fails=False).arguments(arguments)
    return {**call, "function": {**function, "arguments": masked}}
