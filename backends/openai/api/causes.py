"""Causes of failed requests: the server is unreachable, or another program answered. Pure.

The status alone is ambiguous: a 403 may come from the API, from a firewall, or from a login page in
front of it. So this module inspects the body, the headers and the exception behind a failure.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from http import HTTPStatus
from typing import Final

from backends.openai.api.endpoints import host_of, split_url
from backends.openai.api.protocol import NOT_THE_API, Cause, OutcomeUnknown, clean

_LOOKED_AT: Final = 20_000
"""Maximum number of characters of a page to inspect."""
_SNIPPET: Final = 120
_LOGIN: Final = (
    'type="password"',
    "sign in",
    "log in",
    "login",
    "single sign-on",
    "saml",
    "로그인",
)
_TAGS: Final = re.compile(r"<[^<>]*>")
_UNSEEN: Final = re.compile(r"<(script|style)\b.*?(?=</\1|\Z)", re.IGNORECASE | re.DOTALL)
"""A script or style; without an end mark, up to the end of the page."""
_NO_SUCH_ADDRESS: Final = frozenset({404, 405, 410, 501})
NETWORK_LOGIN: Final = 511
"""Status from networks that require a login first. It never comes from the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way to a server."""

    url: str
    """The base URL, without secrets."""
    proxy: str | None = None
    """Host and port of the proxy in between, where the environment names a proxy."""

    @property
    def host(self) -> str:
        """The server's host."""
        return host_of(self.url) or self.url


def is_page(content_type: str, text: str) -> bool:
    """Return True if an answer is a page for browsers. JSON is not a page, even as text/html."""
    start = text[:200].lstrip("\ufeff \t\r\n")[:1]
    return start == "<" or ("html" in content_type.lower() and start not in {"{", "["})


def snippet(text: str) -> str:
    """Return the beginning of a page's text on one line: its title, or its first words."""
    page = text[:_LOOKED_AT]
    lower = page.lower()
    start, end = lower.find("<title"), lower.find("</title")
    if 0 <= start < end:
        title = page[page.find(">", start) + 1 : end]
        if title.strip():
            return _short(title)
    return _short(_TAGS.sub(" ", _UNSEEN.sub(" ", page))) or "it is empty"


def page_cause(status: int, headers: Mapping[str, str], text: str, way: Way) -> Cause:
    """Return the cause of a page that came instead of the API's answer.

    Args:
        status: The page's HTTP status.
        headers: The page's headers, which often name the program that answered.
        text: The page.
        way: The way to the server.
    """
    through = f" through the proxy {way.proxy}" if way.proxy else ""
    product = clean(headers.get("server") or headers.get("via") or "")[:40]
    by = f" ({product})" if product else ""
    page = text[:_LOOKED_AT].lower()
    if status in _NO_SUCH_ADDRESS:
        return NOT_THE_API
    causes = (
        (
            status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
            f"is behind a proxy that wants a password{through and f', {way.proxy}'}",
            "Put it into HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
        ),
        (
            status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"is behind a proxy{by} that lets no body of this size through",
            (
                "Have its limit raised (nginx: `client_max_body_size`), use an address without it, or "
                "train on fewer examples."
            ),
        ),
        (
            status == NETWORK_LOGIN or any(mark in page for mark in _LOGIN),
            f"is hidden by a login page{by}",
            (
                "Log in to this network or gateway, or use an address that takes a key. The page does "
                "not come from the API: the key may be right."
            ),
        ),
        (
            status == HTTPStatus.TOO_MANY_REQUESTS,
            f"is behind a gateway{by} that received too many requests",
            "Wait a few minutes and run the same command again.",
        ),
        (
            status in {401, 403, 451},
            f"is behind a firewall or proxy{by} that blocks the request",
            (
                f"Ask who runs this network, or the gateway, to let requests to {way.host} through; "
                "the page comes from there, not from the API, so the key may be right."
            ),
        ),
        (
            True,
            f"does not speak the OpenAI API there: a web page{by} answered{through}",
            (
                "Check `base_url`: it usually ends in /v1. If it is right, this network answers in the "
                "server's place: open any web page in a browser and log in."
            ),
        ),
    )
    return next(Cause(what=what, remedy=remedy) for fits, what, remedy in causes if fits)


def redirect_cause(way: Way, location: str) -> Cause:
    """Return the cause of a redirect that came instead of an answer."""
    parts = split_url(location)
    place = clean(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")[:_SNIPPET]
    if parts.hostname == way.host:
        return Cause(
            what=f"moves what is asked to {place}",
            remedy="Write that address in `base_url`, up to the part that ends in /v1.",
        )
    return Cause(
        what=f"sends requests to another host, {place}",
        remedy=(
            "If that is a login page, log in to this network or gateway; if the server has moved, "
            "write its address in `base_url`."
        ),
    )


def connection_failure(error: BaseException, way: Way) -> OutcomeUnknown:
    """Return the meaning of an exception below the SDK.

    Args:
        error: The SDK's exception; its causes are chained to it.
        way: The way to the server.
    """
    chain = list(_chain(error))
    names = [type(link).__name__ for link in chain]
    for link in chain:
        if isinstance(link, ssl.SSLError):
            # Nothing is sent before the handshake ends; after it, a request may have been sent.
            return _tls_failure(link, way, sent="ConnectError" not in names)
    seen = next((name for name in names if name not in _WRAPPERS), names[-1])
    for marks, reason, remedy in _unreachable(way, seen):
        if marks & set(names):
            cause = Cause(what="cannot be reached", remedy=remedy)
            return OutcomeUnknown(reason, cause=cause, sent=False)
    if any(name.endswith("Timeout") or name == "APITimeoutError" for name in names):
        return OutcomeUnknown("no answer came in time")
    return OutcomeUnknown(f"the connection broke off ({seen})")


def _unreachable(way: Way, seen: str) -> Iterator[tuple[set[str], str, str]]:
    """Yield names of exceptions before which no request was sent, with reason and remedy."""
    through = f" through the proxy {way.proxy}" if way.proxy else ""
    setting = "HTTPS_PROXY" if way.proxy else "the host in `base_url`"
    yield (
        {"gaierror"},
        f"the name {way.proxy or way.host} is not known here (DNS)",
        f"Check {setting}, and this machine's network and DNS.",
    )
    yield (
        {"ProxyError"},
        f"the proxy {way.proxy or 'in between'} does not let the request through",
        f"Check HTTPS_PROXY and its password; without a proxy for this host: NO_PROXY={way.host}",
    )
    yield (
        {"ConnectionRefusedError"},
        f"nothing listens at {way.proxy or split_url(way.url).netloc.rpartition('@')[2]}",
        "Check HTTPS_PROXY, or the proxy itself."
        if way.proxy
        else "Start the server, or check host and port in `base_url`.",
    )
    yield (
        {"ConnectTimeout", "PoolTimeout"},
        f"{way.host} did not take the connection{through} in time",
        "Check the network: a firewall may drop connections. Set HTTPS_PROXY if there is a proxy.",
    )
    yield (
        {"ConnectError", "UnsupportedProtocol"},
        f"no connection{through} ({seen})",
        "Check `base_url` and the network, then run the same command again.",
    )


_WRAPPERS: Final = frozenset({"APIConnectionError", "APITimeoutError", "APIError"})


def _tls_failure(error: ssl.SSLError, way: Way, *, sent: bool) -> OutcomeUnknown:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = clean(getattr(error, "verify_message", "") or "not valid")[:_SNIPPET]
        return OutcomeUnknown(
            f"the certificate of {way.host} is not trusted: {why}",
            cause=Cause(
                what="cannot be reached safely",
                remedy=(
                    "Check the host in `base_url` and this machine's clock. Where the network "
                    "looks into TLS, name its root certificate: SSL_CERT_FILE=/path/to/root.pem"
                ),
            ),
            sent=False,
            may_pass=False,
        )
    seen = str(getattr(error, "reason", None) or "")
    why = clean(seen or type(error).__name__).lower().replace("_", " ")[:_SNIPPET]
    plain = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}
    remedy = (
        "Write http:// in `base_url`, if this server speaks no TLS."
        if seen in plain
        else "Check `base_url`, and what stands between here and the server."
    )
    return OutcomeUnknown(
        f"no TLS with {way.host}: {why}",
        cause=Cause(what="cannot be reached", remedy=remedy),
        sent=sent,
        may_pass=seen not in plain,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its chain of causes, each exception once."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _short(text: str) -> str:
    shown = clean(unescape(text))
    return shown if len(shown) <= _SNIPPET else f"{shown[:_SNIPPET]}…"
