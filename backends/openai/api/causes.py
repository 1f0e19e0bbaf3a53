"""Causes of failed requests: the server is unreachable, or another program answered. Pure.

The status alone is ambiguous: a 403 may come from the API, from a firewall, or from a login page in
front of it. So this module inspects the body, the headers and the exception behind a failure.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from html import unescape
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, urlsplit

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
        return urlsplit(self.url).hostname or self.url


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
    return _short(_visible(page)) or "it is empty"


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
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Cause(
            what=f"is behind a proxy that wants a password{through and f', {way.proxy}'}",
            remedy="Put it into HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
        )
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Cause(
            what=f"is behind a proxy{by} that lets no body of this size through",
            remedy=(
                "Have its limit raised (nginx: `client_max_body_size`), use an address without "
                "it, or train on fewer examples."
            ),
        )
    if status in _NO_SUCH_ADDRESS:
        return NOT_THE_API
    if status == NETWORK_LOGIN or any(mark in page for mark in _LOGIN):
        return _login(by)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Cause(
            what=f"is behind a gateway{by} that received too many requests",
            remedy="Wait a few minutes and run the same command again.",
        )
    if status in {401, 403, 451}:
        return Cause(
            what=f"is behind a firewall or proxy{by} that blocks the request",
            remedy=(
                f"Ask who runs this network, or the gateway, to let requests to {way.host} "
                "through; the page comes from there, not from the API, so the key may be right."
            ),
        )
    return Cause(
        what=f"does not speak the OpenAI API there: a web page{by} answered{through}",
        remedy=(
            "Check `base_url`: it usually ends in /v1. If it is right, this network answers in "
            "the server's place: open any web page in a browser and log in."
        ),
    )


def redirect_cause(way: Way, location: str) -> Cause:
    """Return the cause of a redirect that came instead of an answer."""
    parts = _split(location)
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
    through = f" through the proxy {way.proxy}" if way.proxy else ""
    for link in chain:
        if isinstance(link, ssl.SSLError):
            # Nothing is sent before the handshake ends; after it, a request may have been sent.
            return _tls_failure(link, way, sent="ConnectError" not in names)
    never_sent = _never_sent(set(names), way, through)
    if never_sent is not None:
        cause = Cause(what="cannot be reached", remedy=never_sent[1])
        return OutcomeUnknown(never_sent[0], cause=cause, sent=False)
    if any(name.endswith("Timeout") or name == "APITimeoutError" for name in names):
        return OutcomeUnknown("no answer came in time")
    seen = next((name for name in names if name not in _WRAPPERS), names[-1])
    if {"ConnectError", "UnsupportedProtocol"} & set(names):
        remedy = "Check `base_url` and the network, then run the same command again."
        cause = Cause(what="cannot be reached", remedy=remedy)
        return OutcomeUnknown(f"no connection{through} ({seen})", cause=cause, sent=False)
    return OutcomeUnknown(f"the connection broke off ({seen})")


def _never_sent(names: AbstractSet[str], way: Way, through: str) -> tuple[str, str] | None:
    """Return reason and remedy, if the exceptions' names tell that no request was sent."""
    proxied = way.proxy is not None
    if "gaierror" in names:
        setting = "HTTPS_PROXY" if proxied else "the host in `base_url`"
        return (
            f"the name {way.proxy or way.host} is not known here (DNS)",
            f"Check {setting}, and this machine's network and DNS.",
        )
    if "ProxyError" in names:
        return (
            f"the proxy {way.proxy or 'in between'} does not let the request through",
            f"Check HTTPS_PROXY and its password; without a proxy for this host: NO_PROXY={way.host}",
        )
    if "ConnectionRefusedError" in names:
        return (
            f"nothing listens at {way.proxy or _place(way.url)}",
            "Check HTTPS_PROXY, or the proxy itself."
            if proxied
            else "Start the server, or check host and port in `base_url`.",
        )
    if names & {"ConnectTimeout", "PoolTimeout"}:
        return (
            f"{way.host} did not take the connection{through} in time",
            "Check the network: a firewall may drop connections. Set HTTPS_PROXY if there is a proxy.",
        )
    return None


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


def _login(by: str) -> Cause:
    return Cause(
        what=f"is hidden by a login page{by}",
        remedy=(
            "Log in to this network or gateway, or use an address that takes a key. "
            "The page does not come from the API: the key may be right."
        ),
    )


def _place(url: str) -> str:
    parts = _split(url)
    return parts.netloc.rpartition("@")[2] or url


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _visible(page: str) -> str:
    """Return a page's text without scripts, styles and tags."""
    return _TAGS.sub(" ", _UNSEEN.sub(" ", page))


def _short(text: str) -> str:
    shown = clean(unescape(text))
    return shown if len(shown) <= _SNIPPET else f"{shown[:_SNIPPET]}…"
