"""Limits of the server, in one record, so that tests can use small ones."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of requests and storage, and intervals of background tasks."""

    json_bytes: int = 8 << 20
    """Maximum size of a JSON body, in bytes."""
    file_bytes: int = 512 << 20
    """Maximum size of a file in one request, in bytes; the protocol's own."""
    upload_bytes: int = 8 << 30
    """Maximum size of a file in parts, in bytes."""
    part_bytes: int = 64 << 20
    """Maximum size of a part, in bytes."""
    upload_s: int = 3600
    """Seconds until an unfinished upload expires."""
    files: int = 10_000
    """Maximum number of files."""
    uploads: int = 100
    """Maximum number of unfinished uploads."""
    open_jobs: int = 1_000
    """Maximum number of open jobs."""
    runs: int = 4
    """Maximum number of jobs at the backend; others wait here at no cost."""
    chats: int = 64
    """Maximum number of answers generated at once, counting each of `n`."""
    engines: int = 2
    """Maximum number of base models kept loaded for chat."""
    engine_idle_s: float = 600.0
    """Seconds after which an idle base model is unloaded."""
    poll_s: float = 1.0
    """Seconds between two checks of jobs."""
    longest_poll_s: float = 60.0
    """The same while the backend or its store does not answer, at most, in seconds."""
    sweep_s: float = 30.0
    """Seconds between two searches for expired objects."""
    connections: int = 1_000
    """Maximum number of open connections; lower if the process may open fewer files."""
    head_s: float = 10.0
    """Seconds in which a request's head has to arrive."""
    pause_s: float = 30.0
    """Longest pause in a request's body, in seconds."""
    slowest_bytes_s: int = 1_024
    """Slowest accepted rate of a body in bytes per second, after its first `pause_s`."""
    stalled_s: float = 60.0
    """Seconds that an answer may wait for a client that does not read it."""
    drain_s: float = 20.0
    """Seconds that running answers may continue when the server ends."""
