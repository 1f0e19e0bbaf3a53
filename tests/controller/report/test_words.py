"""Words and numbers of a report, as people read them."""

import math

import pytest

from controller.report.model import CurvePointView, CurveView, Interval
from controller.report.words import (
    NONE,
    curve_words,
    interval_words,
    moment_words,
    plain_words,
    score_words,
    seconds_words,
    signed_words,
)

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, NONE),
        (math.nan, NONE),
        (math.inf, NONE),
        (0, "0"),
        (-0.0, "0"),
        (0.123456, "0.1235"),
        (1, "1"),
        (1234.5, "1234"),
        (9998.7, "9999"),
        (9999.4, "9999"),
        (9999.9, "10,000"),  # and not 1e+04
        (10_000, "10,000"),
        (-123_456.7, "-123,457"),
    ],
)
def test_a_score_has_four_digits_or_all_of_them(value, words):
    assert score_words(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.02, "+0.02"),
        (-0.02, f"{MINUS}0.02"),
        (-12_345.6, f"{MINUS}12,346"),
        (math.nan, NONE),
        (-math.inf, NONE),
    ],
)
def test_a_difference_has_a_sign_if_it_is_one(value, words):
    assert signed_words(value) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.8123, 0.9, "0.812 to 0.9"),
        (-0.05, -0.0, f"{MINUS}0.05 to 0"),
        (None, 0.5, "? to 0.5"),
        (0.5, None, "0.5 to ?"),
        (999.4, 999.6, "999 to 1,000"),
        (12_345.6, 23_456.7, "12,346 to 23,457"),  # and not 1.23e+04
        (-12_345.6, 1e-5, f"{MINUS}12,346 to 1e{MINUS}05"),
    ],
)
def test_an_interval_has_three_digits_or_all_of_them(low, high, words):
    assert interval_words(Interval(low=low, high=high)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0804, "80 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.254, "1.25 s"),
        (999.4, "999 s"),
        (12_345, "12,345 s"),
    ],
)
def test_a_time_changes_its_unit_at_a_second(seconds, words):
    assert seconds_words(seconds) == words


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-11-20T09:00:59Z", "2026-11-20 09:00 UTC"),
        ("2026-11-20T09:00:00+09:00", "2026-11-20T09:00:00+09:00"),
        ("2026-11-20", "2026-11-20"),
        ("", ""),
    ],
)
def test_a_moment_is_read_without_its_seconds(moment, words):
    assert moment_words(moment) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("가" * 400, "가" * 400),
        ("가" * 401, "가" * 400 + "… (401 characters)"),
        ({"이름": ["b", None, 1.5]}, '{"이름": ["b", null, 1.5]}'),
        (True, "true"),
        ("x" * 12_345, "x" * 400 + "… (12,345 characters)"),
    ],
)
def test_a_value_is_one_line_and_cut(value, words):
    assert plain_words(value) == words


def points(*losses):
    return CurveView(
        points=[
            CurvePointView(step=1000 * n, train_loss=train, held_out_loss=held)
            for n, (train, held) in enumerate(losses)
        ]
    )


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (points(), ""),
        (points((None, None)), ""),
        (
            points((2.0, None), (1.0, 1.5)),
            (
                "The training loss goes from 2 at step 0 to 1 at step 1,000. "
                "The held-out loss goes from 1.5 at step 1,000 to 1.5 at step 1,000."
            ),
        ),
        (
            points((2.0, None), (0.5, None), (0.75, None)),
            (
                "The training loss goes from 2 at step 0 to 0.75 at step 2,000, "
                "lowest 0.5 at step 1,000."
            ),
        ),
    ],
)
def test_a_curve_is_told_from_its_start_to_its_end(view, words):
    assert curve_words(view) == words
