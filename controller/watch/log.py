"""The service's log: one event a line, as text or as JSON, without secrets."""

import io
import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from controller.render.text import escape_control
from controller.watch.mask import masked

LOGGER = logging.getLogger("ftctl.watch")
"""Logger of this process's service, for a defect with its traceback."""


class EventLog:
    """Log of one service."""

    def __init__(self, *, as_json: bool, secrets: tuple[str, ...], stream: TextIO) -> None:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_EventFormatter(as_json=as_json, secrets=secrets))
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        LOGGER.handlers = [handler]

    def tell(self, event: str, message: str, **facts: object) -> None:
        """Write what happened.

        Args:
            event: Its kind, for programs: `pass`, `fetched`, `done`.
            message: What a person reads.
            **facts: Further fields of the JSON line.
        """
        LOGGER.info(message, extra={"event": event, "facts": facts})

    def alert(self, event: str, message: str, **facts: object) -> None:
        """Write what a person should know; the service copes with it."""
        LOGGER.warning(message, extra={"event": event, "facts": facts})

    def fail(self, event: str, message: str, **facts: object) -> None:
        """Write what a person has to fix."""
        LOGGER.error(message, extra={"event": event, "facts": facts})


class _EventFormatter(logging.Formatter):
    """Formats an event as one line."""

    def __init__(self, *, as_json: bool, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._as_json = as_json
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        when, level = when.replace("+00:00", "Z"), record.levelname.lower()
        event: str = getattr(record, "event", "defect")
        # Before and after: white space and quotes of a secret are written otherwise in a line.
        message = masked(record.getMessage(), self._secrets)
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._as_json:
            facts: dict[str, object] = getattr(record, "facts", {})
            value = {"time": when, "level": level, "type": event, "message": message, **facts}
            if trace:
                value["traceback"] = trace
            return masked(json.dumps(value, ensure_ascii=False, default=str), self._secrets)
        flat = _on_one_line(escape_control(message))
        line = f"{when} {level:<7} {event}: {flat}"
        return masked(f"{line}\n{trace}" if trace else line, self._secrets)


def _on_one_line(text: str) -> str:
    """Return the lines of a text as sentences of one line."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    ended = [line if line[-1] in ".:;,…!?" else f"{line}." for line in lines[:-1]]
    return " ".join([*ended, *lines[-1:]])


def open_log(*, as_json: bool, secrets: tuple[str, ...]) -> EventLog:
    """Return the log on standard output, in UTF-8 wherever it goes."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        # A service manager may start programs in a locale that has no Korean.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    logging.raiseExceptions = False  # the reader of the log may be gone; the service goes on
    return EventLog(as_json=as_json, secrets=secrets, stream=stream)
