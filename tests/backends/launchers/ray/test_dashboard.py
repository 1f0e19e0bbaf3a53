"""Answers that are none: what happened, and what to do, within the time, without the token."""

import time

import pytest

from backends.launchers.launcher import LauncherError
from tests.backends.launchers.ray.conftest import launcher_of
from tests.servers import ray_head

TOKEN = "ray-secret-0123456789"
LIST = "GET /api/jobs/"


def failure(launcher):
    with pytest.raises(LauncherError) as caught:
        launcher.find(["ftctl-a"])
    assert TOKEN not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("token", "words", "remedy"),
    [
        (None, r"wants a token \(HTTP 401: Unauthorized: Missing", "token_env"),
        ("wrong-token", r"refuses the token \(HTTP 403: Forbidden: Invalid", "Set RAY_TOKEN"),
    ],
)
def test_a_cluster_that_wants_a_token(head, token, words, remedy):
    head.token = TOKEN
    settings = {"token_env": "RAY_TOKEN"} if token else {}
    launcher = launcher_of(head, {"RAY_TOKEN": token or ""}, **settings)

    with pytest.raises(LauncherError, match=words) as caught:
        launcher.find(["ftctl-a"])
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, f"no {TOKEN}", r"wants another token \(HTTP 401: no \*\*\*\)"),
        (403, "<html><title>Login</title>", r"refuses the token \(HTTP 403: Login\)"),
        (404, "404: Not Found", "does not have what is asked for"),
        (407, "", r"proxy that wants a password \(HTTP 407\)"),
        (413, "too large", "takes no request of this size"),
        (429, "slow down", "has too many requests"),
        (
            500,
            "Traceback (most recent call last):\n  File x\nKeyError: 'a'\n.",
            "HTTP 500: KeyError: 'a'",
        ),
        (
            502,
            "<html>\n<body><h1>Bad\n gateway</h1>",
            r"a web page at .* fails \(HTTP 502: Bad gateway\)",
        ),
        (503, "starting", r"fails \(HTTP 503: starting\)"),
        (799, "odd", r"fails \(HTTP 799: odd\)"),
        (200, "<html><title>Sign in</title>", "a web page answers at .*: Sign in"),
        (200, "hello", "something else answers at .*: hello"),
        (200, "", "something else answers at .*: it is empty"),
        (200, '{"jobs": []}', "something else answers at"),
        (200, "[" * 100_000, "something else answers at"),
    ],
)
def test_answers_in_words(head, status, body, words):
    launcher = launcher_of(head, {"RAY_TOKEN": TOKEN}, token_env="RAY_TOKEN")
    head.fail(LIST, ray_head.answers(status, body))

    error = failure(launcher)

    with pytest.raises(LauncherError, match=words):
        raise error
    assert error.remedy


def test_a_redirect_is_not_followed_and_takes_no_token_along(head, tmp_path):
    launcher = launcher_of(head, {"RAY_TOKEN": TOKEN}, token_env="RAY_TOKEN")
    with ray_head.RayHead(tmp_path / "other") as other:
        head.fail(LIST, ray_head.redirects(f"{other.url}/login?next=secret"))

        error = failure(launcher)

        assert other.requests == []
        assert f"sends requests elsewhere: {other.url}/login" in error.message
        assert "next=secret" not in error.message


@pytest.mark.parametrize("in_headers", [False, True])
def test_an_answer_that_comes_drop_by_drop_is_broken_off(head, in_headers):
    launcher = launcher_of(head, timeout_s=0.5)
    head.fail(LIST, ray_head.drips(after_work=False, in_headers=in_headers))

    started = time.monotonic()
    error = failure(launcher)

    assert time.monotonic() - started < 3
    assert "gives no complete answer within 0.5 s" in error.message


def test_a_connection_that_breaks_off(head, launcher):
    head.fail(LIST, ray_head.resets(after_work=False))

    assert "breaks the connection off" in failure(launcher).message


def test_an_answer_without_end_is_not_read(head, launcher):
    head.fail(LIST, ray_head.endless(100 << 20))

    assert "answers with more than 64 MB" in failure(launcher).message


def test_a_list_of_a_thousand_jobs_is_read_at_once(head, launcher):
    head.others += [
        {
            "submission_id": f"ftctl-cafe-{number:012}",
            "status": "FAILED",
            "message": "x" * 20_000,
            "metadata": {"comment": "ftctl a"},
        }
        for number in range(1000)
    ]

    started = time.monotonic()
    found = launcher.find([f"ftctl-cafe-{number:012}" for number in range(1000)])

    assert len(found) == 1000
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:1", "nothing listens there"),
        ("http://no-such-host.invalid:8265", "its name is not known here"),
    ],
)
def test_a_cluster_that_cannot_be_reached(address, words, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    class Nowhere:
        url = address

    assert words in failure(launcher_of(Nowhere)).message


def test_plain_http_where_tls_is_expected(head):
    class Secure:
        url = head.url.replace("http://", "https://")

    assert "speaks no TLS there" in failure(launcher_of(Secure)).message


def test_a_proxy_is_used_for_other_hosts_and_never_for_this_machine(head, monkeypatch):
    monkeypatch.setenv("http_proxy", head.url.replace("http://", "http://me:pass@"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    class Behind:
        url = "http://head.invalid:8265"

    seen = []
    head.fail(
        "GET ",
        lambda handler, _: bool(
            seen.append((handler.path, handler.headers["proxy-authorization"]))
        ),
    )
    launcher_of(Behind).capacity()

    assert seen[0][0].startswith("http://head.invalid:8265/api/v0/nodes")
    assert seen[0][1] == "Basic bWU6cGFzcw=="
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert launcher_of(head).find(["ftctl-a"]) == {}
