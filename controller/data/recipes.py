"""Recipes: versions of what the same row becomes. Records of each version's corrections.

A correction that changes what an accepted row is turned into would give equal specs other data, and
an upgrade would train again. So the code that a recipe corrected asks for the recipe's number and
still does what it did before: a recorded build matches its spec under the build's own recipe.
A correction that only refuses or only reports needs no branch.

What recipe 2 corrected, each where `recipe >= 2` is asked:

"""

from typing import Final

FIRST: Final = 1
NEWEST: Final = 2
"""What new datasets are built with."""
