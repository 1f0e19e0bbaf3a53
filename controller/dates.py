"""The calendar: days counted from today, and times as the lockfile writes them."""

from datetime import UTC, date, datetime


def days_until(day: str) -> int:
    """Return how many days are left until a day, `YYYY-MM-DD`; negative once it has passed."""
    return (date.fromisoformat(day) - datetime.now(UTC).date()).days


def timestamp(seconds: float | None = None) -> str:
    """Return a time as the lockfile writes it: seconds since the epoch, or now."""
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
