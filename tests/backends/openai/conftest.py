"""A fault server, backends that talk to it, and requests to train."""

import pytest

from backends.contract.backend import Endpoint
from backends.openai.backend import OpenAIBackend
from tests.backends.openai.openai_helpers import QUICK, QUICK_CHAT, write_request
from tests.backends.openai.servers.fault_server import KEY, Server


@pytest.fixture
def server():
    started = Server()
    yield started
    started.close()


@pytest.fixture
def open_backend(server, tmp_path):
    """Return a function that opens a backend; each one has a state folder of its own."""
    opened = []

    def make(
        state=None, *, url=None, key=KEY, retry_policy=QUICK, retry_settings=QUICK_CHAT, **settings
    ):
        folder = state or tmp_path / f"state-{len(opened)}"
        endpoint = Endpoint(name="test", base_url=url or server.url, **settings)
        environment = {"OPENAI_API_KEY": key} if key else {}
        backend = OpenAIBackend(
            folder,
            endpoint,
            environment=environment,
            retry_policy=retry_policy,
            retry_settings=retry_settings,
        )
        opened.append(backend)
        return backend

    return make


@pytest.fixture
def backend(open_backend):
    return open_backend()


@pytest.fixture
def make_request(tmp_path):
    return lambda **changes: write_request(tmp_path / "data", **changes)
