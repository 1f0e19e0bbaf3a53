"""How the training examples of two datasets differ, counted in examples."""

import hashlib
import json
from collections import Counter
from pathlib import Path

from controller.data.dataset import Part

_SHORT = 16
"""Bytes of digest kept per example: a million examples take tens of megabytes, not gigabytes."""


def count_differences(cache: Path, old_digest: str, new: Part) -> tuple[int, int] | None:
    """Count the training examples added and removed since an earlier dataset.

    Args:
        cache: Where datasets are kept.
        old_digest: Digest of the earlier training examples.
        new: The training examples now.

    Returns:
        How many were added and how many removed; None when the earlier dataset is not here.
    """
    old = _find_train(cache / "datasets", old_digest)
    if old is None:
        return None
    before, after = _examples(old), _examples(new.path)
    return (after - before).total(), (before - after).total()


def _find_train(datasets: Path, wanted: str) -> Path | None:
    for manifest in datasets.glob("*/dataset.json"):
        try:
            files = json.loads(manifest.read_bytes())["files"]
            found = f"sha256:{files['train.jsonl']['sha256']}"
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if found == wanted:
            return manifest.parent / "train.jsonl"
    return None


def _examples(path: Path) -> Counter[bytes]:
    with path.open("rb") as file:
        return Counter(hashlib.sha256(line).digest()[:_SHORT] for line in file)
