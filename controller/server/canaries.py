"""Models of open pull requests, by names such as `hours@pr-12`, as this clone has fetched them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.lockfile.model import Build
from controller.lockfile.pulls import list_pulls, read_pulls

LOOK_S = 2.0
"""Time between two looks at the references of git."""


@dataclass(slots=True)
class Canaries:
    """Builds that were trained for pull requests. Its methods run git; call them from a thread."""

    root: Path
    _looked_s: float = float("-inf")
    _known: tuple[Mapping[int, str], Mapping[str, Build]] = ({}, {})
    """Commits with records, by pull request, and the builds that they name."""

    def builds(self) -> Mapping[str, Build]:
        """Return the newest build of each pull request's fine-tunes, by the name that it answers to.

        A name is gone as soon as its reference is, which a merge and the end of a request remove.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return self._known[1]
        commits = list_pulls(self.root)
        if commits != self._known[0]:
            self._known = (commits, self._read())
        self._looked_s = now_s
        return self._known[1]

    def _read(self) -> dict[str, Build]:
        return {
            f"{name}@pr-{record.pull}": entry.builds[entry.candidate]
            for record in read_pulls(self.root).records
            for name, entry in record.lockfile.finetunes.items()
            if entry.candidate in entry.builds
        }
