"""Cutting what is too long: what is left ends with an answer, and fits."""

from hypothesis import given
from hypothesis import strategies as st

from controller.data.examples.example import Example
from controller.data.transforms.truncate import truncate


def count(example: Example) -> int:
    if example.text is not None:
        return len(example.text)
    return sum(len(message["content"]) for message in example.messages)


def talk(*contents: str) -> Example:
    roles = ["user", "assistant"] * len(contents)
    pairs = zip(roles, contents, strict=False)
    return Example([{"role": role, "content": content} for role, content in pairs])


def test_whole_turns_go_first():
    example = talk("질문", "답", "둘째 질문", "둘째 답", "셋째 질문", "셋째 답")
    cut = truncate(example, 12, count)
    assert cut.example == talk("질문", "답", "둘째 질문", "둘째 답")
    assert (cut.tokens, cut.reason) == (12, "2 turns left off")


def test_the_only_answer_is_cut():
    cut = truncate(talk("질문", "아주 긴 대답입니다"), 6, count)
    assert cut.example == talk("질문", "아주 긴")
    assert cut.reason == "the answer cut from 10 to 4 characters"


def test_a_text_is_cut():
    cut = truncate(Example([], text="가나다라마바사"), 3, count)
    assert cut.example.text == "가나다"


def test_a_question_that_is_too_long_alone_leaves_nothing():
    assert truncate(talk("너무 긴 질문", "답"), 5, count) is None


def test_a_pair_is_never_cut():
    pair = talk("q", "long answer")._replace(rejected={"role": "assistant", "content": "no"})
    assert truncate(pair, 3, count) is None


def test_an_answer_that_is_not_learnt_is_no_end():
    example = talk("a", "b", "c", "dddddd")
    example.messages[1]["weight"] = 0
    assert truncate(example, 5, count).example.messages[-1]["content"] == "dd"


@given(
    st.lists(st.text("가a ", min_size=1, max_size=9), min_size=2, max_size=8), st.integers(1, 40)
)
def test_what_is_left_fits_and_is_a_beginning(contents, most):
    example = talk(*contents[: len(contents) // 2 * 2])
    cut = truncate(example, most, count) if count(example) > most else None
    if cut is not None:
        assert cut.tokens == count(cut.example) <= most
        assert cut.example.messages[-1]["role"] == "assistant"
        *before, last = cut.example.messages
        assert before == example.messages[: len(before)]
        assert example.messages[len(before)]["content"].startswith(last["content"].rstrip())
