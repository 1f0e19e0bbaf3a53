"""JSONL whose lines the workers read: order, odd lines among plain ones, encodings found late."""

import json

import pytest

from backends.contract.inspector import Limits
from backends.testing.words import WordInspector


def chat(number: int, answer: str = "네") -> dict:
    asked = {"role": "user", "content": f"질문 {number}"}
    return {"messages": [asked, {"role": "assistant", "content": answer}]}


def shared(number: int) -> dict:
    said = [{"from": "human", "value": f"질문 {number}"}, {"from": "gpt", "value": "네"}]
    return {"conversations": said}


def tools(number: int) -> dict:
    function = {"name": "open", "parameters": {"type": "object", "properties": {}}}
    return {**chat(number), "tools": [{"type": "function", "function": function}]}


def lines(*rows: dict | str) -> str:
    return "".join(
        f"{row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)}\n" for row in rows
    )


KINDS = [chat, shared, tools]


def origins(dataset) -> list[str]:
    halves = (dataset.train, dataset.held_out)
    return [
        line
        for half in halves
        for line in half.path.with_suffix(".origins").read_text().splitlines()
    ]


def test_odd_lines_among_plain_ones_keep_their_place(repository):
    rows = [KINDS[n % 3](n) for n in range(60)]
    written = [row for n, row in enumerate(rows) for row in (["", row] if n % 7 == 0 else [row])]
    repository.write("a.jsonl", lines(*written))
    dataset = repository.build("a.jsonl")
    for half in (dataset.train, dataset.held_out):
        asked = [
            json.loads(line)["messages"][0]["content"]
            for line in half.path.read_text().splitlines()
        ]
        numbers = [int(text.split()[1]) for text in asked]
        assert numbers == sorted(numbers)
        places = half.path.with_suffix(".origins").read_text().splitlines()
        expected = [n + n // 7 + 2 for n in numbers]
        assert places == [f"finetunes/a.jsonl:{line}" for line in expected]
    assert dataset.train.examples + dataset.held_out.examples == 60
    assert dataset.report.features == ("tools",)


def test_the_same_conversations_in_either_shape_are_the_same_dataset(repository):
    for name, shape in (("a.jsonl", chat), ("b.jsonl", shared)):
        repository.write(name, lines(*(shape(n) for n in range(40))))
    one, other = repository.build("a.jsonl"), repository.build("b.jsonl")
    assert (one.train.digest, one.held_out.digest) == (other.train.digest, other.held_out.digest)


@pytest.mark.parametrize(
    ("inspector", "message"),
    [
        (WordInspector(refused="열쇠"), "the trainer refuses '열쇠'"),
        (WordInspector(limits=Limits(max_tokens=100)), "the base model reads at most 100"),
    ],
)
def test_what_the_trainer_refuses_is_found_among_plain_lines(repository, inspector, message):
    rows = [chat(n) for n in range(40)]
    rows[23] = chat(23, "열쇠 " * 120)
    repository.write("a.jsonl", lines(*rows))
    (problem,) = repository.problems("a.jsonl", inspector=inspector)
    assert problem.line == 24
    assert message in problem.message


LARGE = 20_000
"""Rows of more than the megabyte that is decoded before."""


@pytest.fixture(scope="module")
def large() -> str:
    return lines(*(chat(n, "a plain answer, long enough") for n in range(LARGE)))


def test_an_encoding_that_shows_late_is_found(repository, large):
    text = large.replace("질문", "no.") + lines(*(chat(LARGE + n) for n in range(100)))
    repository.write("a.jsonl", text)
    repository.write("b.jsonl", text.encode("cp949"))
    one, other = repository.build("a.jsonl"), repository.build("b.jsonl")
    assert (one.train.digest, one.held_out.digest) == (other.train.digest, other.held_out.digest)
    assert [source.encoding for source in other.report.sources] == ["CP949"]


def test_a_byte_that_is_no_text_is_found_late(repository, large):
    broken = large.encode() + b'{"messages": "\xff"}\n'
    repository.write("a.jsonl", broken)
    (problem,) = repository.problems("a.jsonl")
    assert problem.line == LARGE + 1
    assert "0xff is neither UTF-8 nor CP949" in problem.message
    repository.write("a.jsonl", large.encode() + b"\0\n")
    (problem,) = repository.problems("a.jsonl")
    assert (problem.line, problem.message) == (LARGE + 1, "a NUL byte")


def test_a_row_that_is_wrong_is_said_as_in_a_small_file(repository, large):
    repository.write("a.jsonl", large + lines({"messages": []}))
    (problem,) = repository.problems("a.jsonl")
    assert problem.line == LARGE + 1
