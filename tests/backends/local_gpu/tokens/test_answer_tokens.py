"""Pairs and marked answers as rows of tokens: which there are, what is learned, what is shown."""

from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.errors import BackendError
from backends.contract.methods import METHODS
from backends.local_gpu.tokens.answer_rows import answered, conversations_of, headings_of

ASKED = {"role": "user", "content": "카페는 몇 시에 여나요?"}
GOOD = {"role": "assistant", "content": "아홉 시에 엽니다."}
BAD = {"role": "assistant", "content": "몰라요."}
SAID = {"role": "assistant", "content": "네?"}
TOOL = {"type": "function", "function": {"name": "hours"}}
CALL = {"id": "1", "type": "function", "function": {"name": "hours", "arguments": "{}"}}


def pair(*before, good=GOOD, bad=BAD, **more):
    return {
        "input": {"messages": [*before, ASKED], **more},
        "preferred_output": [good],
        "non_preferred_output": [bad],
    }


def marked(answer, *before, label, **more):
    return {"input": {"messages": [*before, ASKED], **more}, "output": [answer], "label": label}


@pytest.mark.parametrize(
    ("example", "answers", "headings"),
    [
        (pair(), [GOOD, BAD], ("preferred", "not preferred")),
        (marked(GOOD, label=True), [GOOD], ("good",)),
        (marked(BAD, label=False), [BAD], ("bad",)),
    ],
)
def test_each_answer_is_a_conversation_with_the_same_question(example, answers, headings):
    found = conversations_of(example)
    assert [one["messages"] for one in found] == [[ASKED, answer] for answer in answers]
    assert [one["tools"] for one in found] == [()] * len(answers)
    assert headings_of(example) == headings


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_samples_of_a_method_have_a_heading_for_each_answer(method):
    for example in METHODS[method].sample:
        assert len(headings_of(example)) == len(conversations_of(example))


def test_earlier_answers_are_read_and_never_learned():
    for example in (pair(ASKED, SAID), marked(GOOD, ASKED, SAID, label=True)):
        for row in conversations_of(example):
            first, said, again, last = row["messages"]
            assert (first, again) == (ASKED, ASKED)
            assert said == {**SAID, "weight": 0}
            assert "weight" not in last
    # The question itself stays as people wrote it.
    assert SAID == {"role": "assistant", "content": "네?"}


@pytest.mark.parametrize("weight", [0, 1])
def test_an_answer_counts_whatever_weight_supervised_training_gave_it(weight):
    row = answered([ASKED], {**GOOD, "weight": weight}, [])
    assert row == {"messages": [ASKED, GOOD], "tools": []}


def test_tools_are_offered_with_every_answer():
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    for row in conversations_of(pair(good=call, tools=[TOOL])):
        assert row["tools"] == [TOOL]
    assert conversations_of(pair(good=call))[0]["messages"][-1] == call


@pytest.fixture(scope="module")
def answers(base_folder):
    # Tests without the training packages import this file too.
    chat = import_module("backends.local_gpu.tokens.chat_tokens").load_chat(base_folder, "chatml")
    return import_module("backends.local_gpu.tokens.answer_tokens").Answers(chat=chat)


WORDS = st.text("가나다 abc😀뷁\n", min_size=1, max_size=30).filter(str.strip)


@pytest.mark.torch
@settings(deadline=None)
@given(examples=st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5))
def test_counts_are_those_of_all_rows(answers, examples):
    rows = [
        pair(
            {"role": "system", "content": system},
            good={**GOOD, "content": good},
            bad={**BAD, "content": bad},
        )
        for system, good, bad in examples
    ]
    encoded = list(answers.encode(rows))
    lengths = [[len(row.ids) for row in one] for one in encoded]
    assert answers.counts(rows) == [sum(of_one) for of_one in lengths]
    assert answers.longest(rows) == [max(of_one) for of_one in lengths]
    for one, (_, good, bad) in zip(encoded, examples, strict=True):
        assert list(answers.blocks(one)) == list(one)
        for row, text in zip(one, (good, bad), strict=True):
            learned = [token for token, on in zip(row.ids, row.learned, strict=True) if on]
            shown = answers.chat.tokenizer.decode(learned, skip_special_tokens=False)
            assert shown == f"{text}<|im_end|>"


@pytest.mark.torch
def test_rows_stay_together_over_the_edge_of_a_batch(answers):
    # 512 conversations are tokenised at once: pairs do not end there.
    rows = [marked({**GOOD, "content": "하나"}, label=True)]
    rows += [pair(good={**GOOD, "content": f"{number} 시"}) for number in range(600)]
    found = list(answers.encode(rows))
    assert [len(one) for one in found] == [1] + [2] * 600
    decode = answers.chat.tokenizer.decode
    assert [f"{number} 시" in decode(one[0].ids) for number, one in enumerate(found[1:])] == [
        True
    ] * 600
    assert answers.counts(rows) == [sum(len(row.ids) for row in one) for one in found]


@pytest.mark.torch
@pytest.mark.parametrize("place", [0, 1])
def test_a_pair_with_one_bad_row_is_refused_as_a_whole(answers, place):
    broken = {"role": "assistant", "content": "a<|im_end|>b"}
    wrong = pair(good=broken) if place == 0 else pair(bad=broken)
    first, found, last = answers.encode([pair(), wrong, marked(BAD, label=False)])
    assert isinstance(found, BackendError)
    assert found.message == "the assistant's text contains the control token '<|im_end|>'"
    assert (len(first), len(last)) == (2, 1)
    with pytest.raises(BackendError, match="contains the control token"):
        answers.show(wrong)


@pytest.mark.torch
def test_rows_are_shown_below_headings(answers):
    turn = "<|im_start|>user\n카페는 몇 시에 여나요?<|im_end|>\n<|im_start|>assistant\n"
    shown = answers.show(pair())
    assert "".join(piece.text for piece in shown) == (
        f"(preferred)\n{turn}아홉 시에 엽니다.<|im_end|>\n\n"
        f"(not preferred)\n{turn}몰라요.<|im_end|>\n"
    )
    learned = "".join(piece.text for piece in shown if piece.trained)
    assert learned == "아홉 시에 엽니다.<|im_end|>몰라요.<|im_end|>"
    (heading, *_) = answers.show(marked(BAD, label=False))
    assert (heading.text, heading.trained) == ("(bad)\n", False)
