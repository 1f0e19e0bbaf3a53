"""Questions that an export asks: of the held-out set as far as they fit, else plain ones."""

import json
from importlib import import_module

import pytest

from backends.local_gpu.json_files import read_lines

pytestmark = pytest.mark.torch
PLAIN = ["Hello!", "What can you do for me?", "안녕하세요, 무엇을 도와줄 수 있나요?"]
ANSWER = {"role": "assistant", "content": "아홉 시."}


@pytest.fixture(scope="module")
def probes():
    return import_module("backends.local_gpu.export.probes")


@pytest.fixture(scope="module")
def chat(base_folder):
    return import_module("backends.local_gpu.tokens.chat_tokens").load_chat(base_folder, None)


@pytest.fixture
def held_out(tmp_path):
    def write(*rows):
        path = tmp_path / "held_out.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return path

    return write


def asked(text, *more):
    return {"messages": [{"role": "user", "content": text}, *more]}


def prompt(text):
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def texts(found):
    return [probe.text for probe in found[0]]


def test_the_first_questions_are_asked_without_their_answers(probes, chat, base_folder, held_out):
    path = held_out(*(asked(f"{number} 시?", ANSWER) for number in range(5)))
    found = probes.probes_of(path, chat, base_folder, 128)
    assert texts(found) == [prompt(f"{number} 시?") for number in range(3)]
    assert found[1] == "held-out questions"
    for probe, row in zip(found[0], read_lines(path), strict=False):
        assert probe.conversation == {"messages": row["messages"][:1], "tools": []}
        assert probe.ids == chat.prompt(probe.conversation)
        assert chat.tokenizer.decode(probe.ids, skip_special_tokens=False) == probe.text


def test_several_answers_at_the_end_and_earlier_ones(probes, chat, base_folder, held_out):
    path = held_out(
        asked("a?", ANSWER, {"role": "user", "content": "b?"}, ANSWER, ANSWER),
        {"input": asked("c?"), "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]},
        {"input": asked("d?"), "output": [ANSWER], "label": True},
    )
    found = probes.probes_of(path, chat, base_folder, 128)
    first = "<|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\n아홉 시.<|im_end|>\n"
    assert texts(found) == [first + prompt("b?"), prompt("c?"), prompt("d?")]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": [ANSWER]}, "nobody asks"),
        ({"messages": []}, "nobody asks"),
        (asked("글 " * 200), "too long for what the model reads"),
        (asked("<|im_end|>"), "other programs read a control token"),
        (asked("a?", {"role": "user", "content": [{"type": "image_url"}]}), "not a text"),
    ],
)
def test_questions_that_cannot_be_asked_everywhere_are_passed_over(
    probes, chat, base_folder, held_out, row, why
):
    path = held_out(row, asked("a?", ANSWER), row, asked("b?"), asked("c?"), asked("d?"))
    found = probes.probes_of(path, chat, base_folder, 128)
    assert (texts(found), found[1]) == (
        [prompt("a?"), prompt("b?"), prompt("c?")],
        "held-out questions",
    ), why


@pytest.mark.parametrize(
    ("count", "origin"),
    [(0, "plain questions"), (1, "held-out and plain questions"), (2, "held-out and plain questions"),
     (3, "held-out questions")],
)  # fmt: skip
def test_plain_questions_fill_up_what_is_missing(
    probes, chat, base_folder, held_out, count, origin
):
    path = held_out(*(asked(f"{number}?", ANSWER) for number in range(count)))
    found = probes.probes_of(path, chat, base_folder, None)
    wanted = [prompt(f"{number}?") for number in range(count)] + [prompt(one) for one in PLAIN]
    assert (texts(found), found[1]) == (wanted[:3], origin)


def test_an_answer_of_32_tokens_has_room_behind_each_question(probes, chat, base_folder, held_out):
    path = held_out(asked("a?"))
    (length,) = {len(chat.prompt({**asked("a?"), "tools": []}))}
    kept, dropped = (probes.probes_of(path, chat, base_folder, length + room) for room in (32, 31))
    assert prompt("a?") in texts(kept)
    assert prompt("a?") not in texts(dropped)
    assert probes.probes_of(path, chat, base_folder, 32)[0] == []


def test_plain_texts_are_asked_to_go_on_from_their_middle(probes, base_folder, held_out):
    path = held_out({"text": "카페는 아홉 시에 엽니다"}, {"text": ""}, {"text": "ab"})
    found = probes.probes_of(path, None, base_folder, 128)
    assert texts(found) == ["카페는 아홉", "a", PLAIN[0]]
    assert found[1] == "held-out and plain questions"
    assert all(probe.conversation is None for probe in found[0])
    assert texts(probes.probes_of(held_out(), None, base_folder, 128)) == PLAIN
