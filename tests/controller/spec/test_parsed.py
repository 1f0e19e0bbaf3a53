"""What is remembered of parsed files, and when it is believed."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.spec.load import read_specs
from controller.spec.parsed import remembering
from controller.spec.yaml import parse_yaml
from controller.state_memo import read_memo, write_memo

SPEC = """\
backend: local-gpu
base_model: ../base
data:
  train: [{path: rows.csv, columns: {user: q, assistant: a}}]
  held_out: {fraction: 0.2}
hyperparameters: {learning_rate: 2e-4}
"""
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


def parse_twice(memo, text):
    """Return what is read of a text at first, and then from the memo."""
    found = []
    for _ in range(2):
        with remembering(memo) as parse:
            found.append(parse(text, "a.yaml"))
    return found


@settings(deadline=None)
@given(VALUES)
def test_a_remembered_value_is_the_very_same(tmp_path_factory, value):
    text = yaml.safe_dump({"a": value}, allow_unicode=True).encode()
    plain = parse_yaml(text, "a.yaml")
    for document, problems in parse_twice(tmp_path_factory.mktemp("memo") / "memo", text):
        assert problems == plain[1]
        assert (document is None) == (plain[0] is None)
        if document is not None:
            assert repr(document.value) == repr(plain[0].value)
            assert document.lines == plain[0].lines


def lie(memo):
    content = json.loads(memo.read_bytes().partition(b"\n")[2])
    for value in content["entries"].values():
        value["description"] = "a lie"
    write_memo(memo, content["version"], content["entries"])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "finetunes"
    folder.mkdir()
    (folder / "a.yaml").write_text(SPEC)
    return folder


def read(folder, *, memory=True):
    memo = folder.parent / "state" / "specs.json"
    specs, problems = read_specs(folder.parent, memo if memory else None)
    return {name: loaded.spec for name, loaded in specs.items()}, problems


def test_an_unchanged_spec_is_not_parsed_again(folder):
    assert read(folder) == read(folder) == read(folder, memory=False)
    lie(folder.parent / "state" / "specs.json")
    assert read(folder)[0]["a"].description == "a lie"
    (folder / "a.yaml").rename(folder / "b.yaml")
    assert read(folder)[0]["b"].description == "a lie"


@pytest.mark.parametrize("edit", [("0.2", "0.3"), ("2e-4", "3e-4"), ("path", "Path")])
def test_an_edit_is_read(folder, edit):
    read(folder)
    (folder / "a.yaml").write_text(SPEC.replace(*edit))
    lie(folder.parent / "state" / "specs.json")
    assert read(folder) == read(folder, memory=False)


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda w: w[:-1], lambda w: bytes(len(w))])
def test_a_spoilt_memo_costs_one_more_parsing(folder, spoil):
    memo = folder.parent / "state" / "specs.json"
    read(folder)
    lie(memo)
    memo.write_bytes(spoil(memo.read_bytes()))
    assert read(folder) == read(folder, memory=False)


def test_another_version_believes_nothing(folder):
    memo = folder.parent / "state" / "specs.json"
    read(folder)
    lie(memo)
    content = json.loads(memo.read_bytes().partition(b"\n")[2])
    assert read_memo(memo, "another") == {}
    write_memo(memo, "another", content["entries"])
    assert read(folder) == read(folder, memory=False)


@pytest.mark.parametrize(
    "text",
    [
        SPEC.replace("fraction: 0.2", "fraction: 2"),
        SPEC.replace("base_model", "\nbase_modell"),
        SPEC + "seed: 1\nseed: 2\n",
        SPEC + "labels: [",
    ],
)
def test_a_problem_has_its_line_each_time(folder, text):
    (folder / "a.yaml").write_text(text)
    first, again, plain = read(folder), read(folder), read(folder, memory=False)
    assert first == again == plain
    assert plain[1]["a"][0].line


def test_a_removed_spec_is_gone(folder):
    (folder / "b.yaml").write_text(SPEC + "seed: 7\n")
    assert list(read(folder)[0]) == ["a", "b"]
    (folder / "b.yaml").unlink()
    assert list(read(folder)[0]) == ["a"]


def test_a_number_that_nobody_can_write_is_refused():
    document, [problem] = parse_yaml(b"a: 0x" + b"f" * 5_000, "a.yaml")
    assert document is None
    assert problem.message.startswith("cannot be read: '0xfff")
