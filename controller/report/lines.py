"""Lines of an evaluation file, checked. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

_END: Final = object()


class DamagedLineError(ValueError):
    """A line of an evaluation file has another form; the message names the line."""


class EvaluatedExample(msgspec.Struct, frozen=True, kw_only=True):
    """One held-out example with the answers of all models."""

    messages: list[dict[str, Any]]
    id: str = ""
    origin: str = ""
    reference: str | None = None
    reference_calls: list[dict[str, Any]] | None = None
    columns: dict[str, str] = {}
    answers: dict[str, str] = {}
    calls: dict[str, list[dict[str, Any]] | None] = {}
    thinking: dict[str, str | None] = {}
    values: dict[str, dict[str, float | None]] = {}
    tokens: dict[str, int | None] = {}
    latency_s: dict[str, float | None] = {}
    finish_reason: dict[str, str | None] = {}


def checked(lines: Iterable[Mapping[str, Any]]) -> Iterator[EvaluatedExample]:
    """Yield the lines of an evaluation file as records.

    Raises:
        DamagedLineError: A line is not JSON, or has another form.
    """
    number, rest = 1, iter(lines)
    try:
        while (line := next(rest, _END)) is not _END:
            yield msgspec.convert(line, EvaluatedExample)
            number += 1
    except msgspec.ValidationError as error:
        raise DamagedLineError(f"line {number}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedLineError(f"line {number}: is not JSON: {error}") from None
