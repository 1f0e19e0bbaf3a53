"""Sheets written and read back, whatever answers and people write."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.data.sources.source_file import LocatedFile
from controller.evaluate.opinions.answer_ids import ANSWER_ID, answer_ids
from controller.evaluate.opinions.read_sheet import SheetScores, harmless, plain, read_sheets
from controller.evaluate.opinions.write_sheet import (
    COLUMNS,
    csv_lines,
    extra_columns,
    jsonl_lines,
    sheet_rows,
)

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=30
)


def line(number: int, **answers: str) -> dict:
    return {
        "id": f"{number:016x}",
        "messages": [{"role": "user", "content": f"질문 {number}"}],
        "reference": "답",
        "answers": answers,
    }


def sheet(tmp_path, data: bytes, name="scores.csv", scale=(1, 5)) -> SheetScores:
    path = tmp_path / name
    path.write_bytes(data)
    formats = {".csv": "csv", ".jsonl": "jsonl"}
    file = LocatedFile(path=path, display_path=name, format=formats[path.suffix])
    scores, problems = read_sheets([file], scale)
    assert problems == []
    return scores


@given(TEXTS)
def test_cells_are_harmless_and_come_back(text):
    cell = harmless(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert plain(cell) == text or text.startswith("'")


@pytest.mark.parametrize(
    "answer", ["=cmd()", "+1", "-2", "@x", "\tx", '"', "a,b;c\n\nd", "환불", "\u202e", "x" * 40_000]
)
def test_any_answer_is_one_line_that_is_read_back(tmp_path, answer):
    rows = list(sheet_rows([line(1, candidate=answer, base="?")], "seed", SheetScores()))
    data = b"".join(csv_lines(rows))
    assert data.decode("utf-8-sig").startswith(",".join(COLUMNS))
    found = sheet(tmp_path, data)
    assert [one.answer_id for one in found.rows] == [row["answer_id"] for row in rows]
    assert found.digest is None
    assert not any(one.is_filled for one in found.rows)


def test_sheets_are_blind_and_the_same_in_every_run():
    lines = [
        line(number, candidate="좋은 답", base="나쁜 답", luna="좋은 답") for number in range(40)
    ]
    rows = list(sheet_rows(lines, "seed", SheetScores()))
    assert len(rows) == 80  # equal answers are scored once
    assert rows == list(sheet_rows(lines, "seed", SheetScores()))
    assert rows != list(sheet_rows(lines, "other", SheetScores()))
    first = [row["answer"] for row in rows[::2]]
    assert 5 < first.count("좋은 답") < 35
    assert all(ANSWER_ID.fullmatch(row["answer_id"]) for row in rows)
    assert all(row.keys() == set(COLUMNS) for row in rows)


@pytest.mark.parametrize("name", ["scores.csv", "scores.jsonl"])
def test_what_people_wrote_stays(tmp_path, name):
    lines = [line(number, candidate=f"답 {number}", base="?") for number in range(3)]
    ids = answer_ids(lines[0])
    old = answer_ids(line(7, candidate="예전 답"))["candidate"]
    written = [
        {
            "answer_id": ids["candidate"],
            "rater": "민지",
            "score": 4,
            "comment": "=좋음",
            "mood": "+",
        },
        {"answer_id": ids["candidate"], "rater": "Jun", "score": 3.5, "comment": "", "mood": ""},
        {"answer_id": ids["base"], "rater": "", "score": "", "comment": "", "mood": ""},
        {"answer_id": old, "rater": "Jun", "score": 2, "comment": "", "mood": ""},
    ]
    data = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in written).encode()
    earlier = sheet(tmp_path, data, "scores.jsonl")
    for _ in range(2):  # writing it again changes nothing
        rows = list(sheet_rows(lines, "seed", earlier))
        assert extra_columns(earlier) == ["mood"]
        data = b"".join(csv_lines(rows, ["mood"]) if name.endswith("csv") else jsonl_lines(rows))
        again = sheet(tmp_path, data, name)
        assert again.digest == earlier.digest
        assert again.scores == {ids["candidate"]: [4, 3.5], old: [2]}
        assert len(again.rows) == 6 + 1 + 1
        assert plain(again.rows[0].values["comment"] or again.rows[1].values["comment"]) in {
            "=좋음",
            "",
        }
        earlier = again


def test_the_digest_is_that_of_scores_alone(tmp_path):
    row = {"answer_id": "a" + "0" * 16, "rater": "a", "score": 3}
    other = {"answer_id": "a" + "1" * 16, "rater": "a", "score": 4.0, "comment": "x"}
    one = "".join(json.dumps(item) + "\n" for item in (row, other)).encode()
    two = "".join(json.dumps({**item, "comment": "new"}) + "\n" for item in (other, row)).encode()
    assert sheet(tmp_path, one, "a.jsonl").digest == sheet(tmp_path, two, "b.jsonl").digest
    changed = json.dumps({**row, "score": 4}).encode() + b"\n"
    assert sheet(tmp_path, changed, "c.jsonl").digest != sheet(tmp_path, one, "a.jsonl").digest


@pytest.mark.parametrize("name", ["scores.csv", "scores.jsonl"])
def test_the_lowest_score_of_a_scale_from_zero_stays(tmp_path, name):
    lines = [line(number, candidate=f"답 {number}") for number in range(3)]
    rows = list(sheet_rows(lines, "seed", SheetScores()))
    scored = [{**row, "score": score} for row, score in zip(rows, (0, None, 2), strict=True)]
    write = csv_lines if name.endswith("csv") else jsonl_lines
    earlier = sheet(tmp_path, b"".join(write(scored)), name, (0, 2))
    again = sheet(tmp_path, b"".join(write(sheet_rows(lines, "seed", earlier))), name, (0, 2))
    assert [row.score for row in again.rows] == [0, None, 2]
    assert again.digest == earlier.digest


ROW = {"answer_id": "a" + "0" * 16, "question": "?", "reference": "", "answer": "네", "rater": "a"}


def test_a_csv_is_one_that_excel_opens_as_it_is():
    rows = [{**ROW, "score": 4, "comment": "", "mood": {"a": ["가"]}, "sure": True, "=n": None}]
    data = b"".join(csv_lines(rows, ["mood", "sure", "=n"]))
    assert data.startswith(b"\xef\xbb\xbfanswer_id,")
    head, line = data.decode("utf-8-sig").splitlines()
    assert head == "answer_id,question,reference,answer,rater,score,comment,mood,sure,'=n"
    assert line == f'{ROW["answer_id"]},?,,네,a,4,,"{{""a"": [""가""]}}",True,'
    assert b"".join(csv_lines([])).decode("utf-8-sig").splitlines() == [",".join(COLUMNS)]


@pytest.mark.parametrize(
    ("written", "shown"), [("4", 4), ("4.0", 4), ("3.5", 3.5), (4, 4), (0, 0), (2.50, 2.5)]
)
def test_a_score_is_written_again_as_a_person_would(tmp_path, written, shown):
    row = {**ROW, "score": written, "comment": "=길어요"}
    earlier = sheet(tmp_path, json.dumps(row).encode() + b"\n", "s.jsonl", (0, 5))
    (kept,) = sheet_rows([], "seed", earlier)
    assert (kept["score"], type(kept["score"])) == (shown, type(shown))
    assert kept["comment"] == "=길어요"
    assert f",{shown}," in b"".join(csv_lines([kept])).decode()
    assert "'=길어요" in b"".join(csv_lines([kept])).decode()


def test_one_answer_to_one_example_is_scored_once_whoever_measured_it():
    """A file of an evaluation may hold an example twice, as its data does."""
    lines = [line(1, candidate="네", base="네"), line(2, candidate="네"), line(1, candidate="네")]
    rows = list(sheet_rows(lines, "seed", SheetScores()))
    assert [row["question"] for row in rows] == ["질문 1", "질문 2"]
    assert len({row["answer_id"] for row in rows}) == 2


def test_a_line_that_nobody_filled_in_leaves_with_its_answer(tmp_path):
    old = answer_ids(line(7, candidate="예전 답"))["candidate"]
    blank = {**ROW, "answer_id": old, "rater": "", "score": "", "comment": " "}
    earlier = sheet(tmp_path, json.dumps(blank).encode() + b"\n", "s.jsonl")
    rows = list(sheet_rows([line(1, candidate="새 답")], "seed", earlier))
    assert [row["answer"] for row in rows] == ["새 답"]
