"""Files of misses: a miss that asks what a held-out example asks is refused, and others are read."""

import json

import pytest

from controller.errors import InvalidInput

QUESTIONS = (
    "주말에도 문을 여나요? 토요일은 몇 시부터 몇 시까지 하는지 알려 주세요.",
    "주차장은 어디에 있나요? 가게 앞에 세워도 되는지 궁금합니다.",
    "Can I bring my dog to the terrace, or is that only for small animals?",
    "환불은 며칠 안에 받을 수 있나요? 영수증이 없어도 되는지 알려 주세요.",
    "Do you roast the coffee yourselves, and may I watch when you do it?",
    "생일 케이크를 예약하려면 언제까지 전화해야 하나요?",
)
SAME = "주말에도 문을 여나요? 토요일은 몇 시부터 몇 시까지 하는지 알려주세요!"
OTHER = "공휴일에 일찍 닫는 날이 있는지, 있다면 어디에 적혀 있는지 궁금해요."


def row(question: str, answer: str, **more) -> dict:
    asked = {"role": "user", "content": question}
    return {"messages": [asked, {"role": "assistant", "content": answer}], **more}


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def cafe(repository):
    """A repository with training and held-out rows of their own."""
    filler = [
        row(f"번호 {n * 7919} 은 무엇에 쓰나요, 그리고 {n * 104729} 은요?", str(n))
        for n in range(30)
    ]
    repository.write("train.jsonl", lines(*filler))
    repository.write("held.jsonl", lines(*(row(one, f"답 {n}") for n, one in enumerate(QUESTIONS))))
    return repository


def build(cafe, *misses: dict, **settings):
    cafe.write("misses.jsonl", lines(*misses))
    settings.setdefault("held_out", [{"path": "held.jsonl"}])
    return cafe.build("train.jsonl", "misses.jsonl", **settings)


def refused(cafe, *misses: dict, **settings):
    cafe.write("misses.jsonl", lines(*misses))
    settings.setdefault("held_out", [{"path": "held.jsonl"}])
    return cafe.problems("train.jsonl", "misses.jsonl", **settings)


@pytest.mark.parametrize("deduplicate", ["exact", "near", "off"])
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (QUESTIONS[0], "답 0"),
        (QUESTIONS[0], "고친 답입니다: 토요일은 열 시부터 여섯 시까지입니다."),
        (SAME, "고친 답입니다: 토요일은 열 시부터 여섯 시까지입니다."),
    ],
    ids=["the same row", "another answer", "nearly the same question"],
)
def test_a_miss_that_asks_what_is_held_out_is_refused(cafe, deduplicate, question, answer):
    miss = row(question, answer, ftctl_miss_of="finetunes/held.jsonl:1")
    fine = row(OTHER, "네", ftctl_miss_of="finetunes/held.jsonl:1")
    (problem,) = refused(cafe, fine, miss, prepare={"deduplicate": deduplicate})
    assert str(problem.file) == "finetunes/misses.jsonl"
    assert problem.line == 2
    assert problem.message == (
        "a miss that asks what the held-out finetunes/held.jsonl:1 asks: the model would be graded "
        "on what it learned"
    )
    assert problem.remedy == (
        "Write another example of what the model should learn, or remove the row here or there."
    )


def test_each_miss_is_named(cafe):
    misses = [row(one, "고친 답", ftctl_miss_of="x:1") for one in QUESTIONS]
    problems = refused(cafe, *misses)
    assert [problem.line for problem in problems] == [1, 2, 3, 4, 5, 6]
    assert [problem.message.split()[7] for problem in problems] == [
        f"finetunes/held.jsonl:{line}" for line in range(1, 7)
    ]


@pytest.mark.parametrize(
    "miss",
    [
        row(OTHER, "답 0", ftctl_miss_of="finetunes/held.jsonl:1"),
        # Without the key it is a row like any other: reported, and not refused.
        row(QUESTIONS[0], "고친 답"),
        row(QUESTIONS[0], "고친 답", ftctl_miss_of=""),
        row(QUESTIONS[0], "고친 답", ftctl_miss_of=None),
    ],
)
def test_other_rows_are_trained_on(cafe, miss):
    dataset = build(cafe, miss)
    assert dataset.train.examples == 31
    assert "ftctl" not in dataset.train.path.read_text()
    assert not dataset.report.sources[1].unread


@pytest.mark.parametrize(
    "column", ["ftctl_miss_of", "id"], ids=["the key of a miss", "another key"]
)
def test_the_key_is_no_part_of_an_example(cafe, column):
    graded = {"messages": [{"role": "user", "content": OTHER}], "answer": "네", column: "x:1"}
    rows = [{"messages": [{"role": "user", "content": f"{n} 더하기 {n * 31}?"}]} for n in range(20)]
    cafe.write("graded.jsonl", lines(*rows, graded))
    dataset = cafe.build("graded.jsonl", method="reinforcement")
    text = dataset.train.path.read_text() + dataset.held_out.path.read_text()
    assert (f'"{column}"' in text) == (column == "id")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("misses.csv", f'q,a,ftctl_miss_of\n"{SAME}",고친 답,held.jsonl:1\n"{OTHER}",네,\n'),
        ("misses.json", json.dumps([{"q": SAME, "a": "고친 답", "ftctl_miss_of": "held.jsonl:1"}])),
    ],
)
def test_a_miss_in_a_table_is_refused(cafe, name, text):
    cafe.write(name, text)
    source = {"path": name, "columns": {"user": "q", "assistant": "a"}}
    (problem,) = cafe.problems("train.jsonl", source, held_out=[{"path": "held.jsonl"}])
    place = (2, None) if name.endswith("csv") else (None, 0)
    assert (problem.file, problem.line, problem.row) == (f"finetunes/{name}", *place)


def test_the_same_words_about_another_picture_are_another_question(cafe):
    def seen(url: str, **more) -> dict:
        content = [
            {"type": "text", "text": "이 사진에 무엇이 보이는지 한 문장으로 알려 주세요."},
            {"type": "image_url", "image_url": {"url": f"https://example.com/{url}.png"}},
        ]
        return {**row("", "고양이"), **more, "messages": [
            {"role": "user", "content": content}, {"role": "assistant", "content": "고양이"}
        ]}  # fmt: skip

    cafe.write("held.jsonl", lines(seen("a")))
    assert build(cafe, seen("b", ftctl_miss_of="held.jsonl:1")).train.examples == 31
    assert len(refused(cafe, seen("a", ftctl_miss_of="held.jsonl:1"))) == 1


def test_a_held_out_fraction_refuses_a_miss_too(cafe):
    """A question is held out by its hash, so a miss with the same question is held out again."""
    filler = [
        row(f"번호 {n * 7919} 은 무엇에 쓰나요, 그리고 {n * 104729} 은요?", str(n))
        for n in range(60)
    ]
    cafe.write("train.jsonl", lines(*filler))
    plain = cafe.build("train.jsonl", held_out={"fraction": 0.3})
    first = json.loads(plain.held_out.path.read_text().partition("\n")[0])
    question = first["messages"][0]["content"]
    (problem,) = refused(
        cafe, row(question, "고친 답", ftctl_miss_of="x:1"), held_out={"fraction": 0.3}
    )
    assert plain.held_out.origins.read_text().partition("\n")[0] in problem.message
    # Once its own row is gone, the miss is an example like any other.
    line = int(plain.held_out.origins.read_text().partition("\n")[0].rpartition(":")[2])
    cafe.write("train.jsonl", lines(*filler[: line - 1], *filler[line:]))
    dataset = build(cafe, row(question, "고친 답", ftctl_miss_of="x:1"), held_out={"fraction": 0.3})
    assert "고친 답" in dataset.held_out.path.read_text()


def test_misses_that_are_not_drawn_or_held_out_themselves_are_not_refused(cafe):
    miss = row(QUESTIONS[0], "고친 답", ftctl_miss_of="x:1")
    filler = [row(f"{n * 7919}번 문서는 어디에 두나요?", str(n)) for n in range(40)]
    cafe.write("misses.jsonl", lines(miss, *filler))
    settings = {"held_out": [{"path": "held.jsonl"}]}
    drawn = [
        len(_problems(cafe, {"path": "misses.jsonl", "sample": {"fraction": 0.5, "seed": n}}, settings))
        for n in range(8)
    ]  # fmt: skip
    assert set(drawn) == {0, 1}
    cafe.write("held.jsonl", lines(*(row(one, "답") for one in QUESTIONS), miss))
    assert cafe.build("train.jsonl", **settings).held_out.examples == 7


def _problems(cafe, source, settings):
    try:
        cafe.build("train.jsonl", source, **settings)
    except InvalidInput as error:
        return error.problems
    return ()


def test_many_misses_are_found_by_workers(cafe):
    filler = [
        row(f"번호 {n * 7919} 은 무엇에 쓰나요, 그리고 {n * 104729} 은요?", "가" * 900)
        for n in range(4_000)
    ]
    filler[3_000] = row(SAME, "고친 답", ftctl_miss_of="held.jsonl:1")
    cafe.write("train.jsonl", lines(*filler))
    assert (cafe.folder / "train.jsonl").stat().st_size > 8 << 20
    (problem,) = cafe.problems("train.jsonl", held_out=[{"path": "held.jsonl"}])
    assert problem.line == 3_001
