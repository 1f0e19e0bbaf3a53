"""A fixture that reads a file as a source."""

from pathlib import Path

import pytest

from controller.data.errors import DataError
from controller.data.readers import read_rows
from tests.controller.data.sources.source_files import source_file


@pytest.fixture
def read(tmp_path: Path):
    def read_text(name: str, content: str | bytes, **said) -> list:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return [
            (row.line or line, row.message) if isinstance(row, DataError) else (line, row)
            for line, row in read_rows(source_file(path, **said))
        ]

    return read_text
