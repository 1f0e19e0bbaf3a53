"""Merge lockfiles that were changed at the same time, fine-tune by fine-tune. Pure.

Git would merge lines, and put half of one record beside half of another. Here a fine-tune that
changed on one side is taken from that side, whole. If both sides changed it, the branch's entry
stands, with the builds that only this side knows: what was trained is never forgotten, and the next
run finds at the backends whatever else this side recorded.
"""

from controller.lockfile.model import Entry, Lockfile


def merge_lockfiles(base: Lockfile, ours: Lockfile, theirs: Lockfile) -> Lockfile:
    """Return the merged lockfile.

    Args:
        base: What both sides started from.
        ours: What this side made of it.
        theirs: What the branch holds now.
    """
    merged = {}
    for name in sorted({*ours.finetunes, *theirs.finetunes}):
        sides = (side.finetunes.get(name) for side in (base, ours, theirs))
        entry = _merge_entry(*sides)
        if entry is not None:
            merged[name] = entry
    return Lockfile.model_construct(finetunes=merged)


def _merge_entry(base: Entry | None, ours: Entry | None, theirs: Entry | None) -> Entry | None:
    if theirs == base:
        return ours
    if ours is None or theirs is None or ours == base:
        return theirs
    return theirs.model_copy(update={"builds": {**ours.builds, **theirs.builds}})
