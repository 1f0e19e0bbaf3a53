"""Items of the built-in suites, read from the package's files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from controller.canonical import digest
from controller.evaluate.retain.rules import Checks
from controller.evaluate.retain.suites import SuiteName
from controller.spec.base import NonEmpty, Strict

_ID_DIGITS: Final = 16


class Item(Strict):
    """One prompt of a suite, and the rules for its answer."""

    id: NonEmpty
    """`json-ko-03`."""
    messages: list[dict[str, str]]
    tools: list[dict[str, Any]] = Field(default_factory=list)
    checks: Checks

    @property
    def digest(self) -> str:
        """First digits of the digest of its prompt."""
        return digest({"messages": self.messages, "tools": self.tools})[:_ID_DIGITS]


def suite_path(name: SuiteName) -> Path:
    """Return the file with the items of a suite, JSONL."""
    return Path(__file__).parent / f"{name}.jsonl"


def read_items(name: SuiteName) -> Mapping[str, Item]:
    """Return the items of a suite by their IDs, in the order of its file."""
    lines = suite_path(name).read_text(encoding="utf-8").splitlines()
    items = [Item.model_validate(json.loads(line)) for line in lines]
    return {item.id: item for item in items}


def count_items(name: SuiteName) -> int:
    """Return the number of items of a suite."""
    return suite_path(name).read_bytes().count(b"\n")
