"""People who score answers in sheets, and correct what a model failed, through the command line."""

import csv
import json

import pytest

pytestmark = pytest.mark.usefixtures("installed")

HELD_OUT = 8
SPEC = """\
backend: scripted
base_model: acme/base
data:
  train: [{path: data/train.jsonl}]
  held_out: [{path: data/held.jsonl}]
evaluation: {compare_to: [base], metrics: [exact_match, {human: {sheet: data/scores.csv}}]}
gate: ["human >= 4", "human > base.human"]
"""
SHEET = "finetunes/data/scores.csv"
TOPICS = ("환불은 며칠 안에 되나요?", "주차장이 있나요?", "예약을 바꾸고 싶어요.", "와이파이 비밀번호는요?",
          "단체 할인이 되나요?", "반려견과 가도 되나요?", "케이크를 미리 주문할 수 있나요?", "영업 시간을 알려 주세요.")  # fmt: skip


def row(question: str, answer: str) -> str:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"


@pytest.fixture
def measured(shell):
    """Return a repository whose candidate waits for people's scores."""
    rows = "".join(row(f"훈련 {n * 7919} 문의", f"{n}번") for n in range(20))
    shell.write("finetunes/data/train.jsonl", rows)
    held = "".join(row(question, f"=답 {n}, 입니다") for n, question in enumerate(TOPICS))
    shell.write("finetunes/data/held.jsonl", held)
    shell.write("finetunes/faq.yaml", SPEC)
    code, text = shell("apply", "--auto-approve")
    assert code == 4, text
    assert "human: no answer of this build has a score in data/scores.csv" in text
    return shell


def entry_of(shell):
    return json.loads((shell.root / "finetunes/ftctl.lock").read_text())["finetunes"]["faq"]


def filled(path, score, raters=("민지",), encoding="utf-8-sig"):
    """Fill a sheet in, as people do, and return its rows."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    new = [{**one, "rater": who, "score": score(one, who)} for one in rows for who in raters]
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(new)
    return rows


def likes(answer, _who="") -> int:
    return 1 if answer["answer"] == "?" else 4 + len(answer["question"]) % 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949", "utf-16"])
def test_people_decide(measured, encoding):
    path = measured.root / SHEET
    before = (measured.root / "finetunes/ftctl.lock").read_bytes()
    code, text = measured("evaluate", "faq", "--sheet", str(path))
    assert (code, text) == (0, f"/repository/{SHEET}: 16 lines to score.\n")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert (measured.root / "finetunes/ftctl.lock").read_bytes() == before
    # An empty sheet changes nothing.
    assert "did not pass the gate" in measured("plan")[1]
    assert "production" not in entry_of(measured)
    raters = ("민지", "Jun")
    rows = filled(
        path, lambda one, who: likes(one) - (who == "Jun" and likes(one) == 5), raters, encoding
    )
    assert {one["question"] for one in rows} == set(TOPICS)
    assert not any(word in path.read_text(encoding=encoding) for word in ("candidate", "base"))
    assert "1 to evaluate" in measured("plan")[1]
    asked = measured.backend.calls["complete"]
    code, text = measured("apply", "--auto-approve")
    assert code == 0, text
    assert (
        "human: 8 of 8 answers of this build have scores, by 2 raters; their agreement on 16"
        in text
    )
    assert measured.backend.calls["complete"] == asked
    entry = entry_of(measured)
    (build,) = entry["builds"].values()
    assert entry["production"] == build["fingerprint"]
    assert build["evaluation"]["scores"]["base"]["human"] == 1
    assert 4 <= build["evaluation"]["scores"]["candidate"]["human"] < 5


def test_people_who_like_it_less_stop_it(measured):
    path = measured.root / SHEET
    measured("evaluate", "faq", "--sheet", str(path))
    filled(path, lambda one, _: 6 - likes(one))
    code, text = measured("apply", "--auto-approve")
    assert code == 4
    assert "human >= 4: human is 1.75" in text
    assert "production" not in entry_of(measured)


def test_scores_stay_when_a_sheet_is_written_again(measured):
    path = measured.root / SHEET
    measured("evaluate", "faq", "--sheet", str(path))
    first = path.read_text(encoding="utf-8-sig")
    assert "'=답 3, 입니다" in first  # no spreadsheet takes it for a formula
    rows = list(csv.DictReader(first.splitlines()))
    filled(path, lambda one, _: 3 if one["answer_id"] == rows[5]["answer_id"] else "", raters=("",))
    _, text = measured("evaluate", "faq", "--sheet", str(path))
    assert "16 lines to score, 1 of them as people filled them in" in text
    again = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    assert [one["answer_id"] for one in again] == [one["answer_id"] for one in rows]
    assert [one["score"] for one in again].count("3") == 1
    assert again[5]["score"] == "3"


def test_a_sheet_that_is_wrong_is_refused_with_every_line(measured):
    path = measured.root / SHEET
    measured("evaluate", "faq", "--sheet", str(path))
    rows = filled(path, likes)
    ids = [one["answer_id"] for one in rows]
    lines = ["answer_id,rater,score", f"{ids[0]},a,5", f"{ids[0]},a,4", f"{ids[1]},a,9",
             f"{ids[2]},a,좋음", f"{ids[3]},a,nan", "a0123456789abcdef,a,3", "x,a,3", f"{ids[4]},b,"]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")
    code, text = measured("plan")
    assert code == 1, text
    for line, said in {
        3: f"rater 'a' scored answer {ids[0]} twice, first in {SHEET}:2",
        4: "score: 9 is not on the scale",
        5: "score: '좋음' is not a number",
        6: "score: nan is not on the scale",
        7: "answer_id: no model gave the answer a0123456789abcdef",
        8: "answer_id: 'x' is not the ID of an answer",
    }.items():
        assert f"{SHEET}:{line}: {said}" in text, text
    path.write_text("\n".join([lines[0], lines[6]]), encoding="utf-8")
    assert (
        f"{SHEET}:2: answer_id: no model gave the answer a0123456789abcdef" in measured("plan")[1]
    )
    path.write_text("id;score\n1;2\n", encoding="utf-8")
    assert f"{SHEET}: has no column answer_id" in measured("plan")[1]


@pytest.mark.parametrize(
    ("option", "name", "content", "said"),
    [
        ("--sheet", "notes.csv", "name,score\na,1\n", "notes.csv: has no column answer_id"),
        ("--sheet", "notes.jsonl", '{"a": 1}\n' * 3, "notes.jsonl:1: has no column answer_id"),
        ("--sheet", "notes.txt", "", "a sheet ends in .csv or .jsonl"),
        ("--misses", "notes.csv", "", "misses are written as .jsonl"),
        ("--misses", "train.jsonl", row("a", "b"), "holds something else than misses"),
        ("--misses", "train.jsonl", "\xff", "holds something else than misses"),
        ("--misses", "train.jsonl", "[" * 100_000, "holds something else than misses"),
    ],
)
def test_no_other_file_is_overwritten(measured, option, name, content, said):
    path = measured.root / name
    path.write_text(content, encoding="latin-1" if "\xff" in content else "utf-8")
    before = path.read_bytes()
    code, text = measured("evaluate", "faq", option, str(path))
    assert code == 1
    assert said in text, text
    assert path.read_bytes() == before


def test_options_of_measuring_are_refused(measured):
    code, text = measured("evaluate", "faq", "--misses", "x.jsonl", "--auto-approve")
    assert code == 1
    assert "--auto-approve is for measuring" in text
    assert measured("evaluate", "fax", "--misses", "x.jsonl")[0] == 1


def test_answers_that_are_not_here_cannot_be_written(measured):
    for path in (measured.root / ".ftctl/evaluations").iterdir():
        path.unlink()
    code, text = measured("evaluate", "faq", "--sheet", str(measured.root / "s.csv"))
    assert code == 1
    assert "are not on this machine" in text
    assert "ftctl evaluate faq" in text


BY_RULE = SPEC.replace("gate: ", 'gate: ["exact_match >= 0.9"] #').replace(
    ", {human: {sheet: data/scores.csv}}", ""
)


def misses_of(shell, name="misses.jsonl"):
    path = shell.root / "finetunes/data" / name
    code, text = shell("evaluate", "faq", "--misses", str(path))
    assert code == 0, text
    lines = path.read_text(encoding="utf-8").splitlines()
    return path, text, [json.loads(line) for line in lines]


def write(path, rows) -> None:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows))


def edit_values(shell, wrong) -> None:
    """Let the candidate have been wrong for some questions."""
    (path,) = (shell.root / ".ftctl/evaluations").iterdir()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line["messages"][-1]["content"] in wrong:
            line["values"]["candidate"]["exact_match"] = 0.0
            line["answers"]["candidate"] = "모르겠습니다"
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines))


def test_misses_are_corrected_and_what_is_held_out_is_not_trained_on(measured):
    measured.write("finetunes/faq.yaml", BY_RULE)
    edit_values(measured, TOPICS[:2])
    path, text, misses = misses_of(measured)
    assert "2 examples whose answer exact_match calls wrong" in text
    assert misses[0] == {
        "messages": [
            {"role": "user", "content": TOPICS[0]},
            {"role": "assistant", "content": ""},
        ],
        "ftctl_miss_of": "finetunes/data/held.jsonl:1",
        "ftctl_wrong_answer": "모르겠습니다",
        "ftctl_expected_answer": "=답 0, 입니다",
    }
    trained = BY_RULE.replace(
        "[{path: data/train.jsonl}]", "[{path: data/train.jsonl}, {path: data/misses.jsonl}]"
    )
    measured.write("finetunes/faq.yaml", trained)
    code, text = measured("plan")
    assert code == 1
    assert "finetunes/data/misses.jsonl:1" in text  # an empty answer is no example
    misses[0]["messages"][-1]["content"] = "7일 안에 됩니다."
    write(path, misses)
    # What a person corrected stays.
    assert misses_of(measured)[2] == misses
    assert "1 of them as people filled them in" in misses_of(measured)[1]
    write(path, misses[:1])
    code, text = measured("plan")
    assert code == 1
    assert "misses.jsonl:1: " in text
    assert "a miss that asks what the held-out finetunes/data/held.jsonl:1 asks" in text
    misses[0]["messages"][0]["content"] = (
        "영수증을 잃어버렸는데 교환할 수 있는 방법이 있는지 궁금합니다."
    )
    write(path, misses[:1])
    code, text = measured("plan")
    assert code == 0, text
    assert "21, 8 held out" in text


@pytest.mark.parametrize(
    ("metrics", "gate", "said"),
    [
        ("[{human: {sheet: data/scores.csv}}]", '["human >= 1"]', "no metric of faq tells which answers are wrong"),
        ("[accuracy]", "[]", "accuracy was not measured in this evaluation"),
    ],
)  # fmt: skip
def test_misses_need_a_metric_that_was_measured(measured, metrics, gate, said):
    spec = SPEC.partition("evaluation:")[0]
    measured.write(
        "finetunes/faq.yaml", f"{spec}evaluation: {{metrics: {metrics}}}\ngate: {gate}\n"
    )
    code, text = measured("evaluate", "faq", "--misses", str(measured.root / "m.jsonl"))
    assert code == 1
    assert said in text
    assert not (measured.root / "m.jsonl").exists()
