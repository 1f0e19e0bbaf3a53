"""A server for each test that asks for one."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from serve_helpers import serving


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def client(server):
    return server.client
