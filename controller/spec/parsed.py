"""Values of YAML files that were parsed before, so that an unchanged spec is not parsed again.

A value is believed when the file's bytes have the digest of those that it was parsed from, and what
parses them is the same. Files are read each time, so that neither their times nor their names
matter. Of a file with a problem nothing is remembered.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import yaml

from controller import __version__
from controller.errors import Problem
from controller.spec.yaml import VERSION, Document, parse_yaml
from controller.state_memo import read_memo, write_memo

_VERSION = f"{__version__} {VERSION} {yaml.__version__} {yaml.__with_libyaml__}"


Parse: TypeAlias = Callable[[bytes, str], tuple[Document | None, list[Problem]]]
"""Reads one file, as `parse_yaml` does."""


@contextmanager
def remembering(memo: Path) -> Iterator[Parse]:
    """Offer a `parse_yaml` that knows the values of the reading before, and remember this one's."""
    known, used = read_memo(memo, _VERSION), dict[str, object]()

    def parse(text: bytes, file: str) -> tuple[Document | None, list[Problem]]:
        key = hashlib.sha256(text).hexdigest()
        if key in known:
            used[key] = known[key]
            return Document(value=known[key], text=text), []
        document, problems = parse_yaml(text, file)
        if document is not None and _fits_json(document.value):
            used[key] = document.value
        return document, problems

    yield parse
    if not used.keys() <= known.keys():
        write_memo(memo, _VERSION, used)


def _fits_json(value: object) -> bool:
    """Return whether JSON gives back the very same value."""
    return repr(json.loads(json.dumps(value))) == repr(value)
