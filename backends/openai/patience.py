"""How long to wait for what when jobs are submitted and observed."""

import time
from dataclasses import dataclass

from backends.openai.wire import Refused, Unclear


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
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
    tries: int = 4
    """How often an upload is sent, or a create call that was surely not carried out."""

    def wait(self, error: Refused | Unclear, tries: int) -> None:
        """Wait before something is sent again.

        Args:
            error: What the server said; its own wish for a pause counts.
            tries: How often it was sent.

        Raises:
            Refused: Waiting does not help, or would take too long.
            Unclear: The same.
        """
        heals = isinstance(error, Unclear) or error.must_slow_down
        asked_s = error.retry_after_s
        too_long = asked_s is not None and asked_s > self.slow_down_s
        if not heals or too_long or tries >= self.tries:
            raise error
        time.sleep(self.pause_s * 2**tries if asked_s is None else asked_s)
