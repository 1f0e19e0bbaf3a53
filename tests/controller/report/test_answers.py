"""What follows from the answers of an evaluation: changes, confusion, slices, tokens and time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.report.answer_model import CHANGES
from controller.report.answers import LONGEST_TEXT, MOST_EXAMPLES, answers_of, cut_text
from controller.report.lines import DamagedLineError, checked


def line(ours=1.0, theirs=0.0, **changes):
    return {
        "id": "0" * 16,
        "origin": "data/faq.csv:2",
        "messages": [{"role": "user", "content": "q?"}],
        "reference": "a",
        "answers": {"candidate": "a", "base": "b"},
        "values": {"candidate": {"accuracy": ours}, "base": {"accuracy": theirs}},
        "finish_reason": {"candidate": "stop", "base": "length"},
        **changes,
    }


def answers(lines, *, metric="accuracy", rivals=("base",), labels=()):
    return answers_of(checked(lines), metric=metric, rivals=rivals, labels=labels)


@pytest.mark.parametrize(
    ("ours", "theirs", "change"),
    [
        (1, 0, "fixed"),
        (0, 1, "broken"),
        (1, 1, "right"),
        (0, 0, "wrong"),
        (None, 1, "uncounted"),
        (1, None, "uncounted"),
        (0.5, 1, "broken"),
    ],
)
def test_the_outcome_of_an_example(ours, theirs, change):
    found = answers([line(ours, theirs)])
    assert found.changes == {"base": {change: 1}}
    assert [(group.change, group.count) for group in found.groups] == [(change, 1)]


@pytest.mark.parametrize(
    ("given", "calls", "change"),
    [
        ({"candidate": "a", "base": "a \n"}, {}, "same"),
        ({"candidate": "a", "base": "b"}, {}, "changed"),
        ({"candidate": "", "base": ""}, {"base": [{"function": {"name": "book"}}]}, "changed"),
    ],
)
def test_without_a_metric_answers_are_compared_as_texts(given, calls, change):
    found = answers([line(answers=given, calls=calls)], metric=None)
    assert found.changes == {"base": {change: 1}}
    assert found.slices == []


def test_changed_answers_come_first():
    lines = [line(1, 1), line(0, 0), line(1, 0), line(None, 1), line(0, 1)]
    found = answers(lines)
    order = [group.change for group in found.groups]
    assert order == ["broken", "fixed", "wrong", "right", "uncounted"]
    assert order == [change for change in CHANGES if change in order]
    assert [one.number for group in found.groups for one in group.examples] == [5, 3, 2, 1, 4]


def test_a_rival_that_did_not_answer_is_no_rival():
    found = answers([line()], rivals=("production", "base"))
    assert found.rival == "base"
    assert found.roles == ["candidate", "base"]


def test_a_candidate_alone_is_shown_without_comparison():
    found = answers([line(answers={"candidate": "a"})], rivals=())
    assert (found.rival, found.changes) == (None, {})
    assert [(group.change, group.count) for group in found.groups] == [("uncounted", 1)]


def test_a_page_shows_a_limited_number_of_examples_and_counts_all():
    most = MOST_EXAMPLES["right"]
    found = answers([line(1, 1)] * (most + 7))
    assert found.groups[0].count == found.count == most + 7
    assert found.shown == most


@given(st.text(max_size=50), st.integers(1, 60))
def test_a_cut_text_tells_its_length(text, most):
    cut = cut_text(text, most)
    assert text.startswith(cut.shown)
    assert cut.characters == len(text)
    assert cut.is_cut == (len(text) > most)


def test_a_line_of_a_megabyte_is_cut():
    (group,) = answers([line(answers={"candidate": "x" * 1_000_000, "base": "b"})]).groups
    text = group.examples[0].answers[0].text
    assert (len(text.shown), text.characters) == (LONGEST_TEXT, 1_000_000)


def test_the_question_is_the_last_one_and_the_rest_is_context():
    messages = [
        {"role": "system", "content": "상담원"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "첫 "}, {"type": "text", "text": "말"}],
        },
        {"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]},
        {"role": "user", "content": "주차되나요?"},
    ]
    ((one,),) = (group.examples for group in answers([line(messages=messages)]).groups)
    assert one.question.shown == "주차되나요?"
    assert [m.text.shown for m in one.context] == ["상담원", "첫 말", "find({})"]


def test_an_expected_call_is_shown_as_people_write_it():
    calls = [{"function": {"name": "book", "arguments": '{"day": "월"}'}}]
    ((one,),) = (
        group.examples for group in answers([line(reference="", reference_calls=calls)]).groups
    )
    assert one.expected.shown == 'book({"day": "월"})'


# ---- confusion


def labelled(pairs):
    return [line(reference=want, answers={"candidate": got, "base": want}) for want, got in pairs]


def test_a_confusion_matrix_counts_what_is_no_label_apart():
    pairs = [("예약", "예약")] * 3 + [("메뉴", " 메뉴 "), ("메뉴", "예약"), ("메뉴", "모름")]
    matrix = answers(labelled(pairs)).matrices[0]
    assert matrix.labels == ["예약", "메뉴"]
    assert matrix.counts == [[3, 0, 0], [1, 1, 1]]


def test_a_declared_label_that_nothing_expects_is_a_label():
    matrix = answers(labelled([("a", "C"), ("a", "a"), ("b", "b"), ("b", "b")]), labels=["c"])
    assert matrix.matrices[0].labels == ["a", "b", "c"]
    assert matrix.matrices[0].counts[0] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "pairs",
    [
        [(f"answer {n}", "x") for n in range(10)],
        [(f"label {n % 41}", "x") for n in range(200)],
        [("same", "same")] * 9,
        [("a" * 101, "x"), ("b", "x")] * 5,
        [("two\nlines", "x"), ("b", "x")] * 5,
        [("", "x"), ("b", "x")] * 5,
    ],
)
def test_free_texts_have_no_confusion_matrix(pairs):
    assert answers(labelled(pairs)).matrices == []


# ---- slices


def test_slices_by_column_label_and_length():
    lines = [
        line(
            n % 2,
            1,
            columns={"lang": "ko" if n < 4 else "en"},
            reference="예" if n % 2 else "아니요",
            messages=[{"role": "user", "content": "x" * (n + 1)}],
        )
        for n in range(8)
    ]
    by_column = {one.column: one.rows for one in answers(lines).slices}
    assert list(by_column) == ["lang", "label", "length of the question"]
    assert [(r.value, r.count, r.scores["candidate"]) for r in by_column["lang"]] == [
        ("ko", 4, 0.5),
        ("en", 4, 0.5),
    ]
    assert [(r.value, r.scores["candidate"]) for r in by_column["label"]] == [
        ("아니요", 0),
        ("예", 1),
    ]
    assert [r.value for r in by_column["length of the question"]] == [
        "1 to 2 characters",
        "3 to 4 characters",
        "5 to 6 characters",
        "7 to 8 characters",
    ]


def test_a_column_of_many_values_ends_with_the_others():
    lines = [line(columns={"shop": f"s{n % 20}"}) for n in range(60)]
    rows = answers(lines).slices[0].rows
    assert len(rows) == 13
    assert (rows[-1].value, rows[-1].count) == ("8 other values", 24)
    assert sum(row.count for row in rows) == 60


@given(st.lists(st.integers(0, 30), min_size=8, max_size=60))
def test_quarters_by_length_hold_every_example_once(lengths):
    lines = [line(messages=[{"role": "user", "content": "x" * n}]) for n in lengths]
    for one in answers(lines).slices:
        assert sum(row.count for row in one.rows) == len(lengths)
        assert all(row.count for row in one.rows)


# ---- tokens and time


def test_tokens_time_and_cut_answers_are_counted():
    lines = [line(tokens={"candidate": 3}, latency_s={"candidate": n / 10}) for n in range(1, 12)]
    ours, theirs = answers(lines).usage
    assert (ours.answers, ours.tokens, ours.cut) == (11, 33, 0)
    assert ours.latency_p50_s == pytest.approx(0.6)
    assert ours.latency_p95_s == pytest.approx(1.05)
    assert (theirs.tokens, theirs.latency_p50_s, theirs.cut) == (None, None, 11)


# ---- damaged lines


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({}, "missing required field `messages`"),
        (line(answers=["a"]), "Expected `object`, got `array` - at `$.answers`"),
        (line(values={"candidate": {"accuracy": "1"}}), "$.values[...][...]"),
        ([], "Expected `object`, got `array`"),
        (None, "Expected `object`, got `null`"),
    ],
)
def test_a_line_of_another_form_is_named(bad, words):
    with pytest.raises(DamagedLineError, match="line 2: ") as caught:
        answers([line(), bad])
    assert words in str(caught.value)


def test_a_line_of_an_earlier_version_is_read():
    old = {"messages": [], "reference": "a", "answers": {"candidate": "a"}}
    assert answers([old]).count == 1


def of_labels(given, labels, expected=4):
    """Return the matrices of answers to as many expected labels, with all labels declared."""
    lines = [
        line(reference=f"label {n % expected}", answers={"candidate": text, "base": text})
        for n, text in enumerate(given)
    ]
    return answers(lines, labels=[f"label {n}" for n in range(labels)]).matrices


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (4, ["label 0", "label 1", "label 2", "label 3"]),
        (40, [f"label {n}" for n in range(40)]),
        # Of 41 and more, those that somebody expected or gave.
        (41, ["label 0", "label 1", "label 2", "label 3", "label 7"]),
        (2000, ["label 0", "label 1", "label 2", "label 3", "label 7"]),
    ],
)
def test_a_matrix_has_as_many_labels_as_people_can_read(labels, shown):
    matrices = of_labels(["label 7", "label 0", "nothing"] * 8, labels)
    assert [one.labels for one in matrices] == [shown, shown]
    for matrix in matrices:
        assert [len(row) for row in matrix.counts] == [len(shown) + 1] * len(shown)
        assert sum(map(sum, matrix.counts)) == 24
        assert sum(row[-1] for row in matrix.counts) == (8 if labels > 4 else 16)


def test_no_matrix_is_shown_of_more_labels_than_people_can_read():
    assert of_labels([f"label {n}" for n in range(36)], 60)
    assert of_labels([f"label {n}" for n in range(48)], 60) == []
