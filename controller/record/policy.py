"""The data policy of a spec, applied to what is written to be committed."""

from dataclasses import dataclass, replace

from backends.contract.completions import Completion
from backends.contract.inspector import Json
from controller.data.errors import PersonalDataFound
from controller.data.examples.example import Example, Message
from controller.data.transforms.pii.apply import PiiPolicy
from controller.spec.data import Prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """An answer under the policy."""

    completion: Completion | None
    """None if it must not be written."""
    found: bool = False
    """True if it holds personal data, or may hold it."""


class DataPolicy:
    """The policy for personal data; it changes nothing with `pii: off`."""

    def __init__(self, prepare: Prepare) -> None:
        """Load what finds personal data.

        Raises:
            DataError: A package of the extra `data` is missing.
        """
        self._pii = None if prepare.pii == "off" else PiiPolicy(prepare)

    def example(self, example: Example) -> Example | None:
        """Return an example, masked if the policy says so; None if it must not be kept."""
        if self._pii is None:
            return example
        try:
            return self._pii.apply(example)[0]
        except PersonalDataFound:
            return None

    def answer(self, completion: Completion) -> Passed:
        """Return an answer, masked if the policy says so.

        A masked answer has no log-probabilities, whose tokens spell what was masked.
        """
        if self._pii is None:
            return Passed(completion=completion)
        message = _message(completion)
        try:
            masked, findings = self._pii.apply(Example([message]))
        except PersonalDataFound:
            return Passed(completion=None, found=True)
        (new,) = masked.messages
        if new == message:
            return Passed(completion=completion, found=bool(findings))
        calls = new["tool_calls"]
        return Passed(
            completion=replace(
                completion,
                text=str(new["content"]),
                thinking=str(new["thinking"]),
                tool_calls=calls if isinstance(calls, list) else (),
                logprobs=(),
            ),
            found=True,
        )


def _message(completion: Completion) -> Message:
    calls: list[Json] = [dict(call) for call in completion.tool_calls]
    return {
        "role": "assistant",
        "content": completion.text,
        "thinking": completion.thinking,
        "tool_calls": calls,
    }
