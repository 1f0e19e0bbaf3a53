"""The log repeats itself little, and says how much it left out."""

import logging
import sys

import pytest

from controller.server.api import quiet_log
from controller.server.api.quiet_log import Sparing, on_loop_error, quiet_handler


def record(message="broken: %s", name="a", level=logging.ERROR, error=None):
    info = (type(error), error, None) if error else None
    return logging.LogRecord(name, level, "", 0, message, ("x",), info)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(quiet_log.time, "monotonic", lambda: now[0])
    return now


def test_so_many_of_a_kind_a_minute(clock):
    sparing = Sparing(allowed=2, every_s=60)
    assert [sparing.filter(record()) for _ in range(4)] == [True, True, False, False]
    clock[0] += 59
    assert not sparing.filter(record())
    clock[0] += 1
    late = record()
    assert sparing.filter(late)
    assert late.getMessage() == "broken: x (3 more like this were not written)"
    again = record()
    assert sparing.filter(again)
    assert again.getMessage() == "broken: x"


def test_a_quiet_minute_hides_nothing(clock):
    sparing = Sparing(allowed=2, every_s=60)
    sparing.filter(record())
    clock[0] += 60
    late = record()
    assert sparing.filter(late)
    assert late.getMessage() == "broken: x"


@pytest.mark.parametrize(
    "other",
    [
        {"message": "another"},
        {"name": "b"},
        {"level": logging.WARNING},
        {"error": ValueError()},
    ],
)
def test_each_kind_counts_for_itself(clock, other):
    del clock
    sparing = Sparing(allowed=1)
    assert sparing.filter(record())
    assert not sparing.filter(record())
    assert sparing.filter(record(**other))
    assert not sparing.filter(record(**other))


def test_memory_does_not_grow_with_the_kinds(clock):
    del clock
    sparing = Sparing(allowed=1)
    for number in range(5_000):
        sparing.filter(record(message=f"{number}"))
    assert len(sparing.__dict__["_seen"]) <= 1_001


def test_the_handler_writes_to_stderr_with_level_and_name(capsys):
    handler = quiet_handler()
    handler.setStream(sys.stderr)
    for _ in range(5):
        handler.handle(record())
    assert capsys.readouterr().err == "ERROR a: broken: x\n" * 3


class Loop:
    """An event loop, as far as an error handler sees it."""

    def __init__(self):
        self.contexts = []

    def default_exception_handler(self, context):
        self.contexts.append(context)


@pytest.mark.parametrize(("number", "text"), [(24, "EMFILE"), (23, "ENFILE")])
def test_running_out_of_files_has_no_traceback(caplog, number, text):
    loop = Loop()
    on_loop_error(loop, {"exception": OSError(number, text)})
    assert loop.contexts == []
    assert caplog.messages == [f"no connection can be accepted: {text}; raise `ulimit -n`"]
    assert caplog.records[0].exc_info is None


@pytest.mark.parametrize("context", [{"message": "m"}, {"exception": OSError(5, "EIO")}])
def test_other_errors_are_the_loop_s_own(caplog, context):
    loop = Loop()
    on_loop_error(loop, context)
    assert loop.contexts == [context]
    assert caplog.messages == []
