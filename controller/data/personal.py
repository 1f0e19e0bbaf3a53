"""Personal data and secrets in an example: found, and masked, refused or noted as the spec says.

Looked at are all texts, the arguments of tool calls and what a grader reads. What was found is
never repeated in a message or report.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from backends.base import Json
from controller.data.example import Example, Message, map_texts
from controller.data.optional import load
from controller.data.unusable import Unusable
from controller.spec.data import Prepare

Mask: TypeAlias = Callable[[str], str]


class PersonalData:
    """What a spec wants done about personal data."""

    def __init__(self, prepare: Prepare) -> None:
        """Load what finds it.

        Raises:
            Unusable: A package of the extra is missing.
        """
        self._pii: Any = load("controller.data.pii", extra="data", what=f"pii: {prepare.pii}")
        self._does = prepare.pii
        self._regions = prepare.pii_regions

    def treat(self, example: Example) -> tuple[Example, str]:
        """Look through an example.

        Returns:
            The example, masked where that is wanted; and what was found: `2 email, 1 phone`.

        Raises:
            Unusable: Something was found, and that is to be refused.
        """
        names: dict[tuple[str, str], str] = {}
        found: Counter[str] = Counter()

        def mask(text: str) -> str:
            findings = self._pii.find(text, self._regions)
            if not findings:
                return text
            found.update(finding.kind for finding in findings)
            masked: str = self._pii.mask(text, findings, names)
            return masked

        masked = map_texts(example, mask)
        if any("tool_calls" in message for message in example.messages):
            masked = masked._replace(messages=[_in_calls(one, mask) for one in masked.messages])
        if masked.graded is not None:
            masked = masked._replace(graded={k: _deep(v, mask) for k, v in masked.graded.items()})
        if not found:
            return example, ""
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        if self._does == "reject":
            raise Unusable(
                f"personal data: {listed}", "Take it out of the row, or set data.prepare.pii: mask"
            )
        return (masked if self._does == "mask" else example), listed


def _in_calls(message: Message, mask: Mask) -> Message:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_in_call(call, mask) for call in calls]}


def _in_call(call: Json, mask: Mask) -> Json:
    if not isinstance(call, dict) or not isinstance(function := call.get("function"), dict):
        return call
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return call
    try:
        written = json.loads(arguments)
        # Number by number and text by text, so that what is left is JSON.
        inside = _deep(written, mask)
    except (ValueError, RecursionError):
        masked = mask(arguments)
    else:
        masked = arguments if inside == written else json.dumps(inside, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": masked}}


def _deep(value: Json, mask: Mask) -> Json:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if (text := mask(str(value))) == str(value) else text
    if isinstance(value, dict):
        return {key: _deep(item, mask) for key, item in value.items()}
    if isinstance(value, list):
        return [_deep(item, mask) for item in value]
    return value
