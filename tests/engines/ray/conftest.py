"""A cluster of two nodes for all tests, started once."""

from importlib.util import find_spec

import pytest

from tests.engines.ray.cluster import Cluster


def pytest_collection_modifyitems(items) -> None:
    """Mark these tests, and skip them where Ray is not installed."""
    here = [item for item in items if "engines/ray" in item.path.as_posix()]
    for item in here:
        item.add_marker(pytest.mark.ray)
        item.add_marker(pytest.mark.slow)
        if find_spec("ray") is None:
            item.add_marker(pytest.mark.skip(reason="Ray is not installed here: make test-ray"))


@pytest.fixture(scope="session")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def launcher(cluster):
    return cluster.launcher()
