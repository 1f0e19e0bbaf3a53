"""Fixtures of the tests of workflows: machines, and a trainer's folder."""

import os

import pytest

from tests.workflows.harness.machine import Image
from tests.workflows.repositories import ROOT

SITE = [
    one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and one != str(ROOT)
]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """One image of machines: what the action has installed once is there for the next machine.

    The processes of a parallel run share it: two that install at once take turns.
    """
    base = tmp_path_factory.getbasetemp()
    return Image(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base, SITE)


@pytest.fixture
def trainer(tmp_path):
    """The empty folder of a trainer."""
    folder = tmp_path / "trainer"
    folder.mkdir()
    return folder
