"""Keys of a source: each changes what is read, or is refused by name."""

import json
import unicodedata

import pytest
from pydantic import ValidationError

from controller.spec.data import Columns, Source

ROWS = [{"c": "" if n % 2 else "문맥", "q": f"질문 {n}", "a": f"답 {n}"} for n in range(30)]
COLUMNS = {"user": "q", "assistant": "a"}


def table(separator: str = ",") -> str:
    lines = [ROWS[0].keys(), *(row.values() for row in ROWS)]
    return "".join(separator.join(line) + "\n" for line in lines)


FILES = {
    "d.csv": table(),
    "d.tsv": table("\t"),
    "d.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "d.json": json.dumps(ROWS),
    "d.txt": "글\n" * 30,
    "d.html": "<html><body><p>글</p></body></html>",
}
VALUES = {
    "encoding": "utf-8",
    "delimiter": ",",
    "quote": "double",
    "header": 1,
    "root": "data",
    "sheet": "a",
    "extract": "text",
    "chunk": "line",
}
FITTING = {
    "d.csv": {"encoding", "delimiter", "quote", "header"},
    "d.tsv": {"encoding", "delimiter", "quote", "header"},
    "d.jsonl": {"encoding"},
    "d.json": {"encoding", "root"},
    "d.txt": {"encoding", "chunk"},
    "d.html": {"encoding", "extract", "chunk"},
}


@pytest.mark.parametrize("name", FILES)
def test_a_key_that_a_format_has_no_use_for_is_refused_by_name(repository, name):
    repository.write(name, FILES[name])
    found = {
        key: repository.problems({"path": name, key: value, "columns": COLUMNS})
        for key, value in VALUES.items()
        if key not in FITTING[name]
    }
    for key, problems in found.items():
        assert [one.field for one in problems] == [f"data.train[0].{key}"]
        assert problems[0].message.startswith("does not go with ")
        assert f"{key} is for " in problems[0].remedy


def test_chunks_are_not_for_the_tables_of_a_page():
    source = Source(path="d.html", extract="tables", chunk="line")
    assert source.misplaced("html") == ["chunk"]


def test_a_key_that_some_file_of_a_glob_has_a_use_for_is_used(repository):
    repository.write("d/a.csv", table(";"))
    repository.write("d/b.jsonl", FILES["d.jsonl"])
    source = {"path": "d/*", "delimiter": ";", "columns": COLUMNS}
    assert repository.build(source).report.sources[1].rows == 30


@pytest.mark.parametrize("key", ["quote", "header", "root"])
def test_keys_of_files_are_refused_for_databases_and_hubs(key):
    for place in ({"sql": "select 1", "connection": "X"}, {"hub": "a/b"}):
        with pytest.raises(ValidationError, match=f"`{key}` does not go with"):
            Source.model_validate({**place, key: VALUES[key]})


@pytest.mark.parametrize(
    "said",
    [{"header": 0}, {"header": -1}, {"header": 10**25}, {"header": "first"}, {"header": None}, {"header": True},
     {"quote": '"'}, {"quote": None}, {"root": ""}, {"strip_end": ""}, {"strip_end": [""]}],
)  # fmt: skip
def test_what_a_key_cannot_be_is_refused(said):
    with pytest.raises(ValidationError):
        Source.model_validate({"path": "d.csv", **said})


def questions(dataset) -> set[str]:
    text = dataset.train.path.read_text() + dataset.held_out.path.read_text()
    return {json.loads(line)["messages"][0]["content"] for line in text.splitlines()}


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.json"])
def test_columns_are_joined(repository, name):
    repository.write(name, FILES[name])
    columns = {"user": "문맥: {c}\n질문: {q}", "assistant": "{a} ({q})"}
    asked = questions(repository.build({"path": name, "columns": columns}))
    assert "문맥: 문맥\n질문: 질문 0" in asked
    assert "질문: 질문 1" in asked
    assert len(asked) == 30


def test_a_joined_column_that_is_not_there_is_named(repository):
    repository.write("d.csv", FILES["d.csv"])
    columns = {"user": "{cc}\n{q}", "assistant": "a"}
    (problem,) = repository.problems({"path": "d.csv", "columns": columns})
    assert problem.field == "data.train[0].columns.user"
    assert "there is no column 'cc'" in problem.message


def test_a_column_whose_name_has_braces_is_itself(repository):
    repository.write("d.csv", table().replace("c,q,a", "c,{q},a"))
    asked = questions(
        repository.build({"path": "d.csv", "columns": {"user": "{q}", "assistant": "a"}})
    )
    assert "질문 3" in asked


def test_the_names_of_columns_are_those_that_are_joined_too():
    columns = Columns(user="{c}\n{meta.q}", assistant="a", system="s")
    assert list(columns.names()) == ["c", "meta.q", "a", "s"]


def test_an_end_mark_is_taken_off_and_counted(repository):
    marked = [{**row, "q": row["q"] + "\n\n###\n\n", "a": row["a"] + " END"} for row in ROWS]
    marked[0]["a"] = "END 아님"
    repository.write("d.jsonl", "".join(json.dumps(row) + "\n" for row in marked))
    source = {"path": "d.jsonl", "columns": COLUMNS, "strip_end": [" END", "\n\n###\n\n"]}
    dataset = repository.build(source)
    text = dataset.train.path.read_text() + dataset.held_out.path.read_text()
    assert "###" not in text
    assert text.count("END") == 1
    (step,) = (one for one in dataset.report.steps if one.name == "strip_end")
    assert step.changed == 30


@pytest.mark.parametrize(
    ("text", "marks", "left"),
    [
        ("답</s></s>", ["</s>"], "답"),
        ("답 END</s>", ["</s>", " END"], "답"),
        ("</s>", ["</s>"], ""),
        ("가</s>나", ["</s>"], "가</s>나"),
    ],
)
def test_end_marks_are_taken_off_as_often_as_they_stand_there(repository, text, marks, left):
    rows = [*ROWS, {"q": "마지막", "a": text}]
    repository.write("d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": "d.jsonl", "columns": COLUMNS, "strip_end": marks}
    dataset = repository.build(source, prepare={"drop_empty": True})
    lines = (dataset.train.path.read_text() + dataset.held_out.path.read_text()).splitlines()
    last = [json.loads(line)["messages"][1]["content"] for line in lines if "마지막" in line]
    assert last == ([left] if left else [])


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_columns_and_conditions_are_found_however_composed(repository, name):
    composed, decomposed = "문의", unicodedata.normalize("NFD", "문의")
    for in_file, in_spec in ((composed, decomposed), (decomposed, composed)):
        rows = [{in_file: f"질문 {n}", "a": "x"} for n in range(30)]
        written = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if name == "d.csv":
            written = f"{in_file},a\n" + "".join(f"질문 {n},x\n" for n in range(30))
        repository.write(name, written)
        columns = {"user": in_spec, "assistant": "a"}
        source = {"path": name, "columns": columns, "where": [f"{in_spec} != '질문 3'"]}
        split = {"fraction": 0.3, "group_by": in_spec}
        assert len(questions(repository.build(source, held_out=split))) == 29
