"""Splits of examples without a dataset around them."""

from pathlib import Path

from controller.data.dataset import Split


def split_of(path: Path) -> Split:
    """Return a split of a file of examples, whose rows are the lines of the file."""
    lines = path.read_bytes().count(b"\n")
    origins = path.with_suffix(".origins")
    origins.write_text("".join(f"{path.name}:{place + 1}\n" for place in range(lines)))
    return Split(path=path, origins=origins, digest="", examples=lines, tokens=None)
