"""A fixture for the tests of the actions' scripts."""

import pytest

from tests.workflows.actions.action_scripts import Steps


@pytest.fixture
def steps(tmp_path):
    made = Steps(tmp_path)
    yield made
    made.hub.close()
