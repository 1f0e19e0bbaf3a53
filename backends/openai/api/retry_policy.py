"""How long to wait for what when jobs are submitted and observed."""

from dataclasses import dataclass

from backends.openai.api.protocol import OutcomeUnknown, Rejected
from backends.openai.api.waiting import Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Waiting times."""

    window_s: float = 60.0
    """How long a created job may be missing from the list of jobs."""
    pause_s: float = 0.5
    """Before the second look; doubled for each further one, up to eight seconds."""
    slow_down_s: float = 120.0
    """The longest wait that a server may ask for before it is asked again."""
    lag_s: float = 10.0
    """How long after an upload by someone else a job made from it may be missing from the list."""
    look_s: float = 5.0
    """Between two looks at the same open jobs; a look in between gets the last answer."""
    list_s: float = 5.0
    """Seconds for which the list of jobs, once read, answers the lookups of a pass."""
    uploaded_s: float = 20.0
    """Seconds that a file may stay `uploaded` before a job is made from it anyway."""
    processed_s: float = 600.0
    """Seconds that a server may report that it is still reading a file."""
    tries: int = 4
    """How often an upload is sent, or a create call that was surely not carried out."""

    def wait(
        self, error: Rejected | OutcomeUnknown, tries: int, waiting: Waiting, reason: str
    ) -> None:
        """Wait before a request is sent again.

        Args:
            error: The server's error; the pause that it requests counts.
            tries: Number of attempts so far.
            waiting: Announces long waits.
            reason: The reason of the wait, for the announcement.

        Raises:
            Rejected: Waiting does not help, or would take too long.
            OutcomeUnknown: Waiting does not help, or would take too long.
        """
        heals = error.may_pass if isinstance(error, OutcomeUnknown) else error.must_slow_down
        asked_s = error.retry_after_s
        too_long = asked_s is not None and asked_s > self.slow_down_s
        if not heals or too_long or tries >= self.tries:
            raise error
        pause_s = self.pause_s * 2**tries if asked_s is None else asked_s
        waiting.sleep(pause_s, f"{reason}: {error}")
