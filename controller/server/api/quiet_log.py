"""Log output with a limit on repeated records."""

import asyncio
import errno
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

_log: Final = logging.getLogger(__name__)
_MOST_KINDS: Final = 1_000


class Sparing(logging.Filter):
    """Passes `allowed` records of a kind per `every_s`, and later reports how many it hid."""

    def __init__(self, allowed: int = 3, every_s: float = 60.0) -> None:
        super().__init__()
        self._allowed = allowed
        self._every_s = every_s
        self._seen: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if a record is written."""
        raised = record.exc_info[0] if record.exc_info else None
        kind = (record.name, record.levelno, str(record.msg), raised)
        now_s = time.monotonic()
        since_s, count = self._seen.get(kind, (now_s, 0))
        if now_s - since_s >= self._every_s:
            hidden = count - self._allowed
            if hidden > 0:
                record.msg = f"{record.msg} ({hidden:,} more like this were not written)"
            since_s, count = now_s, 0
        if len(self._seen) > _MOST_KINDS:
            self._seen.clear()
        self._seen[kind] = (since_s, count + 1)
        return count < self._allowed


def quiet_handler() -> logging.Handler:
    """Return a handler that writes the log to stderr, with a limit on repetition."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Sparing())
    return handler


def on_loop_error(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log an error outside of any request, without a traceback if files run out."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        _log.error("no connection can be accepted: %s; raise `ulimit -n`", error.strerror)
        return
    loop.default_exception_handler(dict(context))
