"""Every pattern and parser takes linear time in the length of a text, not quadratic time."""

import re
import signal
from contextlib import contextmanager

import pytest

from backends.did_you_mean import did_you_mean
from controller.data.readers.text import border
from controller.data.sources.globs import has_wildcard
from controller.data.transforms.html_to_text import html_to_text
from controller.data.transforms.pii.detect import find
from controller.evaluate.gate import parse_condition
from controller.render.text import escape_control, one_line
from controller.spec.where import parse_where
from controller.spec.yaml import parse_yaml
from tests.fuzz.patterns import attacks, found_patterns

LENGTH = 50_000
"""Characters of a text: quadratic time is a second or more, linear time is milliseconds."""
CPU_S = 0.5
PATTERNS = {found.place: found for found in found_patterns()}
EXCEPTIONS = {
    "controller.data.transforms.html_to_text._KEPT": "its text ends with `>`, so that every `<` has an end",
    "controller.data.transforms.html_to_text._PARTED": "its text ends with a mark, so that no run is in vain",
}


class Endless(BaseException):
    """The pattern took too long. The engine of the standard library handles signals."""


@contextmanager
def within(cpu_s: float):
    """Raise `Endless` after `cpu_s` seconds of CPU time, independent of the machine's load."""

    def stop(*_):
        raise Endless

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("place", sorted(PATTERNS.keys() - EXCEPTIONS.keys()))
def test_a_pattern_takes_linear_time(place: str):
    found = PATTERNS[place]
    for text in attacks(found.pattern, LENGTH):
        for method in found.methods:
            with within(CPU_S):
                use(found.pattern, method, text)


def use(pattern: re.Pattern, method: str, text: str | bytes) -> None:
    if method in {"match", "fullmatch", "search"}:
        getattr(pattern, method)(text)
    else:
        for _ in pattern.finditer(text):
            pass


def test_every_exception_is_still_a_pattern():
    assert EXCEPTIONS.keys() <= PATTERNS.keys()
    assert len(PATTERNS) > 80, "the patterns are not found any more"


@pytest.mark.parametrize(
    "written", [r"\s*x", "<[^>]*>", r"[.!?]+['\"]*(?=\s)", r"[a-z]+@", r"\[.+\]"]
)
def test_a_quadratic_pattern_is_found_out(written: str):
    pattern = re.compile(written)
    with pytest.raises(Endless):
        use_all(pattern, LENGTH)


def use_all(pattern: re.Pattern, length: int) -> None:
    for text in attacks(pattern, length):
        with within(CPU_S):
            pattern.search(text)


LONG = {
    "blanks": " " * 100_000,
    "lines": "\n" * 100_000,
    "letters": "a" * 100_000,
    "digits": "1" * 100_000,
    "dots": "." * 100_000,
    "angles": "<" * 100_000,
    "cells": "<td>" * 50_000,
    "breaks": "<pre>" + "<br>" * 50_000,
    "entities": "&amp;" * 40_000,
    "addresses": "a@" * 100_000,
    "domains": "a@b." * 50_000,
    "keys": "sk-" * 60_000,
    "tokens": "eyJ" * 60_000,
    "numbers": "010-1234-" * 20_000,
    "ticks": "`" * 100_000,
    "quotes": "'" * 100_000,
    "brackets": "[" * 100_000,
    "passwords": "password: " * 20_000,
    "schemes": "a://b:" * 30_000,
    "hangul": "가" * 100_000,
}


@pytest.mark.parametrize("name", LONG)
def test_what_reads_foreign_text_takes_linear_time(name: str):
    text = LONG[name]
    readers = [
        html_to_text,
        lambda text: find(text, ["KR", "US", "DE"]),
        lambda text: border(text + "xx   ", 0, len(text) - 10),
        has_wildcard,
        escape_control,
        lambda text: one_line(text, 100),
        lambda text: did_you_mean(text, [text[1:], "a" * 100_000]),
        lambda text: parse_yaml(f"a: {text}".encode(), "a.yaml"),
        lambda text: refused(parse_where, f"a{text}x"),
        lambda text: refused(parse_condition, f"a{text}x"),
    ]
    for read in readers:
        with within(4 * CPU_S):
            read(text)


def refused(parse, text: str) -> None:
    with pytest.raises(ValueError, match="characters"):
        parse(text)
