"""What a person reads when something other than the API answers, or nothing does."""

import socket
import ssl
import time
from itertools import pairwise

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.openai.api.causes import Way, connection_failure, page_cause, snippet
from backends.openai.api.protocol import OutcomeUnknown, Rejected, clean
from tests.asking import complete
from tests.backends.openai.openai_helpers import MODEL
from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Fault

JOBS = ("GET", "/fine_tuning/jobs")
CREATE = ("POST", "/fine_tuning/jobs")
UPLOAD = ("POST", "/files")
LOGIN = "<html><title>Sign in &amp; go on</title><form><input type='password'></form>"
NGINX = "<html><head><title>413 Request Entity Too Large</title></head><center>nginx</center>"
BLOCKED = "<html><script>var x = '<title>';</script><h1>Access  denied</h1> by policy 17</html>"
PORTAL = "<!DOCTYPE html><title></title><style>p{}</style><p>Welcome to our guest network"


def page(status, body, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(str(status), body=body, headers=named)


FAULTS = {
    "a proxy's 403": (JOBS, page(403, BLOCKED, server="squid/6.1")),
    "a login page with 403": (JOBS, page(403, LOGIN)),
    "a login page with 200": (JOBS, page(200, LOGIN)),
    "a captive portal with 200": (JOBS, page(200, PORTAL)),
    "a proxy's 407": (JOBS, page(407, "<h1>Proxy Authentication Required</h1>")),
    "a proxy's 413": (UPLOAD, page(413, NGINX, server="nginx")),
    "the API's 413": (UPLOAD, Fault("413", body=error_body("The file is too large."))),
    "a gateway's 429": (JOBS, page(429, "<h1>Too Many Requests</h1>", retry_after="500")),
    "a web page's 404": (JOBS, page(404, "<h1>Not Found</h1>")),
    "another API's 404": (JOBS, Fault("404", body={"detail": "Not Found"})),
    "another API's 401": (JOBS, Fault("401", body={"detail": "Invalid token"})),
    "another API's 403": (JOBS, Fault("403", body={"error": "no access"})),
    "a gateway's 502": (JOBS, page(502, "<title>502 Bad Gateway</title>", retry_after="500")),
    "a redirect to a login page": (
        JOBS, page(302, "", location="https://login.example/authorize?state=secret"),
    ),
    "a redirect on the same host": (CREATE, page(301, "", location="/v2/fine_tuning/jobs")),
    "a file sent elsewhere": (UPLOAD, page(307, "", location="https://other.example/files")),
    "an empty answer": (JOBS, Fault("200", body=" ")),
    "a captive portal's 511": (JOBS, page(511, PORTAL)),
    "an error with 200": (JOBS, Fault("200", body='{"error": {"message": "no such key"}}')),
    "a list without objects": (JOBS, Fault("body", body={"object": "list"})),
    "no credit, as 402": (JOBS, Fault("402", body=error_body("Add credits."))),
    "Azure without a training type": (
        CREATE, Fault("400", body=error_body("The SKU is not supported.", "invalidPayload")),
    ),
}  # fmt: skip


def test_each_answer_that_is_not_the_api_s_is_told_from_it(
    server, open_backend, make_request, golden
):
    lines = []
    for name, (where, fault) in FAULTS.items():
        kind = "azure" if name.startswith("Azure") else "openai"
        server.put_fault(*where, *[fault] * 9)
        server.files.clear()
        with pytest.raises(BackendError) as caught:
            open_backend(kind=kind).submit(make_request())
        server.faults.clear()
        lines.append(f"[{name}]\n{caught.value.message}\n    {caught.value.remedy}\n")
        assert not server.jobs

    text = "\n".join(lines).replace(server.url, "http://127.0.0.1:8000/v1")
    assert "secret" not in text
    golden("openai/causes.txt", text)


def test_a_redirect_within_the_host_is_followed_by_what_only_reads(server, open_backend):
    elsewhere = f"{server.url}/fine_tuning/jobs?limit=1"
    server.put_fault(*JOBS, Fault("308", body="", headers={"location": elsewhere}))

    assert open_backend().find_jobs(["ft1:x"]) == {}


def test_training_data_never_follows_a_redirect_to_another_host(server, open_backend, make_request):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.3)
        location = f"http://localhost:{other.getsockname()[1]}/v1/files"
        server.put_fault(*UPLOAD, *[Fault("307", body="", headers={"location": location})] * 9)

        with pytest.raises(BackendError, match="sends requests to another host"):
            open_backend().submit(make_request())

        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.parametrize(
    ("make_url", "said", "remedy"),
    [
        (lambda port: f"https://127.0.0.1:{port}/v1", "no TLS with 127.0.0.1", "Write http://"),
        (lambda _: "http://127.0.0.1:9/v1", "nothing listens at 127.0.0.1:9", "Start the server"),
        (lambda port: f"http://u:pw@127.0.0.1:{port}/x?k=s", "u:pw", None),
    ],
)
def test_connections_that_fail_say_why(server, open_backend, make_url, said, remedy):
    port = server.url.rpartition(":")[2].partition("/")[0]
    with pytest.raises(BackendError) as caught:
        open_backend(url=make_url(port)).find_jobs(["ft1:x"])
    if remedy is None:
        assert said not in f"{caught.value.message}{caught.value.remedy}"
        assert "k=s" not in caught.value.message
        return
    assert said in caught.value.message
    assert remedy in caught.value.remedy


class ConnectError(Exception):
    """Named as the HTTP library names it."""


class ProxyError(Exception):
    """Named as the HTTP library names it."""


class ConnectTimeout(Exception):
    """Named as the HTTP library names it."""


class ReadTimeout(Exception):
    """Named as the HTTP library names it."""


def raised(*errors):
    """Return an exception with the others behind it, the last one first."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def certificate_error():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate in certificate chain"
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    return error


CHAINS = {
    "dns": (raised(ConnectError(), socket.gaierror(-2, "x")), "not known here (DNS)", False, True),
    "refused": (raised(ConnectError(), ConnectionRefusedError()), "nothing listens", False, True),
    "certificate": (
        raised(ConnectError(), certificate_error()), "self-signed certificate", False, False,
    ),
    "tls in flight": (raised(ReadTimeout(), ssl.SSLError(1, "x")), "no TLS with", True, True),
    "proxy": (ProxyError("407"), "the proxy corp:3128", False, True),
    "connect timeout": (ConnectTimeout(), "did not take the connection", False, True),
    "read timeout": (ReadTimeout(), "no answer came in time", True, True),
    "reset": (ConnectionResetError(), "broke off (ConnectionResetError)", True, True),
}  # fmt: skip


@pytest.mark.parametrize(("error", "reason", "sent", "may_pass"), CHAINS.values(), ids=CHAINS)
def test_what_lies_below_the_sdk_is_named(error, reason, sent, may_pass):
    way = Way(url="https://api.example/v1", proxy="corp:3128")

    found = connection_failure(error, way)

    assert reason in found.reason
    assert (found.sent, found.may_pass) == (sent, may_pass)
    assert sent or found.cause.remedy


def test_a_broken_certificate_is_not_waited_for(open_backend, server):
    backend = open_backend(url=server.url.replace("http://", "https://"))
    base = BaseModel(reference=MODEL, revision=None, identity=f"model:{MODEL}")
    started = time.monotonic()
    with pytest.raises(BackendError, match="no TLS"):
        complete(backend, base, [None], [Prompt(messages=[])] * 3, Sampling())
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "키", "sk-\u200bx"])
def test_a_key_that_no_request_can_carry_is_named_by_its_variable(open_backend, key):
    with pytest.raises(BackendError) as caught:
        open_backend(key=key).find_jobs(["ft1:x"])
    assert "the value of OPENAI_API_KEY is not a key" in caught.value.message
    assert key not in f"{caught.value.message}{caught.value.remedy}"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcdefghijklmnop.",
        "upstream said: Authorization: Bearer abcdefgh12345678",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl expired",
    ],
)
def test_keys_that_gateways_repeat_are_not_shown(text):
    shown = clean(text)
    assert "***" in shown
    assert not any(part in shown for part in ("abcdefgh", "eyJ", "c2lnb"))


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (LOGIN, "Sign in & go on"),
        (BLOCKED, "Access denied by policy 17"),
        (PORTAL, "Welcome to our guest network"),
        ("<p>\x1b[31mred\u202e</p>", "[31mred"),
        ("", "it is empty"),
    ],
)
def test_of_a_page_its_title_or_first_words_are_shown(page, said):
    assert snippet(page) == said


def test_long_pages_take_linear_time():
    started = time.monotonic()
    for piece in ("<", "<script>", "<title", "<!--", "&amp;", "</title><title>", "a"):
        text = piece * 300_000
        assert len(snippet(text)) <= 130
        page_cause(403, {}, text, Way(url="https://a.example"))
        clean(text)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("status", "code", "message", "empty"),
    [
        (429, "insufficient_quota", "", True),
        (429, "", "You exceeded your current quota, check your plan", True),
        (429, "rate_limit_exceeded", "Limit reached", False),
        (429, "429", "Requests have exceeded the token rate limit of your current tier.", False),
        (402, "", "Payment required", True),
        (400, "billing_hard_limit_reached", "Billing hard limit has been reached", True),
        (403, "", "no", False),
    ],
)
def test_an_empty_purse_is_told_from_too_many_requests(status, code, message, empty):
    error = Rejected(status, message, code=code)
    assert error.is_purse_empty is empty
    assert error.must_slow_down is (status == 429 and not empty)


def test_unclear_is_not_refused():
    assert not isinstance(OutcomeUnknown("x"), Rejected)
