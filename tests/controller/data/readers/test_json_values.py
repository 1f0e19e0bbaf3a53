"""Forms of values that JSON does not have. Literals: datasets are recorded with these bytes."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest

from controller.data.readers.json_values import as_json, json_form

SEOUL = timezone(timedelta(hours=9))
LONG = 123456789012345678901


@pytest.mark.parametrize(
    ("value", "in_file", "in_database"),
    [
        (Decimal(12), 12, 12),
        (Decimal("12.50"), "12.50", "12.50"),
        (Decimal("-0.10"), "-0.10", "-0.10"),
        # The two sides differ for long and for rounded numbers.
        (Decimal(LONG), LONG, str(LONG)),
        (Decimal("1.2E+3"), "1200", 1200),
        (
            datetime.fromisoformat("2026-01-02T03:04:05"),
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05",
        ),
        (
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=SEOUL),
            "2026-01-01T18:04:05+00:00",
            "2026-01-01T18:04:05+00:00",
        ),
        (
            datetime(2026, 1, 2, tzinfo=UTC),
            "2026-01-02T00:00:00+00:00",
            "2026-01-02T00:00:00+00:00",
        ),
        (date(2026, 1, 2), "2026-01-02", "2026-01-02"),
        (time(9, 30), "09:30:00", "09:30:00"),
        (timedelta(minutes=1, milliseconds=5), 60.005, 60.005),
        ("카페".encode(), "카페", "카페"),
        (b"\xff\x00", "/wA=", "/wA="),
        (UUID(int=1), str(UUID(int=1)), str(UUID(int=1))),
    ],
)
def test_the_form_of_a_value(value, in_file, in_database):
    for found, expected in ((as_json(value), in_file), (json_form(value), in_database)):
        assert (found, type(found)) == (expected, type(expected))


def test_values_inside_others_have_their_forms():
    value = {"품목": [Decimal(3), (date(2026, 1, 2), None)], 1: {"참": True, "수": 1.5}}
    assert as_json(value) == {"품목": [3, ["2026-01-02", None]], "1": {"참": True, "수": 1.5}}


def test_a_value_of_another_type_is_text_in_a_file_and_refused_in_a_database():
    assert as_json(Fraction(1, 3)) == "1/3"
    with pytest.raises(TypeError, match="Fraction has no form in JSON"):
        json_form(Fraction(1, 3))
    with pytest.raises(TypeError):
        json_form(Decimal("NaN"))
