"""An outage of a store is reported once, and asked about less and less often."""

import logging

import pytest

from backends.contract.errors import BackendError
from backends.stores.objects import StoreUnavailable
from controller.server.jobs.outages import Outage

AWAY = StoreUnavailable("the store /runs is not there", "Mount it.")


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "controller.server")
    return lambda: [(one.levelname, one.getMessage(), one.exc_info) for one in caplog.records]


def test_an_outage_is_reported_once_and_its_end(said):
    outage = Outage(1.0, 60.0)
    pauses = [outage.pause_s]
    for _ in range(8):
        outage.add(AWAY)
        pauses.append(outage.pause_s)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    outage.end()
    assert outage.pause_s == 1.0
    outage.end()
    ((_, first, trace), (_, second, _)) = said()
    assert first.endswith("the store /runs is not there. Mount it.")
    assert trace is None
    assert second.startswith("an answer again after 0 seconds")


def test_another_reason_and_another_outage_are_reported(said):
    outage = Outage(1.0, 60.0)
    for error in (AWAY, BackendError("no rights", "Ask."), AWAY):
        outage.add(error)
    assert len(said()) == 2
    outage.end()
    outage.add(AWAY)
    assert len(said()) == 4


def test_a_long_interval_is_not_made_shorter():
    outage = Outage(100.0, 60.0)
    outage.add(AWAY)
    assert outage.pause_s == 100.0
