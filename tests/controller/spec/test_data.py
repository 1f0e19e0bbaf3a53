"""The `data` section: which keys go together, and what a wrong combination is told."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from controller.spec.base import Strict
from controller.spec.data import (
    Columns,
    Data,
    FileFormat,
    Fraction,
    Prepare,
    Sample,
    Source,
    formats_with,
    joined_columns,
)

PLACES = {
    "path": {"path": "faq.csv"},
    "url": {"url": "s3://cafe/faq.csv"},
    "sql": {"sql": "select q, a from faq", "connection": "FAQ_URL"},
    "hub": {"hub": "cafe/faq"},
}
KINDS = get_args(FileFormat)


def refusal(model: type[Strict], **keys) -> str:
    """Return what is wrong with a section, in the words of its model."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(keys)
    (problem,) = caught.value.errors()
    return problem["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize("place", PLACES)
def test_a_source_is_in_one_place(place: str):
    source = Source.model_validate(PLACES[place])
    assert source.place == place
    others = [key for key in PLACES if key != place]
    for other in others:
        said = refusal(Source, **PLACES[place], **{other: "x"})
        first, second = [key for key in PLACES if key in {place, other}]
        assert said == f"must have one of path, url, sql and hub, not {first} and {second}"


def test_a_source_without_a_place_is_refused():
    assert refusal(Source) == "must have one of path, url, sql and hub, not none"
    said = refusal(Source, path="a", url="b", hub="c")
    assert said == "must have one of path, url, sql and hub, not path and url and hub"


KEYS = {
    "connection": ("FAQ_URL", {"sql"}),
    "config": ("ko", {"hub"}),
    "revision": ("main", {"hub"}),
    "split": ("test", {"hub", "path"}),
    "format": ("csv", {"path", "url"}),
    "encoding": ("cp949", {"path", "url"}),
    "delimiter": (";", {"path", "url"}),
    "quote": ("single", {"path", "url"}),
    "header": (2, {"path", "url"}),
    "root": ("rows", {"path", "url"}),
    "sheet": ("시트1", {"path", "url"}),
    "extract": ("tables", {"path", "url"}),
    "chunk": ("line", {"path", "url"}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", KEYS)
def test_a_key_goes_with_some_places_only(key: str, place: str):
    value, places = KEYS[key]
    keys = {**PLACES[place], key: value}
    if place in places:
        assert getattr(Source.model_validate(keys), key) == value
    else:
        assert refusal(Source, **keys) == f"`{key}` does not go with `{place}`"


def test_a_query_needs_a_connection():
    expected = "`sql` needs `connection: NAME_OF_AN_ENVIRONMENT_VARIABLE`"
    assert refusal(Source, sql="select 1") == expected


def test_columns_and_shape_are_two_ways_to_say_the_same():
    said = refusal(Source, path="a.csv", shape="chat", columns={"user": "q", "assistant": "a"})
    assert said == "must not have both columns and shape; remove one"


@pytest.mark.parametrize(
    ("written", "columns"),
    [
        ("{context}: {question}", ["context", "question"]),
        ("{상품}의 {가격}?", ["상품", "가격"]),
        ("{meta.question}", ["meta.question"]),
        ("{a}{a}", ["a", "a"]),
        ("{{a}}", ["a"]),
        ("question", []),
        ("{}", []),
        ("{a\nb}", []),
        ("{" + "a" * 201 + "}", []),
    ],
)
def test_a_text_may_join_columns(written: str, columns: list[str]):
    assert joined_columns(written) == columns


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"user": "질문", "assistant": "답"}, ["질문", "답"]),
        ({"assistant": "a", "user": "q", "system": "s"}, ["q", "a", "s"]),
        ({"user": "{c}: {q}", "assistant": "a"}, ["c", "q", "a"]),
        ({"user": "q", "chosen": "good", "rejected": "bad"}, ["q", "good", "bad"]),
        ({"user": "q", "chosen": "g", "rejected": "b", "system": "s"}, ["q", "s", "g", "b"]),
        ({"text": "본문"}, ["본문"]),
        ({"user": "q", "assistant": "a", "label": "l"}, ["q", "a", "l"]),
    ],
)
def test_columns_name_the_parts_of_one_form(columns, names):
    assert list(Columns.model_validate(columns).names()) == names


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"user": "q"},
        {"assistant": "a"},
        {"system": "s"},
        {"user": "q", "chosen": "g"},
        {"user": "q", "assistant": "a", "chosen": "g"},
        {"user": "q", "assistant": "a", "text": "t"},
        {"text": "t", "system": "s"},
        {"user": "q", "label": "l"},
        {"user": "q", "chosen": "g", "rejected": "b", "label": "l"},
    ],
)
def test_columns_of_no_form_are_refused(columns):
    expected = (
        "must name user and assistant, and label for kto; or user, chosen and rejected; or text "
        "alone"
    )
    assert refusal(Columns, **columns) == expected


@pytest.mark.parametrize(("keys", "is_right"), [
    ({"examples": 1}, True), ({"fraction": 0.5}, True), ({"fraction": 0.5, "seed": -3}, True),
    ({}, False), ({"seed": 3}, False), ({"examples": 1, "fraction": 0.5}, False),
])  # fmt: skip
def test_a_sample_has_one_size(keys, is_right):
    if is_right:
        assert Sample.model_validate(keys).model_dump(exclude_unset=True) == keys
    else:
        assert refusal(Sample, **keys) == "must have examples or fraction, and not both"


@pytest.mark.parametrize("model", [Fraction, Sample])
@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1, float("nan"), float("inf")])
def test_a_fraction_is_between_nothing_and_all(model, share):
    refusal(model, fraction=share)


@pytest.mark.parametrize(
    "name", ["utf-8", "UTF-16", "cp949", "euc-kr", "shift_jis", "latin-1", "not known here"]
)
def test_an_encoding_of_text_is_taken(name: str):
    assert Source(path="a.csv", encoding=name).encoding == name


@pytest.mark.parametrize("name", ["punycode", "IDNA", "raw-unicode-escape", "unicode_escape"])
def test_an_encoding_of_anything_else_is_refused(name: str):
    said = refusal(Source, path="a.csv", encoding=name)
    assert "is not the encoding of a text file; write one like utf-8" in said


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("jsonl", {"delimiter", "quote", "header", "root", "sheet", "extract", "chunk"}),
        ("json", {"delimiter", "quote", "header", "sheet", "extract", "chunk"}),
        ("csv", {"root", "sheet", "extract", "chunk"}),
        ("tsv", {"root", "sheet", "extract", "chunk"}),
        ("excel", {"encoding", "delimiter", "quote", "root", "extract", "chunk"}),
        ("html", {"delimiter", "quote", "header", "root", "sheet"}),
        ("markdown", {"delimiter", "quote", "header", "root", "sheet", "extract"}),
        ("text", {"delimiter", "quote", "header", "root", "sheet", "extract"}),
        ("parquet", {"encoding", "delimiter", "quote", "header", "root", "sheet", "extract", "chunk"}),
        ("arrow", {"encoding", "delimiter", "quote", "header", "root", "sheet", "extract", "chunk"}),
    ],
)  # fmt: skip
def test_a_key_that_a_format_has_no_use_for_is_misplaced(kind, keys):
    written = {key: KEYS[key][0] for key in KEYS if KEYS[key][1] == {"path", "url"}}
    del written["format"]
    written["extract"] = "text"
    source = Source.model_validate({"path": "a", **written})
    assert set(source.misplaced(kind)) == keys
    assert Source(path="a").misplaced(kind) == []
    assert all(kind not in formats_with(key) for key in keys)


def test_paragraphs_of_a_page_and_its_tables_exclude_each_other():
    assert Source(path="a", chunk="line").misplaced("html") == []
    assert Source(path="a", chunk="line", extract="tables").misplaced("html") == ["chunk"]


@given(st.sampled_from(sorted(KEYS.keys() - {"connection"})), st.sampled_from(KINDS))
def test_a_key_left_out_is_never_misplaced(key: str, kind: FileFormat):
    assert key not in Source(path="a").misplaced(kind)


@pytest.mark.parametrize(
    ("section", "keys", "field"),
    [
        (Prepare, {"deduplicate": "fuzzy"}, "deduplicate"),
        (Prepare, {"similarity": 1}, "similarity"),
        (Prepare, {"similarity": 0.4}, "similarity"),
        (Prepare, {"max_tokens": 7}, "max_tokens"),
        (Prepare, {"pii_regions": ["kr"]}, "pii_regions"),
        (Prepare, {"strip_html": "yes"}, "strip_html"),
        (Source, {"path": "a", "weight": 0}, "weight"),
        (Source, {"path": "a", "weight": 101}, "weight"),
        (Source, {"path": "a", "limit": 0}, "limit"),
        (Source, {"path": "a", "delimiter": ";;"}, "delimiter"),
        (Source, {"path": "a", "where": ["점수 >"]}, "where"),
        (Source, {"path": "a", "format": "xml"}, "format"),
        (Data, {"train": [], "held_out": {"fraction": 0.1}}, "train"),
    ],
)
def test_a_value_out_of_bounds_is_refused_at_its_field(section, keys, field):
    with pytest.raises(ValidationError) as caught:
        section.model_validate(keys)
    assert {problem["loc"][0] for problem in caught.value.errors()} == {field}


def test_held_out_is_a_fraction_or_sources():
    train = [{"path": "a.csv"}]
    fraction = Data.model_validate({"train": train, "held_out": {"fraction": 0.1}}).held_out
    assert fraction == Fraction(fraction=0.1)
    sources = Data.model_validate({"train": train, "held_out": train}).held_out
    assert sources == [Source(path="a.csv")]
