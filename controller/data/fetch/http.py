"""Objects at http:// and https://, transferred only if the server reports a change."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx2

from controller import __version__
from controller.data.errors import DataError, SourceUnavailable
from controller.data.fetch.object_url import ObjectUrl
from controller.data.fetch.snapshot import Memo, new_snapshot

_TIMEOUT = httpx2.Timeout(60, connect=10)
"""Seconds for each piece of an answer, and for the connection."""

_REDIRECTS = 10
_CHUNK = 1 << 20
_LOGIN = {401, 403, 407}
_LATER = {408, 425, 429}
_PAGES = {"html", "text", "markdown"}


def fetch_http(url: ObjectUrl, snapshots: Path, memo: Memo | None) -> Memo:
    """Return the snapshot of an object, the known one if the server reports no change.

    Raises:
        SourceUnavailable: No answer, no permission, or the transfer broke off.
        DataError: There is no such object.
    """
    headers = {
        # The bytes are stored as they arrive: `.csv.gz` stays compressed.
        "accept-encoding": "identity",
        "user-agent": f"ftctl/{__version__}",
        **_condition(memo),
    }
    with (
        _translated(url),
        httpx2.Client(
            timeout=_TIMEOUT, follow_redirects=True, max_redirects=_REDIRECTS, headers=headers
        ) as client,
        client.stream("GET", url.url) as answer,
    ):
        if answer.status_code == HTTPStatus.NOT_MODIFIED and memo is not None:
            return memo
        _check(answer, url)
        with new_snapshot(snapshots) as new:
            # A server may compress the transfer, although the request forbids it.
            packed = url.endings.endswith((".gz", ".zst"))
            for chunk in (answer.iter_raw if packed else answer.iter_bytes)(_CHUNK):
                new.write(chunk)
            path = new.publish(url.endings)
        version = {
            name: answer.headers[name]
            for name in ("etag", "last-modified")
            if name in answer.headers
        }
    return Memo(path=path, version=dict(version))


def _condition(memo: Memo | None) -> dict[str, str]:
    names = {"etag": "if-none-match", "last-modified": "if-modified-since"}
    known = memo.version if memo is not None else None
    if not isinstance(known, dict):
        return {}
    return {asks: str(known[name]) for name, asks in names.items() if name in known}


def _check(answer: httpx2.Response, url: ObjectUrl) -> None:
    status = answer.status_code
    message = f"{url.display_path}: the server answers {status} {answer.reason_phrase}".rstrip()
    if status in _LOGIN:
        raise SourceUnavailable(
            message, "Use a link that needs no login, or a store with credentials: s3://…"
        )
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise SourceUnavailable(message, "Run the command again later.")
    if status != HTTPStatus.OK:
        raise DataError(message, "Check the address.", field="url")
    is_page = answer.headers.get("content-type", "").startswith("text/html")
    if is_page and url.format not in _PAGES:
        raise DataError(
            f"{url.display_path}: the server sends a web page, not {url.format}",
            "Use the link of the file itself; a page may also ask for a login.",
            field="url",
        )


@contextmanager
def _translated(url: ObjectUrl) -> Iterator[None]:
    try:
        yield
    except httpx2.TooManyRedirects:
        raise DataError(
            f"{url.display_path}: more than {_REDIRECTS} redirects",
            "Check the address.",
            field="url",
        ) from None
    except httpx2.InvalidURL as error:
        raise DataError(
            f"`url` is not an address: {url.redact(error)}",
            "Write it like this: https://example.com/a.jsonl",
            field="url",
        ) from None
    except httpx2.HTTPError as error:
        raise SourceUnavailable(
            f"{url.display_path} cannot be read: {url.redact(error)}",
            "Check the network, and run the command again.",
        ) from None
