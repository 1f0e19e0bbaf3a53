"""A server for each test that asks for one."""

import pytest

from tests.controller.server.serve_helpers import serving


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def client(server):
    return server.client
