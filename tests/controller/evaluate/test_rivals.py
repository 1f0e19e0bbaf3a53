"""Prompts of rivals: the examples that they see, and their own system prompt."""

import json
import random
from pathlib import Path

import pytest

from backends.contract.completions import Prompt
from backends.contract.errors import BackendError
from controller.evaluate.rivals import few_shot_turns, with_prompt

SYSTEM = {"role": "system", "content": "짧게 답하세요."}
CALL = {"id": "c", "type": "function", "function": {"name": "예약", "arguments": "{}"}}


def pair(number: int) -> list[dict]:
    return [
        {"role": "user", "content": f"질문 {number}"},
        {"role": "assistant", "content": f"답 {number}"},
    ]


def write(path: Path, *examples) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in examples))
    return path


def test_the_choice_does_not_depend_on_the_order_of_examples(tmp_path):
    examples = [{"messages": [SYSTEM, *pair(number)]} for number in range(30)]
    chosen = few_shot_turns(write(tmp_path / "a.jsonl", *examples), 4, "sha256:a")
    random.Random(3).shuffle(examples)
    assert few_shot_turns(write(tmp_path / "b.jsonl", *examples), 4, "sha256:a") == chosen
    assert few_shot_turns(write(tmp_path / "b.jsonl", *examples), 4, "sha256:b") != chosen
    assert all(
        [question["content"][:2], answer["content"][:1]] == ["질문", "답"]
        for question, answer in chosen
    )


def test_only_single_questions_with_answers_in_words_are_shown(tmp_path):
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    train = write(
        tmp_path / "train.jsonl",
        {"messages": [*pair(1), *pair(2)]},
        {"messages": [pair(3)[0], called]},
        {"messages": pair(4)},
        {
            "input": {"messages": pair(5)[:1]},
            "preferred_output": pair(5)[1:],
            "non_preferred_output": pair(6)[1:],
        },
        {"text": "글"},
    )
    assert sorted(map(list, few_shot_turns(train, 2, "x")), key=str) == [pair(4), pair(5)]
    with pytest.raises(BackendError, match="few_shot asks for 3 training examples") as caught:
        few_shot_turns(train, 3, "x")
    assert "Lower `few_shot`" in caught.value.remedy


@pytest.mark.parametrize(
    ("messages", "system", "expected"),
    [
        ([pair(1)[0]], None, [*pair(9), pair(1)[0]]),
        ([SYSTEM, pair(1)[0]], None, [SYSTEM, *pair(9), pair(1)[0]]),
        ([SYSTEM, pair(1)[0]], "새 지시", [{"role": "system", "content": "새 지시"}, *pair(9), pair(1)[0]]),
        ([{"role": "developer", "content": "x"}, pair(1)[0]], "y", [{"role": "system", "content": "y"}, *pair(9), pair(1)[0]]),
        ([pair(1)[0]], "y", [{"role": "system", "content": "y"}, *pair(9), pair(1)[0]]),
        ([], None, pair(9)),
    ],
)  # fmt: skip
def test_a_prompt_begins_with_the_system_prompt_and_the_examples(messages, system, expected):
    reference = {"role": "assistant", "content": "답"}
    prompt = Prompt(messages=messages, reference=reference, tools=[{"type": "function"}])
    asked = with_prompt(prompt, system, [tuple(pair(9))])
    assert list(asked.messages) == expected
    assert (asked.reference, asked.tools) == (prompt.reference, prompt.tools)
