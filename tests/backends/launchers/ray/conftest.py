"""A head of a Ray cluster on loopback, and its launcher."""

import pytest

from backends.launchers.table import open_launcher
from tests.servers.ray_head import RayHead


@pytest.fixture
def head(tmp_path):
    with RayHead(tmp_path / "ray") as head:
        yield head


@pytest.fixture
def launcher(head):
    return launcher_of(head)


def launcher_of(head, environment=None, **settings):
    """Return the launcher of a head."""
    return open_launcher(
        "ray", {"address": head.url, "timeout_s": 5.0, **settings}, environment or {}
    )
