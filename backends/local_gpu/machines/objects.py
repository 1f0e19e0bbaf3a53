"""The objects of runs in a store, by name, and what a listing tells of a run. Pure.

Of each run there are, below `runs/NAME/`:

- `request.json`: written by the machine of ftctl before anything is placed
- `placed/NUMBER.json`: written before each submission to the scheduler
- `claims/GENERATION.json`: made by the worker that trains; only the newest may write
- `released/GENERATION.json`: that worker has ended, and the run waits for another
- `nodes/GENERATION.json`: calls the other nodes of that worker
- `heartbeat.json`: replaced every few seconds by the worker; its time is the store's
- `progress/`, `log/`: reports and output, in parts for each generation
- `checkpoints/STEP-GENERATION.json`: names the files of a complete checkpoint; written last of it
- `silent/GENERATION-PLACEMENT`: since when its scheduler calls a worker running that shows no sign
  of life: the last one, which is lost, or its successor, which starts
- `halvings/COUNT`: made once the batches were halved so often to fit the memory
- `cancel`, `pause`: ask the worker to stop, for good or for now
- `result.json`: made once, last of all
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from backends.stores.objects import StoredObject

RUNS: Final = "runs/"
CLOCK: Final = "clock"
"""Object that is written to learn the time by the store's own clock: of all runs, or in one."""
MARK: Final = "mark"
"""Object that tells this store from all others: made once, a copy of the store has it too."""
REQUEST: Final = "request.json"
HEARTBEAT: Final = "heartbeat.json"
CANCEL: Final = "cancel"
PAUSE: Final = "pause"
RESULT: Final = "result.json"
CLAIMS: Final = "claims/"
RELEASED: Final = "released/"
PLACED: Final = "placed/"
PROGRESS: Final = "progress/"
LOG: Final = "log/"
CHECKPOINTS: Final = "checkpoints/"
HALVINGS: Final = "halvings/"
PART: Final = 1 << 20
"""Bytes of a part of `progress` and `log`; the last part is replaced until it is full."""

_CHECKPOINT: Final = re.compile(r"checkpoints/([0-9]+)-([0-9]+)\.json")
_HALVINGS: Final = re.compile(r"halvings/([0-9]+)")
_NUMBERED: Final = re.compile(r"(?:claims|placed|released)/([0-9]+)\.json")
_KEY: Final = re.compile(r"runs/([0-9a-f]{16}-[0-9]+)/(.+)")


def key_of(run: str, name: str) -> str:
    """Return the name of an object of a run in the store."""
    return f"{RUNS}{run}/{name}"


def placed_name(number: int) -> str:
    """Return the name of the mark of a submission."""
    return f"{PLACED}{number:06d}.json"


def claim_name(generation: int) -> str:
    """Return the name of the claim of a generation."""
    return f"{CLAIMS}{generation:06d}.json"


def released_name(generation: int) -> str:
    """Return the name of the mark that a generation has ended without a result."""
    return f"{RELEASED}{generation:06d}.json"


def node_call_name(generation: int) -> str:
    """Return the name of the call of the other nodes of a generation."""
    return f"nodes/{generation:06d}.json"


def part_name(kind: str, generation: int, part: int) -> str:
    """Return the name of a part of a growing file.

    Args:
        kind: `PROGRESS` or `LOG`.
        generation: Of the worker that writes it.
        part: Its number.
    """
    return f"{kind}{generation:06d}-{part:06d}"


def checkpoint_name(step: int, generation: int) -> str:
    """Return the name of the mark of a complete checkpoint."""
    return f"{CHECKPOINTS}{step:09d}-{generation:06d}.json"


def halvings_name(count: int) -> str:
    """Return the name of the mark that batches were halved so often."""
    return f"{HALVINGS}{count:03d}"


def silent_name(run: "StoredRun") -> str:
    """Return the name of the mark that the newest worker of a run was seen without a sign of life."""
    return f"silent/{run.generation:06d}-{run.placements:06d}"


def step_of(name: str) -> int:
    """Return the step of the mark of a checkpoint; -1 if the name is not that of one."""
    found = _CHECKPOINT.fullmatch(name)
    return int(found[1]) if found else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as a listing of the store shows it."""

    name: str
    objects: Mapping[str, StoredObject]
    """Its objects by their names within the run."""
    now_s: float
    """Time of the listing by the store's clock."""

    def has(self, name: str) -> bool:
        """Return whether the run has an object."""
        return name in self.objects

    @property
    def generation(self) -> int:
        """Number of the newest claim; 0 if no worker has claimed the run."""
        return max((_number(name) for name in self.objects if name.startswith(CLAIMS)), default=0)

    @property
    def is_released(self) -> bool:
        """True if the newest worker has ended and said so."""
        return self.has(released_name(self.generation))

    @property
    def is_unclaimed(self) -> bool:
        """True if no worker has claimed the run, or the newest has released it."""
        return self.generation == 0 or self.is_released

    def is_held(self, lost_s: float) -> bool:
        """Return True if a worker holds the run.

        Args:
            lost_s: Seconds without a sign of life after which a worker counts as lost.
        """
        claim = self.objects.get(claim_name(self.generation))
        if claim is None or self.is_released or self.has(RESULT):
            return False
        beat = self.objects.get(HEARTBEAT)
        seen = max(claim.modified_s, beat.modified_s if beat is not None else 0.0)
        return self.now_s - seen < lost_s

    @property
    def checkpoints(self) -> list[str]:
        """Marks of complete checkpoints, newest first."""
        found = [name for name in self.objects if _CHECKPOINT.fullmatch(name)]
        return sorted(found, reverse=True)

    @property
    def halvings(self) -> int:
        """Number of times that workers halved the batches to fit the memory."""
        found = (_HALVINGS.fullmatch(name) for name in self.objects)
        return max((int(one[1]) for one in found if one), default=0)

    def parts(self, kind: str) -> list[StoredObject]:
        """Return the parts of a growing file, oldest first."""
        found = [one for name, one in self.objects.items() if name.startswith(kind)]
        return sorted(found, key=lambda one: one.key)

    @property
    def placements(self) -> int:
        """Number of the newest submission; 0 if nothing was submitted."""
        return max((_number(name) for name in self.objects if name.startswith(PLACED)), default=0)

    @property
    def failed_starts(self) -> int:
        """Starts without progress since the newest one, but those that were asked to stop.

        A checkpoint is progress. So are batches that were halved: the next start needs less memory.
        """
        return self._failed((CLAIMS, PLACED))

    @property
    def failed_workers(self) -> int:
        """Number of those starts in which a worker claimed the run; a living worker counts."""
        return self._failed((CLAIMS,))

    def _failed(self, kinds: Iterable[str]) -> int:
        marks = [*filter(_CHECKPOINT.fullmatch, self.objects)]
        marks += filter(_HALVINGS.fullmatch, self.objects)
        saved = max((self.objects[name].modified_s for name in marks), default=0.0)
        since = [one for one in self.objects.items() if one[1].modified_s > saved]
        # A worker that failed writes why; one that was asked to stop writes nothing.
        asked = sum(name.startswith(RELEASED) and one.bytes == 0 for name, one in since)
        starts = max(sum(name.startswith(kind) for name, _ in since) for kind in kinds)
        return max(0, starts - asked)


def stored_runs(listed: Iterable[StoredObject]) -> dict[str, StoredRun]:
    """Return the runs of a listing, by their names.

    Args:
        listed: The listing of all runs or of one; its `CLOCK` was written just before.
    """
    by_run: dict[str, dict[str, StoredObject]] = {}
    now_s = 0.0
    for one in listed:
        if one.key.endswith(f"/{CLOCK}"):
            now_s = max(now_s, one.modified_s)
        elif (found := _KEY.fullmatch(one.key)) is not None:
            by_run.setdefault(found[1], {})[found[2]] = one
    return {
        name: StoredRun(name=name, objects=objects, now_s=now_s) for name, objects in by_run.items()
    }


def _number(name: str) -> int:
    found = _NUMBERED.fullmatch(name)
    return int(found[1]) if found else 0
