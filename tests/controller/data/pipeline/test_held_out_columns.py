"""Columns of held-out rows that travel beside their examples: for groups, slices and tracing."""

import io
import json
import runpy
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from backends.testing.words import WordInspector
from controller.data.dataset import build_dataset
from controller.data.pipeline.held_out_columns import value_text
from controller.data.readers import read_rows
from controller.data.reports.provenance import parse_origin
from controller.data.reports.traced_examples import read_traced_examples
from controller.data.resolve_sources import DataPaths, find_sources
from controller.spec.data import Data
from tests.controller.data.pipeline.columned_rows import (
    LANGS,
    NAMED,
    VALUES,
    WANTED,
    as_csv,
    as_jsonl,
    as_messages,
    number_in,
    some_rows,
)

READERS = Path(__file__).parents[1] / "readers"
write_xlsx = runpy.run_path(str(READERS / "test_excel.py"))["write_xlsx"]


def as_parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def as_excel(rows: list[dict]) -> bytes:
    with TemporaryDirectory() as folder:
        cells = [list(rows[0]), *(list(row.values()) for row in rows)]
        return write_xlsx(Path(folder) / "rows.xlsx", {"rows": cells}).read_bytes()


def as_html(rows: list[dict]) -> str:
    def line(cells, tag) -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    table = [line(rows[0], "th"), *(line(row.values(), "td") for row in rows)]
    return f"<html><body><table>{''.join(table)}</table></body></html>"


FILES = {
    "rows.csv": as_csv,
    "rows.tsv": lambda rows: as_csv(rows, "\t"),
    "rows.jsonl": as_jsonl,
    "rows.json": json.dumps,
    "rows.parquet": as_parquet,
    "rows.xlsx": as_excel,
    "rows.html": as_html,
}
SHAPES = {
    "chat": (as_messages, "supervised"),
    "prompt-completion": (lambda row: {"prompt": row["q"], "completion": row["a"], **rest(row)}, "supervised"),
    "alpaca": (lambda row: {"instruction": row["q"], "output": row["a"], **rest(row)}, "supervised"),
    "sharegpt": (lambda row: {"conversations": [{"from": "human", "value": row["q"]}, {"from": "gpt", "value": row["a"]}], **rest(row)}, "supervised"),
    "preference": (lambda row: {"prompt": row["q"], "chosen": row["a"], "rejected": "몰라요", **rest(row)}, "dpo"),
    "graded": (lambda row: {"messages": [{"role": "user", "content": row["q"]}], **rest(row)}, "reinforcement"),
    "text": (lambda row: {"text": row["q"] + row["a"], **rest(row)}, "continued-pretraining"),
}  # fmt: skip


def rest(row: dict) -> dict:
    return {"lang": row["lang"], "customer": row["customer"]}


def expected_of(rows: list[dict], number: int) -> dict:
    return {"lang": rows[number]["lang"], "customer": str(rows[number]["customer"])}


def check_all(dataset, rows: list[dict]) -> None:
    traced = list(read_traced_examples(dataset.held_out))
    assert len(traced) == dataset.held_out.examples > 3
    for one in traced:
        number = number_in(json.dumps(one.example, ensure_ascii=False))
        assert one.columns == expected_of(rows, number)
    assert dataset.train.columns is None


@pytest.mark.parametrize("recipe", [1, 2])
@pytest.mark.parametrize("name", FILES)
def test_every_reader_gives_the_columns_of_its_rows(repository, name, recipe):
    rows = some_rows()
    repository.write(name, FILES[name](rows))
    source = {"path": name, "columns": NAMED}
    if name.endswith(".html"):
        source["extract"] = "tables"
    plain = repository.build(source, recipe=recipe)
    dataset = repository.build(source, columns=WANTED, recipe=recipe)
    check_all(dataset, rows)
    # The examples are the same to the byte, in another entry of the cache.
    assert (dataset.train.digest, dataset.held_out.digest) == (
        plain.train.digest,
        plain.held_out.digest,
    )
    assert dataset.held_out.path.read_bytes() == plain.held_out.path.read_bytes()
    assert dataset.held_out.path != plain.held_out.path
    assert plain.held_out.columns is None
    assert {"lang", "customer"} <= set(plain.report.sources[0].unread)
    assert not dataset.report.sources[0].unread


@pytest.mark.parametrize("recipe", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_rows_has_columns(repository, shape, recipe):
    convert, method = SHAPES[shape]
    rows = some_rows()
    repository.write("rows.jsonl", as_jsonl(list(map(convert, rows))))
    plain = repository.build("rows.jsonl", method=method, recipe=recipe)
    dataset = repository.build("rows.jsonl", method=method, columns=WANTED, recipe=recipe)
    check_all(dataset, rows)
    assert dataset.held_out.digest == plain.held_out.digest
    assert dataset.train.digest == plain.train.digest


def test_a_query_gives_columns(repository):
    rows = some_rows()
    with sqlite3.connect(repository.root / "shop.db") as database:
        database.execute("CREATE TABLE faq (q TEXT, a TEXT, lang TEXT, customer INTEGER)")
        database.executemany("INSERT INTO faq VALUES (:q, :a, :lang, :customer)", rows)
    database.close()
    source = {"sql": "SELECT * FROM faq", "connection": "FAQ_DATABASE", "columns": NAMED}
    data = Data.model_validate({"train": [source], "held_out": {"fraction": 0.3}})
    dataset = build_dataset(
        data,
        file="finetunes/cafe.yaml",
        folder=repository.folder,
        paths=DataPaths(
            root=repository.root,
            cache=repository.cache,
            environment={"FAQ_DATABASE": "sqlite:///shop.db"},
        ),
        columns=WANTED,
    )
    check_all(dataset, rows)


@pytest.mark.parametrize(
    "held_out",
    [
        {"fraction": 0.3},
        {"fraction": 0.3, "seed": 7},
        {"fraction": 0.3, "group_by": "customer"},
        {"fraction": 0.3, "stratify_by": "lang"},
        [{"path": "held.jsonl", "columns": NAMED}],
        [{"path": "held.csv", "columns": NAMED, "where": ["lang != en"]}],
        [{"path": "held*", "columns": NAMED, "sample": {"examples": 10}}],
    ],
)
@pytest.mark.parametrize(
    "prepare",
    [
        {},
        {"deduplicate": "off"},
        {"deduplicate": "near", "similarity": 0.95},
        {"max_tokens": 20, "over_length": "truncate"},
        {"strip_html": True, "collapse_whitespace": True},
    ],
)  # fmt: skip
def test_every_way_to_hold_out_and_to_prepare_keeps_rows_and_columns_together(
    repository, held_out, prepare
):
    rows = some_rows(120)
    for row in rows[::2]:
        row["a"] += " 그리고 더" * 10
    repository.write("train.jsonl", as_jsonl(rows))
    held = [{**row, "customer": f"보류-{row['customer']}"} for row in some_rows(150)[120:]]
    repository.write("held.jsonl", as_jsonl(held))
    repository.write("held.csv", as_csv(held))
    build = {"held_out": held_out, "prepare": prepare, "inspector": WordInspector()}
    sources = [{"path": "train.jsonl", "columns": NAMED}]
    plain = repository.build(*sources, **build)
    dataset = repository.build(*sources, **build, columns=WANTED)
    assert dataset.held_out.path.read_bytes() == plain.held_out.path.read_bytes()
    assert dataset.train.path.read_bytes() == plain.train.path.read_bytes()
    assert dataset.held_out.origins.read_bytes() == plain.held_out.origins.read_bytes()
    by_number = {number_in(row["q"]): row for row in (*rows, *held)}
    for one in read_traced_examples(dataset.held_out):
        number = number_in(one.example["messages"][-2]["content"])
        assert one.columns == expected_of(by_number, number)


def test_the_kept_one_of_equal_examples_gives_its_row(repository):
    rows = [{**row, "customer": who} for row in some_rows(20) for who in ("first", "second")]
    repository.write("rows.jsonl", as_jsonl(rows))
    dataset = repository.build({"path": "rows.jsonl", "columns": NAMED}, columns=WANTED)
    assert {one.columns["customer"] for one in read_traced_examples(dataset.held_out)} == {"first"}


@pytest.mark.parametrize("fraction", [{"fraction": 0.1}, {"fraction": 0.1, "stratify_by": "lang"}])
def test_worker_processes_send_the_columns_back(repository, fraction):
    rows = [{**row, "a": f"답 {n} " + "가" * 800} for n, row in enumerate(some_rows(4_000))]
    repository.write("rows.jsonl", as_jsonl(list(map(as_messages, rows))))
    assert (repository.folder / "rows.jsonl").stat().st_size > 8 << 20
    dataset = repository.build("rows.jsonl", held_out=fraction, columns=WANTED)
    check_all(dataset, rows)


# Each example builds a dataset.
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.fixed_dictionaries({}, optional={"언어": VALUES, "m": st.fixed_dictionaries({}, optional={"x": VALUES})}), min_size=24, max_size=60),
    st.booleans(),
)  # fmt: skip
def test_the_columns_of_an_example_are_those_of_the_row_that_its_origin_names(
    tmp_path_factory, values, is_array
):
    root = tmp_path_factory.mktemp("property")
    (root / "finetunes").mkdir()
    # A third of the rows repeat a question, and are dropped as duplicates.
    rows = [{"q": f"질문 {n % 20}?", "a": "네", **value} for n, value in enumerate(values)]
    rows += [{"q": f"다른 {n}?", "a": "네", "언어": "x", "m": {"x": 1}} for n in range(12)]
    name = "rows.json" if is_array else "rows.jsonl"
    text = json.dumps(rows, ensure_ascii=False, indent=1) if is_array else as_jsonl(rows)
    (root / "finetunes" / name).write_text(text, encoding="utf-8")
    data = Data.model_validate(
        {"train": [{"path": name, "columns": NAMED}], "held_out": {"fraction": 0.6}}
    )
    paths = DataPaths(root=root, cache=root / ".ftctl" / "data")
    place = {"file": "finetunes/p.yaml", "folder": root / "finetunes", "paths": paths}
    dataset = build_dataset(data, **place, columns={"언어": "", "m.x": ""})
    (file,) = find_sources(data, **place)
    by_line = dict(read_rows(file))
    for one in read_traced_examples(dataset.held_out):
        row = by_line[parse_origin(one.origin).line]
        expected = {}
        if "언어" in row:
            expected["언어"] = value_text(row["언어"], is_cell=False)
        if "x" in row.get("m", {}):
            expected["m.x"] = value_text(row["m"]["x"], is_cell=False)
        assert one.columns == expected
        assert one.example["messages"][0]["content"] == row["q"]


def test_the_expected_answer_is_the_label(repository):
    repository.write("rows.csv", as_csv(some_rows()))
    dataset = repository.build({"path": "rows.csv", "columns": NAMED}, columns=WANTED)
    for one in read_traced_examples(dataset.held_out):
        number = number_in(one.example["messages"][0]["content"])
        assert (one.value("label"), one.value("lang")) == (f"답 {number}", LANGS[number % 3])
        assert one.value("other") is None
    ids = {one.id for one in read_traced_examples(dataset.held_out)}
    assert len(ids) == dataset.held_out.examples
    # Without wanted columns, and for the train split, there are places alone.
    assert [one.columns for one in read_traced_examples(dataset.train)] == [
        {}
    ] * dataset.train.examples
