"""The calls that the actions make of GitHub, at a server that fails in each way a server can."""

import io
import json
import sys
import zipfile

import pytest

from tests.children import ROOT
from tests.servers.answering import answering

sys.path.insert(0, str(ROOT / ".github/actions"))

import api

TOKEN = "ghs_secret"
DROP, HALF = -1, -2
"""Answers that are none: the connection ends before the head, or in the middle of the body."""


class Hub:
    """Gives its answers in turn, and keeps what was asked."""

    def __init__(self, url):
        self.url = url
        self.answers, self.asked = [], []

    def serve(self, http):
        http.rfile.read(int(http.headers.get("content-length") or 0))
        self.asked.append((http.command, http.path, http.headers.get("authorization")))
        given = self.answers.pop(0)
        status, body, headers = given + (b"", {})[len(given) - 1 :]
        if status != DROP:
            http.send_response(200 if status == HALF else status)
            http.send_header("content-length", str(len(body)))
            for name, value in headers.items():
                http.send_header(name, value)
            http.end_headers()
            http.wfile.write(body[: len(body) // 2] if status == HALF else body)
        http.close_connection = True


@pytest.fixture
def hub(monkeypatch):
    """Serve a repository whose answers a test writes; nobody waits between tries."""
    with answering(Hub) as found:
        monkeypatch.setenv("GITHUB_API_URL", found.url)
        monkeypatch.setenv("GITHUB_REPOSITORY", "acme/models")
        monkeypatch.setattr(api.time, "sleep", lambda _s: None)
        yield found


@pytest.mark.parametrize("failure", [(500, b"no"), (429, b"slow"), (DROP,), (HALF, b'{"a": 12}')])
def test_what_may_work_again_is_asked_again(hub, failure):
    hub.answers = [failure, failure, (200, b'{"a": 1}')]
    assert api.GitHub(TOKEN).get("/pulls/7", state="open") == {"a": 1}
    assert hub.asked == [("GET", "/repos/acme/models/pulls/7?state=open", f"Bearer {TOKEN}")] * 3


@pytest.mark.parametrize("failure", [(500, b"no"), (DROP,), (HALF, b'{"id": 12}')])
def test_what_would_be_there_twice_is_sent_once(hub, failure):
    hub.answers = [failure, (201, b'{"id": 1}')]
    with pytest.raises(api.ApiError, match="POST /issues"):
        api.GitHub(TOKEN).send("POST", "/issues", {"title": "Drift"})
    assert len(hub.asked) == 1


@pytest.mark.parametrize(("answer", "said"), [((503, b"busy"), "503 busy"), ((DROP,), "GET /a")])
def test_a_server_that_never_answers_is_given_up(hub, answer, said):
    hub.answers = [answer] * 9
    with pytest.raises(api.ApiError, match=said):
        api.GitHub(TOKEN).get("/a")
    assert len(hub.asked) == api.TRIES


def test_nothing_at_an_address_is_an_answer(hub):
    hub.answers = [(404, b"{}")]
    assert api.GitHub(TOKEN).get("/a") is None


@pytest.mark.parametrize("status", [401, 403, 422])
def test_a_refusal_is_not_asked_again(hub, status):
    hub.answers = [(status, '{"message": "안 됩니다"}'.encode())]
    with pytest.raises(api.ApiError, match="안 됩니다") as caught:
        api.GitHub(TOKEN).get("/a")
    assert caught.value.status == status
    assert len(hub.asked) == 1


def test_a_page_of_a_proxy_is_no_traceback(hub):
    hub.answers = [(200, b"<html>Log in</html>")]
    with pytest.raises(api.ApiError, match="/a: the answer is not JSON"):
        api.GitHub(TOKEN).get("/a")


@pytest.mark.parametrize("count", [0, 1, api.PAGE - 1, api.PAGE, api.PAGE + 1, 2 * api.PAGE])
def test_each_page_of_a_listing_is_read_once(hub, count):
    items = [{"id": number} for number in range(count)]
    pages = [items[at : at + api.PAGE] for at in range(0, count + 1, api.PAGE)]
    hub.answers = [(200, json.dumps({"jobs": page}).encode()) for page in pages]
    assert list(api.GitHub(TOKEN).pages("/jobs", "jobs")) == items
    assert len(hub.asked) == len(pages)


def archive(**files):
    """Return the bytes of a zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archived:
        for name, text in files.items():
            archived.writestr(name, text)
    return packed.getvalue()


def listed(*ids, expired=False):
    """Return the listing of a run's artifacts."""
    found = [{"id": number, "name": "plan", "expired": expired} for number in ids]
    return (200, json.dumps({"artifacts": found}).encode())


def test_an_artifact_is_fetched_from_where_it_lies_without_the_token(hub):
    elsewhere = {"location": f"{hub.url}/blob?sig=1"}
    hub.answers = [listed(3, 9, 4), (302, b"", elsewhere), (200, archive(plan="계획"))]
    assert api.GitHub(TOKEN).artifact(5, "plan", 1000) == {"plan": "계획".encode()}
    (_, _, _), (_, asked, _), (_, fetched, login) = hub.asked
    assert asked == "/repos/acme/models/actions/artifacts/9/zip"
    assert (fetched, login) == ("/blob?sig=1", None)


@pytest.mark.parametrize("failure", [(500, b"no"), (DROP,), (HALF, archive(plan="계획"))])
def test_a_store_of_artifacts_that_fails_once_is_asked_again(hub, failure):
    moved = (302, b"", {"location": f"{hub.url}/blob"})
    hub.answers = [listed(3), moved, failure, moved, (200, archive(plan="x"))]
    assert api.GitHub(TOKEN).artifact(5, "plan", 1000) == {"plan": b"x"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "the artifact plan of run 5 is damaged"),
        (b"no archive", "the artifact plan of run 5 is damaged"),
        (archive(plan="x" * 400)[:-40], "the artifact plan of run 5 is damaged"),
        (archive(plan="x" * 400).replace(b"plan", b"pl\x00n", 1), "is damaged"),
        (archive(plan="x" * 2000), "plan in plan has more than 1000 bytes"),
        (bytes(1001), "the answer has more than 1000 bytes"),
    ],
    ids=["empty", "no archive", "cut", "two names", "large inside", "large"],
)
def test_an_artifact_is_data_that_may_be_anything(hub, raw, said):
    hub.answers = [listed(3), (200, raw)]
    with pytest.raises(api.ApiError, match=said):
        api.GitHub(TOKEN).artifact(5, "plan", 1000)


def test_an_artifact_that_expired_is_none(hub):
    hub.answers = [listed(3, expired=True)]
    assert api.GitHub(TOKEN).artifact(5, "plan", 1000) == {}
