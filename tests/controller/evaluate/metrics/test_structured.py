"""Metrics of JSON and of tool calls; JSON Schema against the library `jsonschema`."""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.completions import Completion
from controller.errors import FtctlError
from controller.evaluate.answers import Answer, Call
from controller.evaluate.metric import AnsweredExample
from controller.evaluate.metrics import metric_called

BOOK = Call(name="book", arguments='{"day":"월요일"}')
TUESDAY = Call(name="book", arguments='{"day":"화요일"}')
CANCEL = Call(name="cancel", arguments='{"day":"월요일"}')


def values(name: str, pairs, **settings) -> list[float | None]:
    """Return a value for each pair of an expected and a given answer; a text is an answer too."""
    metric = metric_called(name)
    examples = [
        AnsweredExample(
            expected=answer(expected),
            given=answer(given_one),
            completion=Completion(text="", finish_reason="stop"),
        )
        for expected, given_one in pairs
    ]
    return [metric.value(one) for one in metric.tally(metric.settings(**settings), examples)]


def answer(written) -> Answer:
    if isinstance(written, Call):
        written = [written]
    return Answer(text=written) if isinstance(written, str) else Answer(text="", calls=(*written,))


@pytest.mark.parametrize(
    ("text", "is_json"),
    [
        ('{"이름": "카페"}', True),
        (" [1, 2.5, null, true]\n", True),
        ('"네"', True),
        ("12", True),
        ("", False),
        ("네", False),
        ('{"a": 1,}', False),
        ("{'a': 1}", False),
        ('{"a": NaN}', False),
        ("[Infinity]", False),
        ('```json\n{"a": 1}\n```', False),
        ('답: {"a": 1}', False),
        ('{"a": 1', False),
        ("[" * 100_000, False),
        ("9" * 5_000, False),
    ],
)
def test_an_answer_is_json_and_nothing_else(text, is_json):
    assert values("json_valid", [("", text)]) == [is_json]


@pytest.mark.parametrize(
    ("given_one", "is_right"),
    [
        (BOOK, True),
        (Call(name="book", arguments='{"day": '), False),
        ([BOOK, Call(name="x", arguments="네")], False),
        ("{}", False),
    ],
)
def test_where_a_call_is_expected_its_arguments_are_json(given_one, is_right):
    assert values("json_valid", [(BOOK, given_one)]) == [is_right]


ORDER = {
    "type": "object",
    "properties": {
        "menu": {"type": "string", "minLength": 1},
        "count": {"type": "integer", "minimum": 1},
        "size": {"enum": ["S", "M", "L"]},
        "phone": {"type": "string", "pattern": "^0[0-9]{1,2}-[0-9]{3,4}-[0-9]{4}$"},
        "more": {"$ref": "#/$defs/more"},
    },
    "required": ["menu", "count"],
    "additionalProperties": False,
    "$defs": {"more": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}},
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats(0, 2)
    | st.sampled_from(["", "S", "네"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*ORDER["properties"], "other"]), inner, max_size=4)
    ),
    max_leaves=6,
)
NEARLY = st.fixed_dictionaries(
    {"menu": st.sampled_from(["라떼", ""]), "count": st.sampled_from([1, 2.0, 1.5, 0, "1", True])},
    optional={
        "size": st.sampled_from(["S", "XL"]),
        "phone": st.sampled_from(["010-1234-5678", "네"]),
        "more": st.lists(st.sampled_from(["시럽", "샷", 1]), max_size=3),
        "other": VALUES,
    },
)


@settings(deadline=None)
@given(VALUES | NEARLY)
def test_json_schema_is_that_of_the_library_jsonschema(value):
    text = json.dumps(value, ensure_ascii=False)
    expected = jsonschema.Draft202012Validator(ORDER).is_valid(json.loads(text))
    assert values("json_schema", [("", text)], inline=ORDER) == [expected]


def test_what_is_not_json_has_no_form():
    pairs = [("", "네"), ("", ""), ("", '{"menu": "라떼", "count": 1} 드릴게요'), (BOOK, BOOK)]
    assert values("json_schema", pairs, inline=ORDER) == [False, False, False, None]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, 'not a JSON Schema: "objekt" is not valid'),
        ({"properties": 3}, 'not a JSON Schema: 3 is not of type "object"'),
        ({"pattern": "["}, "not a JSON Schema: "),
        ({"$ref": "https://example.com/order.json"}, "not a JSON Schema: "),
        ({"$ref": "#/$defs/absent"}, "not a JSON Schema: "),
    ],
)
def test_a_schema_that_is_wrong_or_elsewhere_is_refused(schema, message: str):
    metric = metric_called("json_schema")
    with pytest.raises(FtctlError) as caught:
        metric.require_ready(metric.settings(inline=schema))
    assert caught.value.message.startswith(message)
    metric.require_ready(metric.settings(inline=ORDER))


def test_a_pattern_that_takes_for_ever_is_given_up():
    schema = {"type": "string", "pattern": r"^(a+)+\1$"}
    text = json.dumps("a" * 40 + "b")
    assert values("json_schema", [("", text)], inline=schema) == [False]


EXPECTED = '{"total": 4500, "items": [{"name": "라떼", "price": 4500.0}], "note": null, "a.b": 1}'


@pytest.mark.parametrize(
    ("field", "given_text", "is_right"),
    [
        ("total", '{"total": 4500.0}', True),
        ("total", '{"total": "4500"}', False),
        ("total", '{"total": 4501}', False),
        ("total", "{}", False),
        ("total", "4500", False),
        ("total", "total: 4500", False),
        ("total", "", False),
        ("items", '{"items": [{"price": 4500, "name": "라떼"}]}', True),
        ("items.0.name", '{"items": [{"name": "라떼"}, {"name": "차"}]}', True),
        ("items.0.name", '{"items": [{"name": "차"}]}', False),
        ("items.0.name", '{"items": []}', False),
        ("items.1.name", '{"items": []}', True),
        ("note", '{"note": null}', True),
        ("note", "{}", False),
        ("tip", "{}", True),
        ("tip", '{"tip": 0}', False),
        ("a.b", '{"a.b": 1}', True),
        ("a.b", '{"a": {"b": 1}}', True),
        ("total", '{"total": 1e999}', False),
    ],
)
def test_a_field_has_the_expected_value(field, given_text, is_right):
    assert values("json_field", [(EXPECTED, given_text)], field=field) == [is_right]


def test_a_field_is_compared_only_where_json_is_expected():
    assert values("json_field", [("네", "{}"), (BOOK, "{}")], field="a") == [None, None]
    metric = metric_called("json_field")
    chosen = metric.settings(field="a")
    assert metric.misfit(chosen, [Answer(text="{}"), answer(BOOK)]) is None
    misfit = metric.misfit(chosen, [Answer(text="{}"), Answer(text="네")])
    assert (misfit.place, misfit.message) == (1, "needs JSON in every expected answer")


@pytest.mark.parametrize(
    ("expected", "given_one", "right_calls", "right_names", "right_arguments"),
    [
        (BOOK, BOOK, True, True, True),
        (BOOK, TUESDAY, False, True, False),
        (BOOK, CANCEL, False, False, None),
        (BOOK, "예약할게요.", False, False, None),
        (BOOK, [BOOK, BOOK], False, False, None),
        ([BOOK, CANCEL], [BOOK, CANCEL], True, True, True),
        ([BOOK, CANCEL], [TUESDAY, CANCEL], False, True, False),
        ("네", "아니요", True, True, None),
        ("네", BOOK, False, False, None),
    ],
)
def test_calls_are_right_in_names_and_arguments(
    expected, given_one, right_calls, right_names, right_arguments
):
    pair = [(expected, given_one)]
    assert values("tool_calls", pair) == [right_calls]
    assert values("tool_names", pair) == [right_names]
    assert values("tool_arguments", pair) == [right_arguments]


@pytest.mark.parametrize("name", ["tool_calls", "tool_names", "tool_arguments"])
def test_calls_are_measured_only_where_some_are_expected(name: str):
    metric = metric_called(name)
    assert metric.misfit(metric.settings(), [answer("네"), answer(BOOK)]) is None
    misfit = metric.misfit(metric.settings(), [answer("네")])
    assert misfit.message == "needs tool calls, and no held-out example expects one"
    assert misfit.place is None
