"""A terminal with nobody at it: a CI may give one to its jobs."""

import os

import pytest

from controller.cli.common import ask, is_interactive
from controller.cli.progress import LiveScreen, PlainScreen, open_screen
from controller.errors import FtctlError


class Spending:
    """An action that is asked about."""

    needs_approval = True


@pytest.fixture
def terminal():
    """Return a stream to a terminal."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb"):
        yield stream


@pytest.mark.parametrize(
    ("ci", "screen"),
    [(None, LiveScreen), ("", LiveScreen), ("false", LiveScreen), ("0", LiveScreen)]
    + [(said, PlainScreen) for said in ("true", "True", "1", "woodpecker")],
)
def test_only_where_somebody_watches_lines_are_drawn_again(monkeypatch, terminal, ci, screen):
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("sys.stdout", terminal)
    assert is_interactive(terminal) is (screen is LiveScreen)
    assert isinstance(open_screen(as_json=False), screen)


def test_a_pipe_is_no_terminal_even_without_a_ci(monkeypatch, tmp_path):
    monkeypatch.delenv("CI", raising=False)
    with (tmp_path / "log").open("w") as log:
        assert not is_interactive(log)


def test_a_ci_with_a_terminal_is_not_asked_for_ever(monkeypatch, terminal):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr("sys.stdin", terminal)
    with pytest.raises(FtctlError, match="there is no terminal to ask at"):
        ask([Spending()])
