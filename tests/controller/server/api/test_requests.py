"""Bodies and pages of requests."""

import re
from typing import Literal

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from controller.server.api.errors import ApiError
from controller.server.api.requests import Body, ExactBody, page, read_body, validated
from controller.server.record_store import Record


class Inner(ExactBody):
    size: int


class Given(Body):
    name: str
    kind: Literal["first", "second"] = "first"
    inner: Inner | None = None


class Exact(ExactBody):
    suffix: str | None = None


def records(count):
    return [Record(id=f"r-{number}", created_s=number) for number in range(count)]


def get(query=""):
    return Request({"type": "http", "headers": [], "query_string": query.encode()})


def send(*pieces, length=None):
    """Return a request with a body in pieces."""
    left = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    left.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return left.pop(0)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "headers": headers}, receive)


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", ["r-0", "r-1"], True),
        ("limit=1", ["r-0"], True),
        ("limit=5", ["r-0", "r-1", "r-2", "r-3", "r-4"], False),
        ("limit=4", ["r-0", "r-1", "r-2", "r-3"], True),
        ("limit=007", ["r-0", "r-1", "r-2", "r-3", "r-4"], False),
        ("after=r-0", ["r-1", "r-2"], True),
        ("after=r-2", ["r-3", "r-4"], False),
        ("after=r-4", [], False),
        ("after=", ["r-0", "r-1"], True),
        ("after=r-1&limit=9", ["r-2", "r-3", "r-4"], False),
    ],
)
def test_a_page(query, ids, more):
    shown, has_more = page(records(5), get(query), default=2, most=9)
    assert ([record.id for record in shown], has_more) == (ids, more)


@given(count=st.integers(0, 30), limit=st.integers(1, 10))
def test_pages_show_every_item_once(count, limit):
    items, seen, more, after = records(count), [], True, ""
    while more:
        shown, more = page(items, get(f"limit={limit}&after={after}"), default=1, most=10)
        assert len(shown) == limit or not more
        seen += shown
        after = shown[-1].id if shown else after
    assert seen == items


@pytest.mark.parametrize(
    "limit", ["0", "10", "-1", "+1", "1.0", "x", "", " 1", "1_0", "٣", "1" * 10, "1" * 5_000]
)
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(ApiError, match="'limit' must be a whole number from 1 to 9") as caught:
        page(records(3), get(f"limit={limit}"), default=2, most=9)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "limit")


@pytest.mark.parametrize("after", ["r-9", "R-1", "x" * 1_000])
def test_an_unknown_cursor_is_refused(after):
    with pytest.raises(ApiError, match="No item in this list has the ID") as caught:
        page(records(3), get(f"after={after}"), default=2, most=9)
    assert caught.value.param == "after"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("model", "value", "code", "param", "said"),
    [
        (Given, {}, "missing_required_parameter", "name", "Missing required parameter: 'name'."),
        (Given, {"name": 1}, "invalid_value", "name", "must be text, not 1"),
        (Given, {"name": "a", "kind": "secnod"}, "invalid_value", "kind", "Did you mean `second`?"),
        (Given, {"name": "a", "inner": {}}, "missing_required_parameter", "inner.size", ""),
        (
            Given,
            {"name": "a", "inner": {"size": "1"}},
            "invalid_value",
            "inner.size",
            "must be a whole number, not the text '1'",
        ),
        (
            Given,
            {"name": "a", "inner": {"size": 1, "sise": 2}},
            "unknown_parameter",
            "inner.sise",
            "Did you mean `size`?",
        ),
        (Exact, {"sufix": "x"}, "unknown_parameter", "sufix", "Did you mean `suffix`?"),
        (Exact, [], "invalid_value", "", "must be a mapping"),
        (Exact, None, "invalid_value", "", "must be a mapping"),
    ],
)
def test_what_is_wrong_is_named(model, value, code, param, said):
    with pytest.raises(ApiError) as caught:
        validated(model, value)
    error = caught.value
    assert (error.status, error.code, error.param) == (400, code, param)
    assert said in error.message
    assert re.search(r"[^.?][.?]$", error.message)


def test_unknown_keys_are_ignored_where_the_protocol_may_grow():
    assert validated(Given, {"name": "a", "new": 1}) == Given(name="a")


@pytest.mark.parametrize(
    "pieces", [[b'{"name": "\xea', b'\xb0\x80"}'], [b'{"name":', b' "\\uac00"}']]
)
def test_a_body_in_pieces(pieces):
    assert anyio.run(read_body, send(*pieces), Given, 100).name == "가"


def test_no_body_is_an_empty_object():
    assert anyio.run(read_body, send(), Exact, 100) == Exact()


@pytest.mark.parametrize("body", [b"{", b"nope", b"\xff", b"[" * 100_000, b'{"name": "\\ud800"}'])
def test_what_is_not_json_is_refused(body):
    with pytest.raises(ApiError, match="Could not parse the JSON body") as caught:
        anyio.run(read_body, send(body), Given, 1 << 20)
    assert (caught.value.status, caught.value.code) == (400, None)


@pytest.mark.parametrize(
    ("pieces", "length", "limit", "fits"),
    [
        ([b'{"name": "a"}'], 13, 13, True),
        ([b'{"name": "a"}'], 13, 12, False),
        ([b'{"name"', b': "a"}'], None, 13, True),
        ([b'{"name"', b': "a"}'], None, 12, False),
        # Refused before a byte of it is read.
        ([], 1_000, 12, False),
    ],
)
def test_a_body_has_a_limit_with_and_without_its_length(pieces, length, limit, fits):
    request = send(*pieces, length=length)
    if fits:
        assert anyio.run(read_body, request, Given, limit).name == "a"
        return
    with pytest.raises(ApiError, match=f"is longer than {limit} bytes") as caught:
        anyio.run(read_body, request, Given, limit)
    assert caught.value.status == 413
