"""Sheets as people send them back: what counts as a score, and every problem with its remedy."""

import json
import runpy
from pathlib import Path

import pytest

from controller.data.sources.source_file import LocatedFile
from controller.evaluate.opinions.read_sheet import (
    find_sheets,
    format_of,
    harmless,
    plain,
    read_sheets,
)

READERS = Path(__file__).parents[2] / "data" / "readers"
write_xlsx = runpy.run_path(str(READERS / "test_excel.py"))["write_xlsx"]
ONE, TWO, THREE = (f"a{number:016x}" for number in (1, 2, 3))
NOT_A_SHEET = "Name a new file, or a sheet that `ftctl evaluate NAME --sheet FILE` wrote."
ONE_TO_FIVE = "Write a number from 1 to 5, or leave it empty."


def located(path: Path, file_format=None) -> LocatedFile:
    return LocatedFile(
        path=path, display_path=path.name, format=file_format or format_of(path) or "text"
    )


def read(path: Path, content: str | bytes, scale=(1.0, 5.0)):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_sheets([located(path)], scale)


def table(*rows: tuple, separator=",") -> str:
    lines = [("answer_id", "rater", "score"), *rows]
    return "".join(separator.join(map(str, line)) + "\n" for line in lines)


def jsonl(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("written", "score"),
    [
        ("1", 1.0),
        ("5", 5.0),
        (" 4 ", 4.0),
        ("3.5", 3.5),
        ("+2", 2.0),
        ("'+2", 2.0),
        ("4e0", 4.0),
        ("\uff14", 4.0),
        ("", None),
        ("   ", None),
    ],
)
def test_a_score_is_a_number_as_spreadsheets_write_it(tmp_path, written, score):
    found, problems = read(tmp_path / "s.csv", table((ONE, "a", written)))
    assert problems == []
    assert [row.score for row in found.rows] == [score]
    assert found.scores == ({} if score is None else {ONE: [score]})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("0.99", "0.99 is not on the scale"),
        ("5.01", "5.01 is not on the scale"),
        ("-3", "-3 is not on the scale"),
        ("inf", "inf is not on the scale"),
        ("좋음", "'좋음' is not a number"),
        ("4/5", "'4/5' is not a number"),
        ("x" * 90, f"'{'x' * 58}…' is not a number"),
        ("1_0", "'1_0' is not a number"),
        ("0_3", "'0_3' is not a number"),
    ],
)
def test_what_is_not_a_score_is_named_with_its_place(tmp_path, written, message):
    content = table((ONE, "a", 3), (TWO, "a", written), (THREE, "a", 4))
    found, (problem,) = read(tmp_path / "s.csv", content)
    assert [row.answer_id for row in found.rows] == [ONE, THREE]
    place = (problem.file, problem.line, problem.field)
    assert place == ("s.csv", 3, "score")
    assert (problem.message, problem.remedy) == (message, ONE_TO_FIVE)


@pytest.mark.parametrize(
    ("written", "shown"),
    [(True, "'True'"), (False, "'False'"), ([4], "'[4]'"), ({"a": 4}, "\"{'a': 4}\"")],
)
def test_json_that_is_not_a_number_is_not_a_score(tmp_path, written, shown):
    found, (problem,) = read(tmp_path / "s.jsonl", jsonl({"answer_id": ONE, "score": written}))
    assert found.rows == []
    assert problem.message == f"{shown} is not a number"


def test_without_a_scale_any_finite_number_is_a_score(tmp_path):
    content = table((ONE, "a", -70), (TWO, "a", "1e6"), (THREE, "a", "nan"))
    found, (problem,) = read(tmp_path / "s.csv", content, scale=None)
    assert found.scores == {ONE: [-70.0], TWO: [1e6]}
    assert problem.remedy == "Write a number, or leave it empty."


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", "''"),
        ("1", "'1'"),
        (ONE[1:], f"'{ONE[1:]}'"),
        (ONE.upper(), f"'{ONE.upper()}'"),
        (f"{ONE}0", f"'{ONE}0'"),
        ("a" + "g" * 16, f"'a{'g' * 16}'"),
    ],
)
def test_a_line_whose_id_was_changed_is_named(tmp_path, written, shown):
    found, (problem,) = read(tmp_path / "s.csv", table((f" {TWO} ", "a", 3), (written, "a", 3)))
    assert [row.answer_id for row in found.rows] == [TWO]
    assert (problem.line, problem.field) == (3, "answer_id")
    assert problem.message == f"{shown} is not the ID of an answer"
    assert problem.remedy == "Leave the column as it was written, or remove the line."


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [
        ("s.csv", "score\n1\n2\n", None, "has no column answer_id"),
        ("s.csv", f"answer_id\n{ONE}\n", None, "has no column score"),
        ("s.tsv", "a\tb\n1\t2\n3\t4\n", None, "has no column answer_id and no column score"),
        ("s.jsonl", '{"a": 1}\n' * 3, 1, "has no column answer_id and no column score"),
        ("s.txt", "", None, "a sheet is one of csv, tsv, jsonl, excel, not text"),
    ],
)
def test_another_file_than_a_sheet_is_one_problem(tmp_path, name, content, line, message):
    found, (problem,) = read(tmp_path / name, content)
    assert found.rows == []
    assert (problem.file, problem.line, problem.message) == (name, line, message)
    assert problem.remedy == NOT_A_SHEET


def test_lines_of_a_sheet_that_lack_a_key_are_named_one_by_one(tmp_path):
    whole = {"answer_id": ONE, "score": 3}
    content = jsonl(whole, {"score": 4}, whole | {"answer_id": TWO}, {"answer_id": THREE})
    found, problems = read(tmp_path / "s.jsonl", content + "{\n")
    assert [row.place for row in found.rows] == ["s.jsonl:1", "s.jsonl:3"]
    messages = [(one.line, one.message.partition(" (")[0]) for one in problems]
    assert messages[:2] == [(2, "has no column answer_id"), (4, "has no column score")]
    assert messages[2][0] == 5
    assert messages[2][1].startswith("not valid JSON")


def test_a_file_that_is_gone_is_a_problem_as_any_other(tmp_path):
    kept = tmp_path / "b.csv"
    kept.write_text(table((ONE, "a", 3)))
    found, (problem,) = read_sheets([located(tmp_path / "a.csv"), located(kept)])
    assert str(problem).startswith("a.csv: ")
    assert "o such file" in problem.message
    assert found.scores == {ONE: [3.0]}


def test_one_rater_scores_an_answer_once_whatever_the_file(tmp_path):
    first, second = tmp_path / "s1.csv", tmp_path / "s2.csv"
    first.write_text(table((ONE, "a", 3), (ONE, "b", 3), (TWO, "", 1), (TWO, "", "")))
    second.write_text(table((ONE, " a", 3), (TWO, "", 2), (THREE, "a", 2)))
    found, problems = read_sheets([located(first), located(second)], (1, 5))
    assert len(found.rows) == 7  # what contradicts itself is reported, not dropped
    assert [(one.file, one.line, one.message) for one in problems] == [
        ("s2.csv", 2, f"rater 'a' scored answer {ONE} twice, first in s1.csv:2"),
        ("s2.csv", 3, f"one rater without a name scored answer {TWO} twice, first in s1.csv:4"),
    ]
    remedy = "Remove one of the lines, or write who scored it in `rater`."
    assert {one.remedy for one in problems} == {remedy}


@pytest.mark.parametrize("name", ["s.csv", "s.tsv", "s.jsonl", "s.xlsx", "S.CSV", "S.Xlsx"])
def test_every_format_of_a_sheet_is_read_alike(tmp_path, name):
    path = tmp_path / name
    rows = [(ONE, "민지", 4), (TWO, "'-Jun", 2.5), (THREE, "", None)]
    if name.lower().endswith("xlsx"):
        write_xlsx(path, {"scores": [["answer_id", "rater", "score"], *map(list, rows)]})
    elif name.endswith("jsonl"):
        keys = ("answer_id", "rater", "score")
        path.write_text(jsonl(*(dict(zip(keys, row, strict=True)) for row in rows)))
    else:
        filled = [[*row[:2], "" if row[2] is None else row[2]] for row in rows]
        path.write_text(table(*filled, separator="\t" if name == "s.tsv" else ","))
    found, problems = read_sheets([located(path)], (1, 5))
    assert problems == []
    assert [(row.answer_id, row.rater, row.score) for row in found.rows] == [
        (ONE, "민지", 4.0),
        (TWO, "-Jun", 2.5),
        (THREE, "", None),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv.gz", None), ("a", None), ("a.json", None), ("a.xls", None), ("a.TSV", "tsv")],
)
def test_the_ending_of_a_sheet_is_its_format(name, expected):
    assert format_of(Path(name)) == expected


FILLED = [
    ({}, False),
    ({"rater": " ", "comment": "\t"}, False),
    ({"rater": "a"}, True),
    ({"rater": 0}, True),
    ({"comment": "?"}, True),
    ({"score": 3}, True),
    ({"score": 0}, True),
    ({"score": 0.0}, True),
    ({"score": "0"}, True),
    ({"mood": "good"}, False),
]


@pytest.mark.parametrize(("written", "is_filled"), FILLED)
def test_a_line_is_filled_in_if_a_person_wrote_something(tmp_path, written, is_filled):
    row = {"answer_id": ONE, "rater": "", "score": None, "comment": None} | written
    found, problems = read(tmp_path / "s.jsonl", jsonl(row), scale=(0, 5))
    assert problems == []
    assert found.rows[0].is_filled is is_filled


@pytest.mark.parametrize(
    ("one", "other", "are_equal"),
    [
        ([(ONE, "a", 3)], [(ONE, "a", "3.0"), (TWO, "b", "")], True),
        ([(ONE, "a", 3), (TWO, "a", 4)], [(TWO, "a", 4), (ONE, "a", 3)], True),
        ([(ONE, "a", 3)], [(ONE, "b", 3)], False),
        ([(ONE, "a", 3)], [(TWO, "a", 3)], False),
        ([(ONE, "a", 3)], [(ONE, "a", 3.5)], False),
        ([(ONE, "a", 3)], [(ONE, "a", 3), (ONE, "b", 3)], False),
    ],
)
def test_an_evaluation_is_stale_if_another_score_or_rater_is_in_the_sheet(
    tmp_path, one, other, are_equal
):
    first, second = (read(tmp_path / "s.csv", table(*rows))[0].digest for rows in (one, other))
    assert None not in {first, second}
    assert (first == second) is are_equal


def test_the_sheet_that_a_spec_names_need_not_be_there_yet(tmp_path):
    folder = tmp_path / "finetunes"
    (folder / "data").mkdir(parents=True)
    where = {"folder": folder, "root": tmp_path, "state": tmp_path / ".ftctl"}
    assert find_sheets("data/s.csv", **where) == []
    for name in ("s1.csv", "s2.csv"):
        (folder / "data" / name).write_text("")
    found = find_sheets("data/s*.csv", **where)
    assert [one.display_path for one in found] == [f"finetunes/data/s{n}.csv" for n in (1, 2)]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_spreadsheet_takes_a_cell_for_a_formula(first):
    cell = f'{first}HYPERLINK("https://evil.example")'
    assert harmless(cell) == f"'{cell}"
    assert plain(harmless(cell)) == cell


@pytest.mark.parametrize("cell", ["", "'", "'네'", "5 = 5", " =1", "네", "'=1", "''=1", "\n=1"])
def test_other_cells_are_written_as_they_are(cell):
    assert harmless(cell) == cell
