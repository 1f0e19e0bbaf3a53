"""The launcher of Ray keeps the contract, and the check finds launchers that do not."""

import sys

import pytest

from backends.testing import check_launcher
from tests.backends.launchers.ray.conftest import launcher_of


@pytest.mark.slow
def test_it_keeps_the_contract(head):
    check_launcher(
        launcher_of(head, stop_wait_s=6), python=sys.executable, timeout_s=20, poll_s=0.1
    )
