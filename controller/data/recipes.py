"""Recipes: versions of what the same row becomes, and what each of them corrected. Pure.

A correction that changes what an accepted row is turned into would give equal specs other data, and
an upgrade would train again. So the corrected code asks `Recipe.corrects` where an older recipe did
otherwise, and still does that for an older number: a recorded build matches its spec under the
build's own recipe. A correction that only refuses or only reports asks nothing.

What recipe 2 corrected:

"""

from dataclasses import dataclass
from typing import Final

FIRST: Final = 1
NEWEST: Final = 2
"""What new datasets are built with."""


@dataclass(slots=True)
class Recipe:
    """A recipe at work, which notes whether another one would have given other data."""

    number: int = NEWEST
    matters: bool = False
    """Whether a row was met that recipes treat differently."""

    def corrects(self, since: int = 2) -> bool:
        """Return whether a row is treated as recipe `since` does.

        Ask only about a row that this recipe treats differently than the one before.
        """
        self.matters = True
        return self.number >= since
