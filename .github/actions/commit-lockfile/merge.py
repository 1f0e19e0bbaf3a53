"""Merge two lockfiles that were changed at the same time: `merge.py BASE OURS THEIRS`, to stdout.

Git would merge lines, and put half of one record beside half of another. Here a fine-tune changed
on one side is taken from that side, whole. Changed on both, the branch's entry (THEIRS) stands and
builds that only we know are added: what was trained is never forgotten, and what else we recorded
the next run finds at the backends again. Needs nothing but Python; an empty file is no lockfile.
"""  # noqa: INP001 - a script of an action, and no package

import json
import sys
from pathlib import Path
from typing import Any


def merge(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return the merged lockfile.

    Args:
        base: What both sides started from.
        ours: What this run made of it.
        theirs: What is on the branch now.
    """
    if theirs == base:
        return ours
    before, mine, yours = (side.get("finetunes", {}) for side in (base, ours, theirs))
    merged = {}
    for name in sorted({*mine, *yours}):
        entry = _merge_entry(before.get(name), mine.get(name), yours.get(name))
        if entry is not None:
            merged[name] = entry
    newest = theirs if theirs.get("format", 0) >= ours.get("format", 0) else ours
    return {**newest, "finetunes": merged}


def _merge_entry(
    before: dict[str, Any] | None, mine: dict[str, Any] | None, yours: dict[str, Any] | None
) -> dict[str, Any] | None:
    if yours == before:
        return mine
    if mine is None or yours is None or mine == before:
        return yours
    builds = {**mine.get("builds", {}), **yours.get("builds", {})}
    return {**yours, "builds": builds} if builds else yours


def _read(name: str) -> dict[str, Any]:
    text = Path(name).read_bytes()
    value: dict[str, Any] = json.loads(text) if text.strip() else {}
    return value


if __name__ == "__main__":
    result = merge(*(_read(name) for name in sys.argv[1:4]))
    text = json.dumps(result, ensure_ascii=False, indent=2, sort_keys=True)
    sys.stdout.buffer.write(text.encode() + b"\n")
