"""Rows of a JSON array have a place of their own, on however many lines they stand."""

import json

import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from controller.data.recipes import FIRST
from controller.data.reports.provenance import Origin, explain, find_positions, parse_origin
from controller.data.resolve_sources import DataPaths, find_sources
from controller.errors import FtctlError
from controller.spec.data import Data

ROWS = [{"prompt": f"질문 {n}", "completion": f"답 {n}"} for n in range(20)]
ROWS += [ROWS[3], {"prompt": "x", "completion": ""}]
LAYOUTS = {
    "on one line": (json.dumps(ROWS), {}),
    "on many lines": (json.dumps(ROWS, indent=2), {}),
    "at a root": (json.dumps({"v": 1, "data": ROWS}), {"root": "data"}),
    "at a root on many lines": (json.dumps({"data": ROWS}, indent=1), {"root": "data"}),
}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def source(request, repository) -> dict:
    content, said = request.param
    repository.write("d.json", content)
    return {"path": "d.json", **said}


def test_origins_and_reasons_name_the_row(repository, source):
    dataset = repository.build(source, prepare={"drop_empty": True})
    origins = [
        line
        for part in (dataset.train, dataset.held_out)
        for line in part.origins.read_text().splitlines()
    ]
    assert sorted(origins) == sorted(f"finetunes/d.json[{n}]" for n in range(20))
    reasons = dataset.report.reasons.read_text().splitlines()
    assert reasons == [
        "finetunes/d.json[21]: drop_empty: an answer is empty",
        "finetunes/d.json[20]: deduplicate: the same as finetunes/d.json[3]",
    ]


def test_a_row_s_problem_names_the_row(repository, source):
    (problem,) = repository.problems(source)
    assert str(problem).startswith("finetunes/d.json[21]: an answer is empty")


def test_problems_come_in_the_order_of_the_rows_and_the_rest_is_counted(repository):
    repository.write("d.json", json.dumps([{"prompt": f"q{n}"} for n in range(30)]))
    found = repository.problems({"path": "d.json", "shape": "prompt-completion"})
    assert [str(one).partition(": ")[0] for one in found] == [
        f"finetunes/d.json[{n}]" for n in range(4)
    ]
    assert found[-1].message == "and 27 more of these problems"


def test_what_is_wrong_with_the_json_names_the_line(repository):
    repository.write("d.json", '[\n{"prompt": "q", "completion": "a"},\n{"prompt" "q"}]')
    (problem,) = repository.problems("d.json")
    assert str(problem).startswith("finetunes/d.json:3: not valid JSON: Expecting ':' delimiter")


def explained(repository, source: dict, place: str):
    dataset = repository.build(source, prepare={"drop_empty": True})
    data = Data.model_validate({"train": [source], "held_out": {"fraction": 0.2}})
    paths = DataPaths(root=repository.root, cache=repository.cache)
    given = find_sources(data, file="s.yaml", folder=repository.folder, paths=paths)
    return dataset, explain(dataset, given, parse_origin(place))


def test_a_row_is_explained_by_its_index(repository, source):
    dataset, fate = explained(repository, source, "finetunes/d.json[17]")
    assert fate.row.values == ROWS[17]
    assert str(fate.origin) == "finetunes/d.json[17]"
    assert fate.positions == find_positions(dataset, fate.origin) != ()
    fate = explained(repository, source, "finetunes/d.json[20]")[1]
    assert fate.reasons == (("deduplicate", "the same as finetunes/d.json[3]"),)
    assert explained(repository, source, "finetunes/d.json[22]")[1] is None


def test_a_row_is_found_by_the_line_that_an_editor_shows(repository):
    repository.write("d.json", json.dumps(ROWS, indent=2))
    for line, index in ((3, 0), (6, 1), (9, 1), (10, 2)):
        fate = explained(repository, {"path": "d.json"}, f"finetunes/d.json:{line}")[1]
        assert fate.row.values == ROWS[index]
        assert str(fate.origin) == f"finetunes/d.json[{index}]"


def test_a_line_with_many_rows_is_refused_with_their_places(repository):
    repository.write("d.json", json.dumps(ROWS))
    with pytest.raises(FtctlError) as caught:
        explained(repository, {"path": "d.json"}, "finetunes/d.json:1")
    assert caught.value.message == "line 1 of finetunes/d.json holds 22 rows"
    assert "finetunes/d.json[0] to finetunes/d.json[21]" in caught.value.remedy
    # Beyond the end there is none, and not the last one.
    assert explained(repository, {"path": "d.json"}, "finetunes/d.json:3")[1] is None


def test_a_row_that_has_a_line_is_not_called_by_an_index(repository):
    repository.write("d.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    with pytest.raises(FtctlError, match="named by their line"):
        explained(repository, {"path": "d.jsonl"}, "finetunes/d.jsonl[3]")


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("a.json[0]", Origin("a.json", 1, is_indexed=True)),
        ("a[1].csv:3", Origin("a[1].csv", 3)),
        ("a[1].json[2]", Origin("a[1].json", 3, is_indexed=True)),
        ("a.json[]", None),
        ("a.json[-1]", None),
        ("[3]", None),
        ("a.json[x]", None),
        ("a.json3]", None),
    ],
)
def test_a_place_is_written_with_an_index_or_a_line(text, origin):
    assert parse_origin(text) == origin


# --- rows that Arrow wrote --------------------------------------------------------------------

CALLS = [
    {"role": "assistant", "calls": [{"name": "find", "with": {"city": "서울"}}]},
    {"role": "assistant", "calls": [{"name": "add", "with": {"a": 1, "b": None}}]},
]
MIXED = [
    {"messages": [{"role": "user", "content": f"질문 {n}"}, CALLS[n % 2] | {"content": f"답 {n}"}]}
    for n in range(30)
]


def written(dataset) -> str:
    return dataset.train.path.read_text() + dataset.held_out.path.read_text()


@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_nulls_that_arrow_adds_to_nested_rows_are_not_there(repository, form):
    table = pa.Table.from_pylist(MIXED)
    if form == "parquet":
        parquet.write_table(table, repository.folder / "d.parquet")
    else:
        folder = repository.folder / "d"
        folder.mkdir()
        with ipc.new_stream(folder / "data.arrow", table.schema) as stream:
            stream.write_table(table)
        state = {"_data_files": [{"filename": "data.arrow"}], "_split": None}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "dataset_info.json").write_text("{}")
    path = "d.parquet" if form == "parquet" else "d"
    text = written(repository.build(path))
    assert "null" not in text
    assert text.count('"with":{"city":"서울"}') == 15
    assert text.count('"with":{"a":1}') == 15
    assert "null" in written(repository.build(path, recipe=FIRST))


def test_nulls_that_a_person_wrote_are_kept(repository):
    repository.write("d.jsonl", "".join(json.dumps(row) + "\n" for row in MIXED))
    assert '"with":{"a":1,"b":null}' in written(repository.build("d.jsonl"))
