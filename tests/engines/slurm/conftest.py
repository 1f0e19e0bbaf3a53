import pytest

from tests.engines.slurm.cluster import missing, running_cluster


@pytest.fixture(scope="session")
def running_slurm(tmp_path_factory):
    """Return a Slurm that runs on this machine."""
    lacking = missing()
    if lacking:
        pytest.skip(
            f"Slurm is not installed ({', '.join(lacking)}): on Debian, `make test-slurm` as root"
        )
    with running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_slurm):
    """Return a Slurm that runs, without jobs."""
    running_slurm.empty()
    yield running_slurm
    running_slurm.empty()
