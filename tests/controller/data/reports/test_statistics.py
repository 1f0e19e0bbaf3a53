"""What is counted in a part."""

import sys

import pytest

from backends.installation import install_command
from controller.data.reports.statistics import MAX_ANSWERS, labels, statistics_of


def test_turns_roles_tools_and_characters(parts, tmp_path):
    tool = {"type": "function", "function": {"name": "f"}}
    several = parts.chat("첫째", "하나", system="친절하게", tools=[tool])
    several["messages"] += [
        {"role": "user", "content": "둘째"},
        {"role": "assistant", "content": "둘", "tool_calls": []},
    ]
    found = statistics_of(parts(several, parts.chat("a", "b")), tmp_path)
    assert found.examples == 2
    assert found.turns == {1: 1, 2: 1}
    assert found.roles == {"user": 3, "assistant": 3, "system": 1}
    assert (found.with_system, found.with_tools) == (1, 1)
    assert found.characters == len("첫째하나친절하게둘째둘ab")


def test_parts_of_a_message_are_text_too(parts, tmp_path):
    example = parts.chat("x", "네")
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    example["messages"][0]["content"] = [{"type": "text", "text": "무엇?"}, image]
    assert statistics_of(parts(example), tmp_path).characters == 4


def test_texts_pairs_and_graded_prompts_are_counted_as_what_they_are(parts, tmp_path):
    text = statistics_of(parts({"text": "한국어 문서입니다."}), tmp_path)
    assert (text.roles, text.answers, text.characters) == ({}, None, 10)
    pair = {
        "input": {"messages": [{"role": "user", "content": "q"}], "tools": [{"type": "x"}]},
        "preferred_output": [{"role": "assistant", "content": "좋아요"}],
        "non_preferred_output": [{"role": "assistant", "content": "싫어요"}],
    }
    found = statistics_of(parts(pair), tmp_path)
    assert (found.answers, found.with_tools) == ({"좋아요": 1}, 1)
    graded = {"messages": [{"role": "user", "content": "q"}], "answer": "7"}
    assert statistics_of(parts(graded), tmp_path).answers is None


def test_few_answers_that_repeat_are_labels_on_both_sides(parts, tmp_path):
    train = parts(*(parts.chat(f"q{n}", ["환불", "배송"][n % 3 == 0]) for n in range(30)))
    held_out = parts(*(parts.chat(f"h{n}", "교환" if n else "환불") for n in range(3)))
    found = labels(
        {"train": statistics_of(train, tmp_path), "held_out": statistics_of(held_out, tmp_path)}
    )
    assert found == {
        "환불": {"train": 20, "held_out": 1},
        "배송": {"train": 10, "held_out": 0},
        "교환": {"train": 0, "held_out": 2},
    }
    assert list(found) == ["환불", "배송", "교환"]


@pytest.mark.parametrize(
    "answers",
    [
        [f"answer {n}" for n in range(MAX_ANSWERS + 1)] * 3,
        [f"answer {n}" for n in range(20)],
        ["네", "아니요", "x" * 101] * 5,
    ],
    ids=["many", "never twice", "long"],
)
def test_other_answers_are_no_labels(parts, tmp_path, answers: list[str]):
    part = parts(*(parts.chat(f"q{n}", answer) for n, answer in enumerate(answers)))
    both = statistics_of(part, tmp_path)
    assert labels({"train": both, "held_out": both}) is None


def test_languages_are_told_without_system_prompts(parts, tmp_path):
    pytest.importorskip("py3langid")
    korean = [parts.chat("환불 되나요?", "네, 됩니다.", system="Be kind.")] * 3
    english = parts.chat("Can I have my money back, please?", "Of course you can, any time.")
    assert statistics_of(parts(*korean, english), tmp_path).languages == {"ko": 3, "en": 1}


def test_a_sample_of_many_tells_the_languages(parts, tmp_path):
    pytest.importorskip("py3langid")
    part = parts(*(parts.chat(f"질문 {n}", "답") for n in range(4_500)))
    languages = statistics_of(part, tmp_path).languages
    assert list(languages) == ["ko"]
    assert 1_000 < languages["ko"] <= 2_000


def test_without_the_package_one_line_says_so(parts, tmp_path, monkeypatch):
    part = parts(parts.chat("q", "a"))
    monkeypatch.setitem(sys.modules, "py3langid", None)
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    monkeypatch.delitem(sys.modules, "controller.data.reports.language", raising=False)
    found = statistics_of(part, tmp_path)
    assert found.languages is None
    assert install_command("data") in found.note


def test_what_was_counted_is_kept_and_the_same_on_all_cores(parts, tmp_path, monkeypatch):
    part = parts(*(parts.chat(f"질문 {n}", str(n % 3)) for n in range(300)))
    found = statistics_of(part, tmp_path / "one")
    monkeypatch.setattr("controller.data.pipeline.process_pool.WORTH", 0)
    assert statistics_of(part, tmp_path / "two") == found
    part.path.unlink()
    assert statistics_of(part, tmp_path / "one") == found


def test_questions_with_different_answers_are_counted_and_placed(parts, tmp_path):
    chat = parts.chat
    part = parts(
        chat("영업시간?", "메뉴"),
        chat("주차?", "예약"),
        chat("영업시간?", "예약"),
        chat("영업시간?", "예약", system="다른 가게"),
        chat("주차?", "예약", system="다른 가게"),
        chat("영업시간?", "메뉴", tools=[{"type": "function", "function": {"name": "f"}}]),
    )
    found = statistics_of(part, tmp_path)
    assert (found.contradicted, found.contradicting) == (1, 2)
    assert found.contradictions == ((0, 2),)
    assert statistics_of(part, tmp_path) == found


def test_pairs_and_texts_contradict_nothing(parts, tmp_path):
    asked = [{"role": "user", "content": "q"}]
    pairs = [
        {
            "input": {"messages": asked},
            "preferred_output": [{"role": "assistant", "content": f"{n}"}],
            "non_preferred_output": [{"role": "assistant", "content": "no"}],
        }
        for n in range(3)
    ]
    assert statistics_of(parts(*pairs), tmp_path).contradicted == 0
    assert statistics_of(parts({"text": "a"}, {"text": "b"}), tmp_path).contradicted == 0
