"""Topics of `ftctl help`: one Markdown file each, which also reads as a page of the repository.

A file begins with its title and a paragraph of one line, which the list of topics shows. Lines
that hold a comment (`<!-- … -->`) are for those who write topics.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
TOPICS = (
    "start",
    "install",
    "spec",
    "data",
    "training",
    "metrics",
    "gates",
    "report",
    "tracking",
    "export",
    "store",
    "machines",
    "approval",
    "pull-requests",
    "service",
    "servers",
    "migration",
    "lockfile",
    "settings",
    "exit-codes",
    "plugins",
)
"""Names of all topics, in reading order."""
_LINK = re.compile(r"\[([^\[\]\n]+)\]\((?!https?:)[^()\s]+\)")
"""A link to another file of the repository, which leads nowhere in a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic."""

    name: str
    summary: str
    """One line, shown in the list of topics."""
    text: str
    """All of it, as Markdown."""


def read_topic(name: str) -> Topic:
    """Read a topic.

    Args:
        name: One of `TOPICS`.
    """
    written = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    lines = [line for line in written.splitlines() if not line.startswith("<!--")]
    text = _LINK.sub(r"\1", "\n".join(lines)).strip() + "\n"
    return Topic(name=name, summary=text.split("\n\n")[1], text=text)
