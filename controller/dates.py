"""The calendar. The one place where days are counted from today."""

from datetime import UTC, date, datetime


def days_until(day: str) -> int:
    """Return how many days are left until a day, `YYYY-MM-DD`; negative once it has passed."""
    return (date.fromisoformat(day) - datetime.now(UTC).date()).days
