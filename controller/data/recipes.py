"""Recipes: versions of what the same row becomes. Records of each version's corrections.

A correction that changes what an accepted row is turned into would give equal specs other data, and
an upgrade would train again. So the code that a recipe corrected asks for the recipe's number and
still does what it did before: a recorded build matches its spec under the build's own recipe.
A correction that only refuses or only reports needs no branch.

What recipe 2 corrected, each where `recipe >= 2` is asked:

- Conditions of `where`: names lead into objects and are found however their letters are composed;
  `true` and `false` are known however a table spells them; an empty cell of a table is null
  (`conditions`).
- Nulls within nested values of Parquet, saved and hub datasets are not read: Arrow writes them for
  the keys that other rows have (`prepare_rows`).

"""

from typing import Final

FIRST: Final = 1
CORRECTED: Final = 2
"""The recipe with the corrections above."""
NEWEST: Final = 2
"""What new datasets are built with."""
