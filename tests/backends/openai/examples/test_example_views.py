"""Examples as people see them, with what is learnt from and what it costs in tokens."""

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.openai.examples.inspector import OpenAIInspector
from tests.backends.openai.examples.example_parts import (
    ANSWER,
    CALL,
    PAIR,
    TOOL,
    USER,
    asking,
    calling,
    image,
)

TEXTS = st.text(min_size=1, max_size=60)


@settings(deadline=None)
@given(system=TEXTS, question=TEXTS, answer=TEXTS)
def test_every_text_is_shown_whole_and_only_answers_are_learnt(system, question, answer):
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    inspector = pickle.loads(pickle.dumps(OpenAIInspector(model="gpt-4.1", method="supervised")))
    pieces = inspector.show({"messages": messages})
    text = "".join(piece.text for piece in pieces)
    expected = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    assert text == expected
    learnt = "".join(piece.text for piece in pieces if piece.trained)
    assert learnt == f"{answer}<|im_end|>\n"


def shown(example, method, *, trained):
    pieces = OpenAIInspector(model="gpt-4.1", method=method).show(example)
    return "".join(piece.text for piece in pieces if piece.trained is trained)


def test_tools_calls_and_weights_are_shown():
    unlearnt = {**ANSWER, "weight": 0}
    example = {"messages": [USER, unlearnt, asking(image()), calling(CALL)], "tools": [TOOL]}
    learnt = shown(example, "supervised", trained=True)
    assert json.dumps(CALL, ensure_ascii=False, separators=(",", ":")) in learnt
    assert "아홉" not in learnt
    read = shown(example, "supervised", trained=False)
    assert '"opening hours"' in read
    assert "뭐?\n[image_url]" in read


def test_functions_and_parallel_calls_are_shown_and_counted():
    offered = {"functions": [TOOL["function"]], "parallel_tool_calls": False}
    example = {"messages": [USER, ANSWER], **offered}
    read = shown(example, "supervised", trained=False)
    assert "parallel_tool_calls\nfalse" in read
    assert '"opening hours"' in read
    inspector = OpenAIInspector(model="gpt-4.1", method="supervised")
    with_functions, with_tools, bare = inspector.count(
        [example, {"messages": [USER, ANSWER], "tools": [TOOL]}, {"messages": [USER, ANSWER]}]
    )
    assert bare < with_functions <= with_tools


def test_both_answers_of_a_pair_are_learnt_from_and_a_graded_prompt_is_only_read():
    learnt = shown(PAIR, "dpo", trained=True)
    assert "아홉 시에 엽니다." in learnt
    assert "몰라요." in learnt
    assert "assistant (preferred)" in shown(PAIR, "dpo", trained=False)
    assert shown({"messages": [USER], "hour": 9}, "reinforcement", trained=True) == ""


@pytest.mark.parametrize(
    ("example", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, 3 + 3 + 1 + 1),
        ({"messages": [{"role": "user", "content": "hi", "name": "bob"}]}, 3 + 3 + 1 + 1 + 1 + 1),
        ({"messages": [asking(image(detail="low"))]}, 3 + 3 + 1 + 3 + 85),
        ({"messages": [asking(image())]}, 3 + 3 + 1 + 3 + 765),
        ({"messages": [{"role": "assistant", "content": None, "weight": 0}]}, 3 + 3 + 1),
    ],
)
def test_frames_names_and_images_are_counted(example, tokens):
    (counted,) = OpenAIInspector(model="gpt-4.1", method="supervised").count([example])
    assert counted == tokens


def test_a_pair_counts_its_conversation_and_both_answers():
    inspector = OpenAIInspector(model="gpt-4.1", method="dpo")
    both, one = inspector.count([PAIR, {"messages": [USER, ANSWER]}])
    (other,) = inspector.count([{"messages": PAIR["non_preferred_output"]}])
    assert both == one + other - 3
