"""State of the service, for `/healthz` and `/metrics`: written by the loop, read by requests."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from backends.contract.inspector import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Something that does not work at present."""

    since_s: float
    """Seconds since the epoch."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The service at one moment. Times are seconds since the epoch."""

    started_s: float
    commit: str | None = None
    """Commit of the branch that the last pass acted on; None without `--git`."""
    branch: str | None = None
    pass_since_s: float | None = None
    """Start of the pass that runs; None between passes."""
    passed_s: float | None = None
    """End of the last pass."""
    outages: Mapping[str, Outage] = field(default_factory=dict)
    """What does not work, by its name: `remote`, `push`, `pass`, `status`."""
    open_jobs: int = 0
    stopped: int = 0
    """Fine-tunes that wait for a person."""
    finetunes: int = 0
    is_ending: bool = False

    @property
    def status(self) -> str:
        """The state in one word."""
        if self.is_ending:
            return "ending"
        if self.outages:
            return "degraded"
        return "starting" if self.passed_s is None else "ok"

    def json(self) -> dict[str, Json]:
        """Return what `/healthz` answers."""
        remote = self.outages.get("remote")
        value: dict[str, Json] = {
            "status": self.status,
            "started": utc(self.started_s),
            "last_pass": utc(self.passed_s),
            "pass_running_since": utc(self.pass_since_s),
            "finetunes": self.finetunes,
            "open_jobs": self.open_jobs,
            "stopped": self.stopped,
            "outages": {
                name: {"since": utc(one.since_s), "message": one.message}
                for name, one in self.outages.items()
            },
        }
        if self.branch is not None:
            value |= {"branch": self.branch, "commit": self.commit}
            value["remote"] = {
                "reachable": remote is None,
                "unreachable_since": utc(remote.since_s) if remote is not None else None,
            }
        return value


class HealthBoard:
    """The newest state; a thread may read it while another writes."""

    def __init__(self, health: Health, mask: Callable[[str], str] = str) -> None:
        self._health = health
        self._mask = mask
        self._lock = threading.Lock()

    @property
    def now(self) -> Health:
        """The newest state."""
        with self._lock:
            return self._health

    def update(self, change: Callable[[Health], Health]) -> None:
        """Change the state."""
        with self._lock:
            self._health = change(self._health)

    def begin_outage(self, name: str, message: str, now_s: float) -> bool:
        """Note that something does not work; return True if that, or the reason, is new.

        Anybody may read the reason at `/healthz`: no secret stays in it.
        """
        message = self._mask(message)
        with self._lock:
            known = self._health.outages.get(name)
            since_s = known.since_s if known is not None else now_s
            outage = Outage(since_s=since_s, message=message)
            outages = {**self._health.outages, name: outage}
            self._health = replace(self._health, outages=outages)
            return known is None or known.message != message

    def end_outage(self, name: str) -> Outage | None:
        """Note that something works; return the outage that ended, if there was one."""
        with self._lock:
            outages = dict(self._health.outages)
            ended = outages.pop(name, None)
            self._health = replace(self._health, outages=outages)
            return ended


def utc(seconds: float | None) -> str | None:
    """Return a time as people and programs read it; None for None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
