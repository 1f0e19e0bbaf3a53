"""Limits of one answer: a broken server or gateway may send for ever. Needs the SDK.

A timeout limits each wait for the next bytes, and no answer as a whole.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import httpx2

from backends.openai.api.protocol import OutcomeUnknown

_STREAMED: Final = "event-stream"
_FILES: Final = "/content"
"""End of the paths of files, which may be of any size where they go to the disk."""
_MARK: Final = "x-stainless-raw-response"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerBounds:
    """Limits of an answer that is held in memory."""

    most_bytes: int = 256 << 20
    """Pages of a hundred jobs or conversations have a few megabytes."""
    reads: float = 10.0
    """Time for the whole answer, as a multiple of the time for the next bytes of it."""
    clock: Callable[[], float] = time.monotonic

    def limit(self, response: httpx2.Response) -> None:
        """Limit the answer that is about to be read; an event hook of httpx."""
        kind = response.headers.get("content-type", "").lower()
        is_streamed = _STREAMED in kind or _is_download(response.request)
        if is_streamed or not isinstance(response.stream, httpx2.SyncByteStream):
            return
        read_s = response.request.extensions.get("timeout", {}).get("read")
        until_s = None if read_s is None else self.clock() + self.reads * read_s
        response.stream = _Bounded(response.stream, self, until_s)


BOUNDS: Final = AnswerBounds()
"""The limits of every server."""


class _Bounded(httpx2.SyncByteStream):
    """A body that ends with an error where it is too long, or takes too long."""

    def __init__(
        self, body: httpx2.SyncByteStream, bounds: AnswerBounds, until_s: float | None
    ) -> None:
        self._body, self._bounds, self._until_s = body, bounds, until_s

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for piece in self._body:
            size += len(piece)
            if size > self._bounds.most_bytes:
                raise _endless(f"has more than {self._bounds.most_bytes / 1e6:,.0f} MB")
            if self._until_s is not None and self._bounds.clock() > self._until_s:
                raise _endless("did not come to its end in time")
            yield piece

    def close(self) -> None:
        self._body.close()


def _is_download(request: httpx2.Request) -> bool:
    # The SDK marks what it reads as a whole.
    is_whole = request.headers.get(_MARK) == "true"
    return request.url.path.endswith(_FILES) and not is_whole


def _endless(reason: str) -> OutcomeUnknown:
    # Another attempt would take as long.
    return OutcomeUnknown(f"the answer {reason}", may_pass=False)
