"""What a judge is asked, and what is read from its words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.completions import Completion, text_of
from controller.evaluate.metrics.judge import JudgeSettings, prompts, read
from controller.evaluate.scoring import answered

RUBRIC = JudgeSettings(model="m", rubric="정중하게 답한다.")
PAIRS = JudgeSettings(model="m", rubric="정중하게 답한다.", against="base")
QUESTION = [{"role": "system", "content": "카페"}, {"role": "user", "content": "몇 시에 여나요?"}]


def said(text: str, reason: str = "stop") -> Completion:
    return Completion(text=text, finish_reason=reason)


def example(text: str, calls=()):
    completion = Completion(text=text, finish_reason="stop", tool_calls=calls)
    return answered({"role": "assistant", "content": "9시입니다."}, completion, question=QUESTION)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 4", 4),
        ("Good.\n\nScore: 4", 4),
        ("**Score: 4**", 4),
        ("Score: **4**", 4),
        ("score = 3.5", 3.5),
        ("Score: 4/5", 4),
        ("Score: 4 / 10", None),
        ("Score: 5.", 5),
        ("Score: 2\nNo, better:\nScore: 3", 3),
        ("4", 4),
        ("Score: 0", None),
        ("Score: 6", None),
        ("Score: -1", None),
        ("Score: four", None),
        ("The score: 4 of them were good", None),
        ("I would say 4", None),
        ("", None),
        ("<think>Score: 1</think>Score: 5", 5),
        ("죄송합니다.", None),
    ],
)
def test_a_score_is_read_where_it_was_asked_for(text, score):
    opinion = read(RUBRIC, [said(text)])
    assert opinion.tally == (None if score is None else (score, 1))


@pytest.mark.parametrize(
    ("first", "second", "tally", "depends"),
    [
        ("Better: A", "Better: B", (1, 1), False),
        ("Better: B", "Better: A", (0, 1), False),
        ("Better: tie", "Better: TIE", (0.5, 1), False),
        ("Better: A", "Better: A", (0.5, 1), True),
        ("Better: B", "Better: B", (0.5, 1), True),
        ("Better: A", "Better: tie", (0.5, 1), True),
        ("**Better: A**", "b", (1, 1), False),
        ("Better: A", "both are fine", None, False),
        ("Better: C", "Better: A", None, False),
    ],
)
def test_a_preference_counts_if_the_order_does_not_change_it(first, second, tally, depends):
    opinion = read(PAIRS, [said(first), said(second)])
    assert (opinion.tally, opinion.depends_on_order) == (tally, depends)


def test_two_prompts_show_the_same_answers_in_both_orders():
    one, other = prompts(PAIRS, example("9시요."), example("아홉 시에 엽니다."))
    first, second = (text_of(prompt.messages[-1]) for prompt in (one, other))
    assert first.index("9시요.") < first.index("아홉 시에 엽니다.")
    assert second.index("9시요.") > second.index("아홉 시에 엽니다.")
    assert sorted(re.sub(r"answer [AB]", "answer", first).split("\n")) == sorted(
        re.sub(r"answer [AB]", "answer", second).split("\n")
    )


def test_equal_answers_are_a_tie_without_a_question():
    assert prompts(PAIRS, example("네 "), example("네")) == []
    assert read(PAIRS, []).tally == (0.5, 1)
    call = {"function": {"name": "book", "arguments": "{}"}}
    assert len(prompts(PAIRS, example("네", [call]), example("네"))) == 2


@given(st.text(max_size=200))
def test_no_answer_ends_its_own_part(text):
    (prompt,) = prompts(RUBRIC, example(text), None)
    shown = text_of(prompt.messages[-1])
    part = re.search(r"\[\[the answer ([0-9a-f]{12})\]\]\n(.*?)\n\[\[end \1\]\]", shown, re.DOTALL)
    assert part[2] == (text.strip() or "(empty)") or "<think>" in text
    assert shown.rindex("[[the rubric") > part.end()


@given(st.text(max_size=3000))
def test_any_words_are_read_without_an_error(text):
    assert read(RUBRIC, [said(text)]).depends_on_order is False
    assert read(PAIRS, [said(text), said(text)]).tally in {None, (0.5, 1.0)}


def test_words_as_long_as_a_book_take_no_time():
    assert read(RUBRIC, [said("\n *" * 500_000 + "Score: 3")]).tally == (3, 1)


def test_parts_that_are_not_text_are_named():
    content = [
        {"type": "text", "text": "이것은?"},
        {"type": "image_url", "image_url": {"url": "x"}},
    ]
    shown = answered(None, said("컵"), question=[{"role": "user", "content": content}])
    (prompt,) = prompts(RUBRIC, shown, None)
    assert "user: 이것은? (image_url)" in text_of(prompt.messages[-1])
    assert "people expect" not in text_of(prompt.messages[-1])
