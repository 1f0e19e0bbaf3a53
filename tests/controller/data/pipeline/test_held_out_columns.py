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
from controller.errors import InvalidInput
from controller.spec.data import Data
from controller.spec.evaluation import evaluation_columns
from controller.spec.model import Evaluation
from controller.spec.where import parse_where

READERS = Path(__file__).parents[1] / "readers"
write_xlsx = runpy.run_path(str(READERS / "test_excel.py"))["write_xlsx"]
WANTED = {"lang": "evaluation.slices[0]", "customer": "evaluation.group_by"}
NAMED = {"user": "q", "assistant": "a"}
LANGS = ("ko", "en", "日本語")


def some_rows(count: int = 60) -> list[dict]:
    return [
        {"q": f"질문 {n}?", "a": f"답 {n}", "lang": LANGS[n % 3], "customer": n // 4}
        for n in range(count)
    ]


def as_csv(rows: list[dict], delimiter: str = ",") -> str:
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def as_jsonl(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


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


def as_messages(row: dict) -> dict:
    asked, answered = (
        {"role": "user", "content": row["q"]},
        {"role": "assistant", "content": row["a"]},
    )
    return {"messages": [asked, answered], "lang": row["lang"], "customer": row["customer"]}


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


def number_in(text: str) -> int:
    """Return the number that the question of an example was made with."""
    return int(text.partition("질문 ")[2].partition("?")[0])


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


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("ab가환\u1112\u116a\u11ab \r\n\"'\\{}[]TRUEtrue017.-", max_size=6),
)


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


@given(VALUES)
def test_a_value_is_spelt_as_conditions_compare_it(value):
    text = value_text(value, is_cell=False)
    if isinstance(value, str):
        text = value if text == "" else text
    if text and "'" not in text and text == text.strip() and text.isprintable():
        condition = parse_where(f"x == '{text}'")
        assert condition.means(text, is_cell=False)
        if not isinstance(value, str) or value == text:
            assert condition.means(value, is_cell=False)


@pytest.mark.parametrize(
    ("value", "is_cell", "text"),
    [
        (None, False, "null"),
        (True, False, "true"),
        (False, False, "false"),
        (3, False, "3"),
        (3.0, False, "3"),
        (0.5, False, "0.5"),
        (1e300, False, "1e+300"),
        ("", False, ""),
        ("", True, "null"),
        ("TRUE", True, "true"),
        ("TRUE", False, "TRUE"),
        ("007", True, "007"),
        ("\u1112\u116a\u11ab\u1107\u116e\u11af", True, "환불"),
        ("a\r\nb", False, "a\nb"),
    ],
)
def test_values_as_text(value, is_cell, text):
    assert value_text(value, is_cell=is_cell) == text


def test_names_lead_into_objects_in_any_composition(repository):
    rows = [{"q": f"질문 {n}?", "a": "네", "\u110b\u1165\u11ab\u110b\u1165": {"주": n % 2}} for n in range(30)]  # fmt: skip
    repository.write("rows.jsonl", as_jsonl(rows))
    dataset = repository.build(
        {"path": "rows.jsonl", "columns": NAMED}, columns={"언어.주": "evaluation.slices[0]"}
    )
    for one in read_traced_examples(dataset.held_out):
        assert one.columns == {"언어.주": str(number_in(one.example["messages"][0]["content"]) % 2)}


# --- rows that lack a column, and columns that no row has -----------------------------------------


def test_rows_without_a_column_are_counted_and_have_no_value(repository):
    rows = [{**row, **({} if n % 2 else {"vip": None})} for n, row in enumerate(some_rows())]
    repository.write("train.jsonl", as_jsonl(some_rows(200)[100:]))
    repository.write("held.jsonl", as_jsonl(rows))
    dataset = repository.build(
        {"path": "train.jsonl", "columns": NAMED},
        held_out=[{"path": "held.jsonl", "columns": NAMED}],
        columns={"vip": "evaluation.group_by"},
    )
    traced = list(read_traced_examples(dataset.held_out))
    assert [one.columns for one in traced] == [{"vip": "null"}, {}] * 30
    (step,) = [step for step in dataset.report.steps if step.name == "columns"]
    assert step.reasons == (
        "finetunes/held.jsonl:2: 'vip': 30 of 60 held-out examples have no value",
    )


@pytest.mark.parametrize(
    ("columns", "message", "remedy"),
    [
        (
            {"lnag": "evaluation.slices[1]"},
            "no row that may be held out has 'lnag'",
            "Did you mean `lang`? Use one of: q, a, lang, customer, meta.",
        ),
        (
            {"meta": "evaluation.slices[1]"},
            (
                "'meta' of finetunes/rows.jsonl:1 is an object or an array, which is not a value "
                "to compare"
            ),
            "Name a key in it, such as meta.id, or another column.",
        ),
        (
            {"meta.langs": "evaluation.slices[1]"},
            "no row that may be held out has 'meta.langs'",
            "Use one of: q, a, lang, customer, meta.",
        ),
    ],
)
def test_a_column_that_cannot_be_used_is_an_error_of_its_field(
    repository, columns, message, remedy
):
    repository.write("rows.jsonl", as_jsonl([{**row, "meta": {"id": 1}} for row in some_rows()]))
    source = {"path": "rows.jsonl", "columns": NAMED, "unusable": "drop"}
    (problem,) = repository.problems(source, columns=columns)
    assert (problem.file, problem.field) == ("finetunes/cafe.yaml", "evaluation.slices[1]")
    assert (problem.message, problem.remedy) == (message, remedy)


def test_texts_have_no_columns(repository):
    repository.write("text.md", "\n\n".join(f"문단 {n}입니다." for n in range(60)))
    source = {"path": "text.md", "chunk": "paragraph"}
    (problem,) = repository.problems(
        source, method="continued-pretraining", columns={"lang": "evaluation.group_by"}
    )
    assert problem.field == "evaluation.group_by"
    assert problem.message == (
        "'lang' is not there: the held-out rows are plain texts, without columns"
    )
    assert problem.remedy == 'Remove it, or give the texts as JSONL: {"text": "...", "lang": "..."}'


def test_keys_with_a_meaning_are_read_where_a_column_names_them(repository):
    rows = [{**as_messages(row), "score": n % 5} for n, row in enumerate(some_rows())]
    repository.write("rows.jsonl", as_jsonl(rows))
    assert "`score` rates the row" in repository.problems("rows.jsonl")[0].message
    dataset = repository.build("rows.jsonl", columns={"score": "evaluation.slices[0]"})
    for one in read_traced_examples(dataset.held_out):
        number = number_in(one.example["messages"][0]["content"])
        assert one.columns == {"score": str(number % 5)}


def test_training_sources_of_their_own_stay_checked(repository):
    rows = [{**as_messages(row), "score": n % 5} for n, row in enumerate(some_rows())]
    repository.write("rows.jsonl", as_jsonl(rows))
    repository.write("held.jsonl", as_jsonl(rows))
    columns = {"score": "evaluation.slices[0]"}
    problems = repository.problems("rows.jsonl", held_out=[{"path": "held.jsonl"}], columns=columns)
    assert {problem.file for problem in problems} == {"finetunes/rows.jsonl"}


# --- personal data --------------------------------------------------------------------------------


@pytest.mark.parametrize("pii", ["mask", "reject"])
def test_personal_data_never_leaves_through_a_column(repository, pii):
    rows = [{**row, "customer": f"kim{n}@example.com"} for n, row in enumerate(some_rows())]
    repository.write("rows.jsonl", as_jsonl(rows))
    source = {"path": "rows.jsonl", "columns": NAMED, "unusable": "drop"}
    problems = repository.problems(source, prepare={"pii": pii}, columns=WANTED)
    assert problems[0].message == (
        "column 'customer', which evaluation.group_by names, holds personal data: 1 email"
    )
    assert (problems[0].file, problems[0].line) == ("finetunes/rows.jsonl", 1)
    assert "kim" not in str(problems)
    dataset = repository.build(
        source, prepare={"pii": pii}, columns={"lang": "evaluation.slices[0]"}
    )
    assert dataset.held_out.columns.read_text().count("lang") == dataset.held_out.examples


def test_personal_data_that_a_spec_only_warns_of_is_counted(repository):
    rows = [{**row, "customer": f"kim{n}@example.com"} for n, row in enumerate(some_rows())]
    repository.write("rows.jsonl", as_jsonl(rows))
    source = {"path": "rows.jsonl", "columns": NAMED}
    dataset = repository.build(source, prepare={"pii": "warn"}, columns=WANTED)
    (step,) = [step for step in dataset.report.steps if step.name == "columns"]
    (reason,) = step.reasons
    assert reason == (
        "finetunes/rows.jsonl:1: 'customer': 60 values with personal data, which the files of the "
        "evaluation show"
    )


# --- identity -------------------------------------------------------------------------------------


def test_digests_are_of_each_column_and_of_nothing_else(repository):
    def build(rows, columns=WANTED):
        repository.write("rows.csv", as_csv(rows))
        source = {"path": "rows.csv", "columns": NAMED}
        return repository.build(source, columns=columns).held_out

    first = build(some_rows())
    assert first.column_digests == {
        "customer": "sha256:eeedd929eb3cd7af0bd34fca556f8483a929b4eaa6355aa8ca1544205ea75d2d",
        "lang": "sha256:3e17f1c63fa982e0d4908dd6396e7f206b1270e2c8ded9b7993bd4f29fc2ed77",
    }
    other = build([{**row, "lang": "ko"} for row in some_rows()])
    assert other.digest == first.digest
    assert other.column_digests["customer"] == first.column_digests["customer"]
    assert other.column_digests["lang"] != first.column_digests["lang"]
    alone = build(some_rows(), {"lang": "evaluation.slices[0]"})
    assert alone.column_digests == {"lang": first.column_digests["lang"]}


def test_the_cached_dataset_has_its_columns_again(repository):
    repository.write("rows.csv", as_csv(some_rows()))
    source = {"path": "rows.csv", "columns": NAMED}
    first, second = (repository.build(source, columns=WANTED) for _ in range(2))
    assert first == second
    # The field that names a column is for messages only.
    renamed = dict.fromkeys(WANTED, "gate")
    assert repository.build(source, columns=renamed).held_out.path == first.held_out.path
    first.held_out.columns.write_bytes(b"{}\n")
    again = repository.build(source, columns=WANTED)
    assert again.held_out.columns.read_bytes() != b"{}\n"


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


def test_files_that_do_not_belong_together_are_noticed(repository):
    repository.write("rows.csv", as_csv(some_rows()))
    dataset = repository.build({"path": "rows.csv", "columns": NAMED}, columns=WANTED)
    with dataset.held_out.columns.open("a") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="longer"):
        list(read_traced_examples(dataset.held_out))


@pytest.mark.parametrize(
    ("evaluation", "gate", "columns"),
    [
        ({}, (), {}),
        ({"group_by": "label", "slices": ["label"]}, {"label"}, {}),
        ({"slices": ["a", "m.b"]}, (), {"a": "evaluation.slices[0]", "m.b": "evaluation.slices[1]"}),
        ({"group_by": "a", "slices": ["a"]}, {"a"}, {"a": "evaluation.group_by"}),
        ({}, {"b", "a"}, {"a": "gate", "b": "gate"}),
        ({"slices": ["\u110b\u1165\u11ab\u110b\u1165"]}, {"언어"}, {"언어": "evaluation.slices[0]"}),
    ],
)  # fmt: skip
def test_columns_that_an_evaluation_names(evaluation, gate, columns):
    assert evaluation_columns(Evaluation.model_validate(evaluation), gate) == columns


def test_a_problem_of_a_column_has_no_field_of_the_data(repository):
    repository.write("rows.csv", as_csv(some_rows()))
    with pytest.raises(InvalidInput) as caught:
        repository.build({"path": "rows.csv", "columns": NAMED}, columns={"x": "gate"})
    assert [problem.field for problem in caught.value.problems] == ["gate"]
