"""The objects of a probe in the store, by name. Pure."""

from typing import Final

from backends.stores.objects import PROBES

ASKED: Final = "asked.json"
"""Written by the machine of ftctl before it places the job."""
ANSWER: Final = "answer.json"
"""Written by the job: what it found."""
CREATED: Final = "created"
"""Written by the job, to try the store."""
CLOCK: Final = "clock"
"""Written by the job, to learn the time by the store's own clock."""
AFTER: Final = "after"
"""Written by the machine of ftctl after it has read the answer."""
NOT_SHARED: Final = "is not the store that ftctl wrote to"
"""Words of a job that does not find `ASKED`."""


def probe_key(probe: str, name: str) -> str:
    """Return the name of an object of a probe in the store."""
    return f"{PROBES}{probe}/{name}"
