"""Values of YAML files that were parsed before, so that an unchanged spec is not parsed again.

A value is believed when the file's bytes have the digest of those that it was parsed from, and what
parses them is the same. Files are read each time, so that neither their times nor their names
matter. Of a file with a problem nothing is remembered.
"""

import hashlib
import json
from pathlib import Path

import yaml

from controller import __version__
from controller.errors import Problem
from controller.spec.yaml import VERSION, Document, parse_yaml
from controller.state_memo import read_memo, write_memo

_VERSION = f"{__version__} {VERSION} {yaml.__version__} {yaml.__with_libyaml__}"


class Parsed:
    """The values of one reading of all specs, and those of the reading before."""

    def __init__(self, memo: Path) -> None:
        """Read the memo."""
        self._memo = memo
        self._known = read_memo(memo, _VERSION)
        self._used: dict[str, object] = {}
        self._is_news = False

    def parse(self, text: bytes, file: str) -> tuple[Document | None, list[Problem]]:
        """Return what `parse_yaml` returns."""
        key = hashlib.sha256(text).hexdigest()
        if key in self._known:
            self._used[key] = self._known[key]
            return Document(value=self._known[key], text=text), []
        document, problems = parse_yaml(text, file)
        if document is not None and _fits_json(document.value):
            self._used[key] = document.value
            self._is_news = True
        return document, problems

    def save(self) -> None:
        """Remember the values of this reading, where it had to parse anything."""
        if self._is_news:
            write_memo(self._memo, _VERSION, self._used)


def _fits_json(value: object) -> bool:
    """Return whether JSON gives back the very same value."""
    return repr(json.loads(json.dumps(value))) == repr(value)
