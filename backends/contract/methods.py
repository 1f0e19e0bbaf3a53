"""Training methods: the form of their examples, their row formats and columns. Pure.

Data, evaluation and every backend read a method's record here; nothing else compares names of
methods. Another method is a record and a line in `METHODS`. A new form of example is a `Form` and a
line in `FORMS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

Example: TypeAlias = Mapping[str, Any]
"""An example in the protocol's form, as a line of a dataset has it."""
Message: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Form of an example: where its question and its answers are."""

    key: str
    """Key that only examples of this form have."""
    source: Callable[[Example], Mapping[str, Any]]
    """Returns the object with `messages` and `tools`."""
    answers: Callable[[Example], Sequence[Message]]
    """Returns the answers after the question, the best first."""
    unwanted: Callable[[Example], Message | None] = lambda _: None
    """Returns the answer that is to become less likely, if there is one."""

    def question(self, example: Example) -> list[Message]:
        """Return the messages before the reference answer; empty for a text."""
        messages = list(self.source(example).get("messages", ()))
        return messages[:-1] if self is MESSAGES and self.answers(example) else messages

    def reference(self, example: Example) -> Message | None:
        """Return the expected answer, the text to measure, or None if nobody wrote a good one."""
        answers, unwanted = self.answers(example), self.unwanted(example)
        return answers[0] if answers and answers[0] is not unwanted else None

    @property
    def is_of_preferences(self) -> bool:
        """True if its examples tell good answers from bad ones."""
        return self is PREFERENCE or self is MARKED

    def tools(self, example: Example) -> Sequence[Mapping[str, Any]]:
        """Return the tools that the example offers."""
        return self.source(example).get("tools") or ()


def _last_answer(example: Example) -> Sequence[Message]:
    last = example["messages"][-1:]
    return last if last and last[0]["role"] == "assistant" else ()


TEXT: Final = Form(
    key="text",
    source=lambda _: {},
    answers=lambda example: ({"text": example["text"]},),
)
PREFERENCE: Final = Form(
    key="preferred_output",
    source=lambda example: example["input"],
    answers=lambda example: (*example["preferred_output"], *example["non_preferred_output"]),
    unwanted=lambda example: example["non_preferred_output"][0],
)
MARKED: Final = Form(
    key="label",
    source=lambda example: example["input"],
    answers=lambda example: example["output"],
    unwanted=lambda example: None if example["label"] else example["output"][0],
)
MESSAGES: Final = Form(
    key="messages",
    source=lambda example: example,
    answers=_last_answer,
)
FORMS: Final = (MESSAGES, PREFERENCE, MARKED, TEXT)
"""All forms. A graded example may have any key besides `messages`, so that key decides first."""


def form_of(example: Example) -> Form:
    """Return the form of an example, by its keys.

    Raises:
        ValueError: No form has these keys.
    """
    for form in FORMS:
        if form.key in example:
            return form
    raise ValueError(f"an example with the keys {', '.join(map(str, example))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A training method."""

    name: str
    form: Form
    row_formats: tuple[str, ...]
    """Formats of rows that fit this method; the first is the default where rows do not tell."""
    columns: tuple[str, ...] | None
    """Keys of `columns` besides `system` and `user`; None if rows cannot be named by columns."""
    min_examples: int = 10
    """Fewest examples that a model can learn from."""
    recognises_rows: bool = False
    """True if the keys of a row tell its format; otherwise the first of `row_formats` is meant."""
    learns_answers: bool = True
    """True if it learns from answers in its examples; False if it samples and grades answers."""
    trains: bool = True
    """False if the base model itself answers, and no backend makes a job."""
    read_as: str = ""
    """Name of the method as which backends read its examples; empty for its own name."""
    sample: Sequence[Example]
    """Examples that every backend with this method must accept."""

    @property
    def is_of_conversations(self) -> bool:
        """True if its examples are conversations from whose answers it learns."""
        return self.form is MESSAGES and self.learns_answers

    @property
    def is_of_texts(self) -> bool:
        """True if its examples are plain texts, to which nobody gives answers."""
        return self.form is TEXT

    @property
    def is_of_preferences(self) -> bool:
        """True if its examples tell good answers from bad ones."""
        return self.form.is_of_preferences

    @property
    def needs_both_marks(self) -> bool:
        """True if it cannot learn from good answers alone, or from bad ones alone."""
        return self.form is MARKED


_ASKED: Final = {"role": "user", "content": "카페는 몇 시에 여나요?"}
_ANSWERED: Final = {"role": "assistant", "content": "아홉 시에 엽니다. From nine on!"}

SUPERVISED: Final = Method(
    name="supervised",
    form=MESSAGES,
    row_formats=("chat", "prompt-completion", "alpaca", "sharegpt"),
    columns=("assistant",),
    recognises_rows=True,
    sample=(
        {"messages": [_ASKED, _ANSWERED]},
        {"messages": [_ASKED, {**_ANSWERED, "content": "열 시."}]},
    ),
)
DPO: Final = Method(
    name="dpo",
    form=PREFERENCE,
    row_formats=("preference",),
    columns=("chosen", "rejected"),
    sample=(
        {
            "input": {"messages": [_ASKED]},
            "preferred_output": [_ANSWERED],
            "non_preferred_output": [{"role": "assistant", "content": "몰라요."}],
        },
    ),
)
KTO: Final = Method(
    name="kto",
    form=MARKED,
    row_formats=("marked",),
    columns=("assistant", "label"),
    sample=(
        {"input": {"messages": [_ASKED]}, "output": [_ANSWERED], "label": True},
        {
            "input": {"messages": [_ASKED]},
            "output": [{"role": "assistant", "content": "몰라요."}],
            "label": False,
        },
    ),
)
REINFORCEMENT: Final = Method(
    name="reinforcement",
    form=MESSAGES,
    row_formats=("graded",),
    columns=None,
    learns_answers=False,
    sample=({"messages": [_ASKED], "hour": "9"},),
)
CONTINUED_PRETRAINING: Final = Method(
    name="continued-pretraining",
    form=TEXT,
    row_formats=("text",),
    columns=("text",),
    min_examples=1,
    sample=({"text": "카페는 매일 아홉 시에 엽니다."}, {"text": "Nine to six."}),
)
PROMPT: Final = replace(
    SUPERVISED, name="prompt", min_examples=0, trains=False, read_as=SUPERVISED.name
)
"""No training: the base model, with a system prompt and examples before each question."""

if TYPE_CHECKING:
    MethodName: TypeAlias = str
METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (SUPERVISED, DPO, KTO, REINFORCEMENT, CONTINUED_PRETRAINING, PROMPT)
}
"""All methods, by their name in a spec."""

if not TYPE_CHECKING:
    MethodName = Literal[tuple(METHODS)]
    """Name of a method, as a spec may have it."""
