"""Statuses of commits at GitHub: sent until they arrive, each once. Needs the extra `watch`.

A status that does not arrive is sent again by a later pass; nothing waits for it.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path

import httpx2

from backends.atomic_files import write_atomic
from controller import __version__
from controller.watch.clone.upstream import GitHubRepository

CONTEXT = "ftctl / apply"
_TIMEOUT_S = 20.0
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 900.0
_LONGEST_ASKED_S = 3600.0
"""Longest pause that a server is granted: GitHub's limits begin again every hour."""
_LONGEST_TEXT = 140
"""Characters of a description, by GitHub's limit."""
_MOST = 50
"""Commits that are remembered; a status of an older one is not changed any more."""
_FOREVER = frozenset({HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.GONE})
"""Answers for a commit that GitHub does not know (any more), or that has too many statuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """State of a commit."""

    state: str
    """`pending`, `success`, `failure` or `error`."""
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came of sending statuses."""

    count: int = 0
    failure: str = ""
    """Why one did not arrive; empty if all did, or if it is too early to try again."""
    dropped: tuple[str, ...] = ()
    """Commits that GitHub takes no status for."""


@dataclass(slots=True, kw_only=True)
class StatusReporter:
    """Statuses of the newest commits: what should be known at GitHub, and what is."""

    repository: GitHubRepository
    token: str
    memory: Path
    """File that keeps what is known at GitHub, so that a restart sends nothing twice."""
    wanted: dict[str, Status] = field(default_factory=dict)
    known: dict[str, Status] = field(default_factory=dict)
    now: Callable[[], float] = time.time
    """Clock, in seconds since the epoch: GitHub names such a time to wait for."""
    _again_s: float = 0.0
    _pause_s: float = 0.0

    def load(self) -> None:
        """Read what is known; a file that cannot be read costs some statuses sent twice."""
        try:
            found = json.loads(self.memory.read_bytes())
            self.known = {commit: Status(**status) for commit, status in found.items()}
        except (OSError, ValueError, RecursionError, TypeError, AttributeError):
            self.known = {}
        self.wanted = dict(self.known)

    def set(self, commit: str, status: Status) -> None:
        """Note the status of a commit, and of older ones that still wait: they share its end."""
        for older, before in self.wanted.items():
            if before.state == "pending":
                self.wanted[older] = status
        self.wanted.pop(commit, None)
        self.wanted[commit] = status
        for oldest in list(self.wanted)[:-_MOST]:
            del self.wanted[oldest]

    def send(self) -> Sent:
        """Send what is not known yet; after a failure, not before its pause is over."""
        due = {
            commit: status
            for commit, status in self.wanted.items()
            if self.known.get(commit) != status
        }
        # A time that is further away was noted by a clock that has been put back since.
        if not due or 0 < self._again_s - self.now() <= _LONGEST_ASKED_S:
            return Sent()
        count, failure, dropped = 0, "", []
        with httpx2.Client(
            timeout=_TIMEOUT_S, headers=self._headers(), follow_redirects=True
        ) as client:
            for commit, status in due.items():
                said, is_final = self._send(client, commit, status)
                if not is_final:
                    failure = said
                    break
                self.known[commit] = status
                count += not said
                dropped += [commit] if said else []
        self._remember()
        return Sent(count=count, failure=failure, dropped=tuple(dropped))

    def _send(self, client: httpx2.Client, commit: str, status: Status) -> tuple[str, bool]:
        """Send one status; return what went wrong, and whether sending is over."""
        url = f"{self.repository.api}/repos/{self.repository.name}/statuses/{commit}"
        body = {"state": status.state, "context": CONTEXT, "description": _cut(status.description)}
        try:
            answer = client.post(url, json=body)
        except httpx2.HTTPError as error:
            self._pause({})
            return f"{type(error).__name__}: {error}", False
        if answer.is_success:
            self._pause_s = self._again_s = 0.0
            return "", True
        said = f"{answer.status_code} {answer.reason_phrase}: {_message(answer)}"
        if answer.status_code in _FOREVER:
            return said, True
        self._pause(answer.headers)
        return said, False

    def _pause(self, headers: Mapping[str, str]) -> None:
        """Wait longer after each failure, and as long as the server asks for."""
        self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        asked_s = _number(headers.get("retry-after"))
        if headers.get("x-ratelimit-remaining") == "0":
            asked_s = max(asked_s, _number(headers.get("x-ratelimit-reset")) - self.now())
        self._again_s = self.now() + min(max(self._pause_s, asked_s), _LONGEST_ASKED_S)

    def _headers(self) -> dict[str, str]:
        return {
            "accept": "application/vnd.github+json",
            "authorization": f"Bearer {self.token}",
            "user-agent": f"ftctl/{__version__}",
            "x-github-api-version": "2022-11-28",
        }

    def _remember(self) -> None:
        self.known = {commit: one for commit, one in self.known.items() if commit in self.wanted}
        text = json.dumps({commit: asdict(one) for commit, one in self.known.items()})
        # Without it, a restart sends some twice; a full disk must not stop what needs no room.
        with suppress(OSError):
            write_atomic(self.memory, text.encode() + b"\n")


def _message(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return answer.text[:200]


def _number(text: str | None) -> float:
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return max(0.0, number) if math.isfinite(number) else 0.0


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST_TEXT else f"{flat[: _LONGEST_TEXT - 1]}…"
