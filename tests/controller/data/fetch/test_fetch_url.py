"""Objects in stores as sources: over HTTP on loopback, and in a store that fsspec opens."""

import gzip
import http.server
import os
import threading
from pathlib import Path

import fsspec
import pytest

from controller.data.errors import DataError, SourceUnavailable
from controller.data.fetch import fetch
from controller.data.fetch.snapshot import FetchRequest
from controller.spec.data import Source

CSV = "질문,답\n주말에도 문 여나요?,네\n".encode()
SECRET = "s3cret-signature"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("if-none-match")))
        path = self.path.partition("?")[0]
        status, headers, body, length = self.server.pages.get(path, (404, {}, b"", None))
        if headers.get("ETag", "-") == self.headers.get("if-none-match"):
            status, body, length = 304, b"", None
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.pages, serving.asked = {}, []
        serving.url = f"http://127.0.0.1:{serving.server_port}"
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join(10)


@pytest.fixture
def ask(tmp_path: Path):
    def ask_url(url: str, **source):
        return fetch(
            FetchRequest(
                source=Source(url=url, **source),
                root=tmp_path,
                snapshots=tmp_path / "snapshots",
                environment={},
            )
        )

    return ask_url


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("snapshots/*") if path.is_file()]


@pytest.mark.parametrize(
    ("path", "source", "kind", "endings"),
    [
        ("/faq.csv", {}, "csv", ".csv"),
        ("/자료/faq.CSV", {}, "csv", ".csv"),
        ("/faq.csv.gz", {}, "csv", ".csv.gz"),
        ("/faq.csv?download=1", {}, "csv", ".csv"),
        ("/export", {"format": "csv"}, "csv", ".csv"),
        ("/export.gz", {"format": "csv"}, "csv", ".csv.gz"),
        ("/v1.2/export.php", {"format": "jsonl"}, "jsonl", ".jsonl"),
        ("/faq.txt", {"format": "tsv"}, "tsv", ".tsv"),
        ("/faq.xlsx", {}, "excel", ".xlsx"),
    ],
)
def test_an_object_keeps_its_bytes_and_its_endings(server, ask, path, source, kind, endings):
    body = gzip.compress(CSV) if ".gz" in path else CSV
    quote = path.partition("?")[0].replace("자료", "%EC%9E%90%EB%A3%8C")
    server.pages[quote] = (200, {}, body, None)
    fetched = ask(server.url + path, **source)
    assert fetched.path.read_bytes() == body
    assert fetched.format == kind
    assert fetched.path.name.endswith(endings)
    assert fetched.path.name.count(".") == endings.count(".")
    assert fetched.display_path == server.url + path.partition("?")[0]


def test_what_the_server_says_is_unchanged_is_not_sent_again(server, ask):
    server.pages["/a.csv"] = (200, {"ETag": '"1"'}, CSV, None)
    first = ask(f"{server.url}/a.csv").path
    written = first.stat().st_ctime_ns
    assert ask(f"{server.url}/a.csv").path == first
    assert [asked for _, asked in server.asked] == [None, '"1"']
    assert first.stat().st_ctime_ns == written

    server.pages["/a.csv"] = (200, {"ETag": '"2"'}, CSV + b"a,b\n", None)
    assert ask(f"{server.url}/a.csv").path.read_bytes() == CSV + b"a,b\n"


def test_a_snapshot_that_was_damaged_is_sent_again(server, ask):
    server.pages["/a.csv"] = (200, {"ETag": '"1"'}, CSV, None)
    first = ask(f"{server.url}/a.csv").path
    first.write_bytes(b"x" * len(CSV))
    assert ask(f"{server.url}/a.csv").path.read_bytes() == CSV
    os.utime(first)
    assert ask(f"{server.url}/a.csv").path == first
    assert [asked for _, asked in server.asked] == [None, None, '"1"']


def test_a_redirect_is_followed(server, ask):
    server.pages["/a.csv"] = (302, {"Location": "/b"}, b"", None)
    server.pages["/b"] = (200, {}, CSV, None)
    assert ask(f"{server.url}/a.csv").path.read_bytes() == CSV


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((404, {}, b"", None), DataError, "the server answers 404 Not Found"),
        ((410, {}, b"", None), DataError, "the server answers 410 Gone"),
        ((401, {}, b"", None), SourceUnavailable, "the server answers 401 Unauthorized"),
        ((403, {}, b"", None), SourceUnavailable, "the server answers 403 Forbidden"),
        ((429, {}, b"", None), SourceUnavailable, "the server answers 429 Too Many Requests"),
        ((503, {}, b"", None), SourceUnavailable, "the server answers 503 Service Unavailable"),
        ((304, {}, b"", None), DataError, "the server answers 304 Not Modified"),
        ((200, {}, CSV, 10_000), SourceUnavailable, "cannot be read: peer closed connection"),
        ((302, {"Location": "/a.csv"}, b"", None), DataError, "more than 10 redirects"),
        ((302, {"Location": "file:///etc/hostname"}, b"", None), SourceUnavailable, "cannot be read: "),
        ((200, {"Content-Type": "text/html"}, b"<html>", None), DataError, "the server sends a web page, not csv"),
    ],
)  # fmt: skip
def test_what_a_server_refuses_is_said_without_the_signature(
    server, ask, tmp_path, answer, kind, message
):
    server.pages["/a.csv"] = answer
    with pytest.raises(kind) as caught:
        ask(f"{server.url}/a.csv?X-Amz-Signature={SECRET}")
    assert caught.value.message.startswith(f"{server.url}/a.csv")
    assert message in caught.value.message
    assert caught.value.remedy
    assert SECRET not in caught.value.message + caught.value.remedy
    assert left(tmp_path) == []


def test_a_signature_is_nowhere_in_the_state_folder(server, ask, tmp_path):
    server.pages["/a.csv"] = (200, {"ETag": '"1"'}, CSV, None)
    ask(f"{server.url}/a.csv?X-Amz-Signature={SECRET}")
    for path in tmp_path.rglob("*"):
        assert SECRET not in path.name
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("/etc/passwd.csv", DataError, "`url` is a path"),
        ("data/a.csv", DataError, "`url` is a path"),
        ("file:///etc/passwd.csv", DataError, "`url` is file:"),
        ("local://etc/passwd.csv", DataError, "`url` is local:"),
        ("git://repo/a.csv", DataError, "`url` is git:"),
        ("nosuch://a/b.csv", DataError, "`url` is nosuch:"),
        ("reference://a/b.csv", DataError, "`url` is reference:"),
        ("zip://a.csv::file:///etc/x.zip", DataError, "`url` must be one address"),
        ("simplecache::s3://b/a.csv", DataError, "`url` must be one address"),
        (f"https://me:{SECRET}@example.com/a.csv", DataError, "`url` holds a login"),
        ("https:///a.csv", DataError, "`url` names no server"),
        ("https://[::1/a.csv", DataError, "`url` must be one address"),
        ("https://[1/a.csv", DataError, "`url` is not an address"),
        ("https://example.com/a.exe", DataError, "'a.exe' has no known ending"),
        ("https://example.com/", DataError, "'' has no known ending"),
        (
            "http://127.0.0.1:1/a.csv",
            SourceUnavailable,
            "http://127.0.0.1:1/a.csv cannot be read: ",
        ),
        (
            "https://nowhere.invalid/a.csv",
            SourceUnavailable,
            "https://nowhere.invalid/a.csv cannot be read: ",
        ),
        ("oss://bucket/a.csv", SourceUnavailable, "oss:// needs the package ossfs"),
        ("memory://bucket/none.csv", DataError, "there is no object memory://bucket/none.csv"),
    ],
)
def test_a_url_that_leads_nowhere_is_said(ask, tmp_path, url, kind, message):
    with pytest.raises(kind) as caught:
        ask(url)
    assert caught.value.message.startswith(message)
    assert caught.value.remedy
    assert SECRET not in caught.value.message
    assert left(tmp_path) == []


def test_a_store_is_read_again_only_when_it_changed(ask):
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/질문.csv", CSV)
    try:
        first = ask("memory://bucket/질문.csv")
        assert first.path.read_bytes() == CSV
        assert first.display_path == "memory://bucket/질문.csv"
        # Other bytes behind the store's back: whoever read them would notice.
        store.store["/bucket/질문.csv"].getbuffer()[:] = b"x" * len(CSV)
        assert ask("memory://bucket/질문.csv") == first
        store.pipe("/bucket/질문.csv", CSV * 2)
        assert ask("memory://bucket/질문.csv").path.read_bytes() == CSV * 2
    finally:
        store.rm("/bucket", recursive=True)
