"""How much the server takes at once. One record, so that a test can be small."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused beyond, and how often things are looked at."""

    json_bytes: int = 8 << 20
    """A request's JSON."""
    file_bytes: int = 512 << 20
    """One file in one request, as the protocol has it."""
    upload_bytes: int = 8 << 30
    """One file in parts."""
    part_bytes: int = 64 << 20
    """One of its parts."""
    upload_s: int = 3600
    """How long an upload may stay unfinished."""
    files: int = 10_000
    """Files kept."""
    uploads: int = 100
    """Uploads begun and not finished."""
    open_jobs: int = 1_000
    """Jobs that have not ended."""
    runs: int = 4
    """Jobs handed to the backend at once; the others wait here, where they cost nothing."""
    chats: int = 64
    """Chat completions answered at once, counting each of `n`."""
    engines: int = 2
    """Base models kept loaded for chat."""
    engine_idle_s: float = 600.0
    """After so long without a question a base model's memory is given back."""
    poll_s: float = 1.0
    """Between two looks at jobs."""
    sweep_s: float = 30.0
    """Between two looks for what has expired."""
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
