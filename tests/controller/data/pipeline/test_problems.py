"""What a person reads when data is wrong: every problem there is, as one golden text."""

import json
from pathlib import Path

import pytest

from controller.errors import InvalidInput

GOLDEN = Path(__file__).parents[3] / "golden" / "data" / "problems.txt"
COLUMNS = {"user": "question", "assistant": "answer"}

FILES = {
    "few.csv": "question,answer\n" + "".join(f"q{n},a{n}\n" for n in range(8)) + "q1,a1\n",
    "width.csv": "question,answer\nq\nq,a,b\n",
    "twice.csv": "question,answer,question\nq,a,b\n",
    "quote.csv": 'question,answer\nq,"a\n',
    "empty-cells.csv": "question,answer\nq,\n,a\n",
    "header.csv": "question,answer\n",
    "names.csv": "Question,reply,label\nq,a,0\n",
    "empty.jsonl": "",
    "nul.jsonl": '{"a":\n"\0"}',
    "latin.csv": b"question,answer\ncaf\xe9,x\n",
    "bad.jsonl": '{"messages": [}\n[1]\n{"question": "q"}\n{"messages": [], "tools": 3}\n',
    "array.jsonl": '[{"prompt": "q", "completion": "a"}]\n',
    "cut.json": '[\n{"prompt": "q", "completion": "a"},\n{"prompt": "q"',
    "inf.jsonl": '{"messages": [], "tools": [{"type": "f", "x": 1e999}]}\n'
    '{"prompt": "q", "completion": [{"role": "assistant", "content": "a", "weight": 2}]}\n'
    '{"prompt": [{"role": "user", "content": "q", "x": 1e999}], "completion": "a"}\n',
    "many.jsonl": '{"text": "a"}\n' * 500 + '{"prompt": "q", "completion": ""}\n',
    "turns.jsonl": '{"messages": [{"role": "user", "content": "q"}]}\n'
    '{"messages": [{"role": "human", "content": "q"}]}\n',
}

SOURCES = [
    [{"path": "few.csv", "columns": COLUMNS}],
    [{"path": "width.csv", "columns": COLUMNS}, {"path": "twice.csv", "columns": COLUMNS}],
    [{"path": "quote.csv", "columns": COLUMNS}, {"path": "empty-cells.csv", "columns": COLUMNS}],
    [{"path": "header.csv", "columns": COLUMNS}, {"path": "latin.csv", "columns": COLUMNS}],
    [{"path": "names.csv", "columns": COLUMNS}, {"path": "names.csv"}],
    [{"path": "names.csv", "shape": "alpaca"}, {"path": "turns.jsonl", "shape": "prompt-completion"}],
    [{"path": "empty.jsonl"}, {"path": "nul.jsonl"}, {"path": "latin.csv"}],
    [{"path": "bad.jsonl"}, {"path": "array.jsonl"}, {"path": "cut.json"}, {"path": "inf.jsonl"}],
    [{"path": "many.jsonl"}, {"path": "turns.jsonl"}],
    [{"path": "fwe.csv"}, {"path": "few"}, {"path": "few.xlsx"}, {"path": "no/few.csv"}],
    [{"path": "../../few.csv"}, {"path": "/few.csv"}, {"path": "folder.csv"}],
]  # fmt: skip


def test_the_problems_are_the_golden_ones(repository, pytestconfig: pytest.Config):
    for name, content in FILES.items():
        repository.write(name, content)
    (repository.folder / "folder.csv").mkdir()
    texts = []
    for train in SOURCES:
        with pytest.raises(InvalidInput) as caught:
            repository.build(*train)
        texts.append(f"# {json.dumps(train)}\n{caught.value}\n")
    text = "\n".join(texts)
    if pytestconfig.getoption("update_golden", default=False):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_a_held_out_set_without_examples_is_a_problem(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    (problem,) = repository.problems("a.jsonl", held_out={"fraction": 0.0001})
    assert str(problem) == (
        "finetunes/cafe.yaml: data.held_out: has no example (40 to train on, 0 dropped)\n"
        "    Raise the fraction: held_out: {fraction: 0.2}, or add rows."
    )
    (problem,) = repository.problems("a.jsonl", held_out=[{"path": "a.jsonl"}])
    assert str(problem) == (
        "finetunes/cafe.yaml: data.train: has 0 examples (40 held out, 40 dropped by deduplicate);"
        " at least 10 are needed\n    Add rows, or another source."
    )


def test_at_most_twenty_problems_of_a_source_are_shown(repository):
    rows = "".join(json.dumps({f"key {number}": ""}) + "\n" for number in range(100))
    repository.write("a.jsonl", rows)
    problems = repository.problems("a.jsonl")
    assert [problem.line for problem in problems] == list(range(1, 22))
    assert problems[-1].message == "and 80 more of these problems"


def test_names_from_data_are_shown_short_and_without_control_characters(repository):
    row = {"\x1b[31mred\n": "x", "k" * 500: "y"}
    repository.write(
        "a.jsonl", json.dumps(row) + '\n{"messages": [{"role": "\\u001b", "content": ""}]}'
    )
    unknown, role = repository.problems("a.jsonl")
    assert unknown.message.startswith(
        r"question and answer are not recognised; the columns are: '\x1b[31mred\n', 'kkkk"
    )
    assert len(unknown.message) < 150
    assert role.message == r"'\x1b' is not a role"
