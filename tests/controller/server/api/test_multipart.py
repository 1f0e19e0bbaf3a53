"""A form with a file, however the network cuts it into pieces."""

import hashlib
from itertools import pairwise

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from controller.server.api import multipart
from controller.server.api.errors import ApiError
from controller.server.api.multipart import Form, safe_filename

KIND = "multipart/form-data; boundary=xYzZY"


def part(name, content, filename=None, extra=b""):
    place = f'Content-Disposition: form-data; name="{name}"'
    place += f'; filename="{filename}"' if filename is not None else ""
    return b"--xYzZY\r\n" + extra + place.encode() + b"\r\n\r\n" + content + b"\r\n"


def closed(*parts):
    return b"".join(parts) + b"--xYzZY--\r\n"


def receive(target, body, cuts=(), kind=KIND, limit=1_000_000):
    """Receive a form whose body arrives in pieces, cut at these places."""
    places = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[a:b] for a, b in pairwise(places)]
    left = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    left.append({"type": "http.request", "body": b"", "more_body": False})

    async def next_message():
        return left.pop(0)

    headers = [(b"content-type", kind.encode())] if kind else []
    form = Form(name="file", limit=limit)
    anyio.run(form.receive, Request({"type": "http", "headers": headers}, next_message), target)
    return form


def refused(target, body, **options):
    with pytest.raises(ApiError) as caught:
        receive(target, body, **options)
    return caught.value.status, caught.value.param, caught.value.message


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=300),
        # Bytes that look like the end of the file.
        st.lists(st.sampled_from([b"\r\n", b"--", b"--xYzZY", b"-", b"\r", b"a"])).map(b"".join),
    ).filter(lambda content: b"\r\n--xYzZY" not in b"\r\n" + content + b"\r\n"),
    fields=st.dictionaries(st.sampled_from("abc"), st.text(max_size=20), max_size=3),
    cuts=st.lists(st.integers(1, 600), max_size=12),
    place=st.integers(0, 3),
)
def test_pieces_do_not_matter(tmp_path, monkeypatch, content, fields, cuts, place):
    monkeypatch.setattr(multipart, "FLUSH_BYTES", 7)
    parts = [part(name, value.encode()) for name, value in fields.items()]
    parts.insert(place, part("file", content, "a.jsonl"))
    form = receive(tmp_path / "file", closed(*parts), cuts)
    assert (tmp_path / "file").read_bytes() == content
    assert (form.size, form.sha256.hexdigest()) == (
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    assert (form.fields, form.filename) == (fields, "a.jsonl")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_form_that_ends_early_is_refused_wherever_it_ends(tmp_path, data):
    body = closed(part("purpose", b"batch"), part("file", b"content", "a"))
    end = data.draw(st.integers(0, len(body) - len(b"-\r\n")))
    status, _, message = refused(tmp_path / "file", body[:end])
    assert status == 400
    assert "ends in the middle" in message or "not valid" in message


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (closed(part("purpose", b"batch")), (400, "file")),
        (closed(part("file", b"1", "a"), part("file", b"2", "b")), (400, "file")),
        (closed(part("file", b"x" * 1_000_001, "a")), (413, None)),
        (closed(part("file", b"", "a"), part("b", b"x" * 70_000)), (413, None)),
        (closed(part("file", b"", "a"), *[part("b", b"x" * 30_000)] * 3), (413, None)),
        (b"nonsense", (400, None)),
        (b"", (400, None)),
    ],
)
def test_a_form_that_is_refused(tmp_path, body, expected):
    assert refused(tmp_path / "file", body)[:2] == expected


@pytest.mark.parametrize("kind", [None, "application/json", "multipart/form-data", "multipart/x"])
def test_another_kind_of_body_is_refused(tmp_path, kind):
    status, _, message = refused(tmp_path / "file", closed(part("file", b"x")), kind=kind)
    assert (status, message) == (400, "The body must be multipart/form-data.")
    assert not (tmp_path / "file").exists()


def test_a_file_of_exactly_the_limit_is_accepted(tmp_path):
    assert receive(tmp_path / "file", closed(part("file", b"x" * 10)), limit=10).size == 10
    assert refused(tmp_path / "file", closed(part("file", b"x" * 11)), limit=10)[0] == 413


@pytest.mark.parametrize(
    ("filename", "extra", "expected"),
    [
        (None, b"", "file"),
        ("", b"", "file"),
        ("a.jsonl", b"Content-Type: text/plain\r\n", "a.jsonl"),
        ("dir/a.jsonl", b"X: 1\r\n", "a.jsonl"),
        (None, b'Content-Type: text/plain; filename="other"\r\n', "file"),
    ],
)
def test_the_name_of_the_file(tmp_path, filename, extra, expected):
    form = receive(tmp_path / "file", closed(part("file", b"x", filename, extra)))
    assert form.filename == expected


@given(st.text())
def test_a_safe_filename_is_one_printable_name(filename):
    safe = safe_filename(filename)
    assert 0 < len(safe) <= 255
    assert safe.isprintable()
    assert not set(safe) & set("/\\")
    assert safe_filename(safe) == safe
