"""A training file from elsewhere: the same bytes as in a dataset, and every problem by its line."""

import hashlib
import json

import pytest

from backends.contract.inspector import Limits
from backends.testing.words import WordInspector
from controller.data.training_file import check_training_file


def check(folder, content, inspector=None, method="supervised"):
    source = folder / "upload.bin"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return check_training_file(
        source, folder / "train.jsonl", name="file-1", inspector=inspector, method=method
    )


def test_the_canonical_bytes_are_those_of_a_dataset(tmp_path, repository, chat_lines):
    checked = check(tmp_path, chat_lines)
    repository.write("a.jsonl", chat_lines)
    dataset = repository.build("a.jsonl")
    lines = (tmp_path / "train.jsonl").read_bytes()
    assert checked.problems == ()
    assert checked.examples == 40
    assert checked.sha256 == hashlib.sha256(lines).hexdigest()
    built = dataset.train.path.read_bytes() + dataset.held_out.path.read_bytes()
    assert sorted(lines.splitlines()) == sorted(built.splitlines())


def test_every_example_is_kept_with_its_line(tmp_path, chat_lines):
    twice = "\n" + chat_lines + "\n" + chat_lines
    checked = check(tmp_path, twice)
    assert checked.examples == 80
    origins = (tmp_path / "train.origins").read_text().splitlines()
    assert origins[0] == "file-1:2"
    assert origins[40] == "file-1:43"


def test_problems_have_the_line_and_go_on_after_it(tmp_path, chat_lines):
    content = "nonsense\n" + chat_lines + '{"messages": []}\n{"prompt": "a", "completion": "b"}\n'
    checked = check(tmp_path, content)
    assert checked.examples == 40
    assert [problem.line for problem in checked.problems] == [1, 42, 43]
    assert checked.problems[0].file == "file-1"
    assert "not valid JSON" in checked.problems[0].message
    assert "there is no 'messages'" in checked.problems[2].message


def test_the_model_refuses_at_once_what_its_training_would(tmp_path, chat_lines):
    checked = check(tmp_path, chat_lines, inspector=WordInspector(refused="3,"))
    assert [one.line for one in checked.problems[:2]] == [4, 14]
    assert checked.problems[0].message == "the trainer refuses '3,'"
    limited = check(tmp_path, chat_lines, inspector=WordInspector(limits=Limits(max_tokens=3)))
    assert "the base model reads at most 3" in limited.problems[0].message


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"\xff\xfe\xfa", 1, "invalid UTF-16"),
        (b'{"messages": []}\na\0b\n', 2, "a NUL byte"),
        (b"", None, "the file is empty"),
        (b'{"messages": []}\n\xff\xfe\n', 2, "neither UTF-8"),
    ],
)
def test_a_file_that_is_not_text_says_where(tmp_path, content, line, said):
    checked = check(tmp_path, content)
    assert checked.examples == 0
    (problem,) = checked.problems
    assert (problem.line, said in problem.message) == (line, True)


def test_preference_pairs_are_for_their_method(tmp_path):
    pair = {
        "input": {"messages": [{"role": "user", "content": "q"}]},
        "preferred_output": [{"role": "assistant", "content": "a"}],
        "non_preferred_output": [{"role": "assistant", "content": "b"}],
    }
    content = json.dumps(pair) + "\n"
    assert check(tmp_path, content, method="dpo").problems == ()
    assert check(tmp_path, content).problems[0].line == 1
