"""Numbers in a text: `1,234.5`, `-3`, `12 %`, `3만 5천 원`, `1億2000万円`. Pure."""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

_UNITS: Final = {
    **dict.fromkeys("십十", 1),
    **dict.fromkeys("백百", 2),
    **dict.fromkeys("천千", 3),
    **dict.fromkeys("만万萬", 4),
    **dict.fromkeys("억億亿", 8),
    **dict.fromkeys("조兆", 12),
    **dict.fromkeys("경京", 16),
}
"""Zeros of each unit. One of four zeros or more multiplies everything before it: 2천5백만."""
_MYRIAD: Final = 4
_MOST: Final = 4
"""Most units of a piece: 천만 has two."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?"
# 만큼, 조각 and the like are words that follow a number.
_UNIT = r"(?:[십백천억경十百千万萬億亿兆京]|만(?!큼|[가-힣]*나[다요])|조(?![각항건금]))"
_CURRENCY = r"(?=\s?(?:원|엔|달러|유로|위안|円|元|won\b))"
_FIRST = re.compile(
    rf"(?<![\w.])(?P<sign>-)?[₩$€¥£]?(?P<digits>{_DIGITS})"
    rf"(?:(?P<exponent>[eE][-+]?\d{{1,3}})(?!\w)|(?P<units>{_UNIT}{{0,{_MOST}}}+))|"
    rf"(?<=[^\W\dA-Za-z_])(?P<digits2>{_DIGITS})(?P<units2>{_UNIT}{{0,{_MOST}}}+)"
)
_NEXT = re.compile(
    rf"(?P<blank>\s?)(?P<digits>{_DIGITS})(?:(?P<units>{_UNIT}{{1,{_MOST}}}+)|(?P<end>{_CURRENCY})|)"
)
_PERCENT = re.compile(r"\s?(?:%|퍼센트|프로(?![가-힣])|percent\b|パーセント)")
_MINUS = str.maketrans({"\u2212": "-"})


def numbers_in(text: str) -> list[Decimal]:
    """Return the numbers that a text names, in its order. 50 % is 0.5."""
    return list(_numbers(unicodedata.normalize("NFKC", text).translate(_MINUS)))


def _numbers(text: str) -> Iterator[Decimal]:
    place = 0
    while (first := _FIRST.search(text, place)) is not None:
        digits = first["digits"] or first["digits2"]
        units = first["units"] or first["units2"] or ""
        place = first.end()
        number = _plain(digits)
        if first["exponent"]:
            number = number.scaleb(int(first["exponent"][1:]))
        elif units:
            number, place = _with_units(text, number, units, place)
        if (percent := _PERCENT.match(text, place)) is not None:
            place = percent.end()
            number = number.scaleb(-2)
        yield -number if first["sign"] else number


def _with_units(text: str, number: Decimal, units: str, place: int) -> tuple[Decimal, int]:
    """Return a number whose pieces have units, and where it ends: `3만 5천` is 35,000."""
    small, large = _zeros(units)
    section = number.scaleb(small)
    total, section = (section.scaleb(large), Decimal(0)) if large else (Decimal(0), section)
    while units and (piece := _NEXT.match(text, place)) is not None:
        units = piece["units"] or ""
        next_small, next_large = _zeros(units)
        value = _plain(piece["digits"]).scaleb(next_small)
        # Every piece is smaller than the unit before it: 5백 goes on after 2천, 3만 does not.
        is_smaller = value < Decimal(1).scaleb(small) if section else True
        if large:
            is_smaller = is_smaller and (section + value).scaleb(next_large) < Decimal(1).scaleb(
                large
            )
        # Digits alone after a blank are another number unless money is counted: 3만 2개월.
        if not is_smaller or (piece["blank"] and not units and piece["end"] is None):
            break
        section, small, place = section + value, next_small, piece.end()
        if next_large:
            total, section, large = total + section.scaleb(next_large), Decimal(0), next_large
    return total + section, place


def _zeros(units: str) -> tuple[int, int]:
    """Return the zeros of small units, and those of units that end a section: 천만 has 3 and 4."""
    zeros = [_UNITS[one] for one in units]
    return (
        sum(one for one in zeros if one < _MYRIAD),
        sum(one for one in zeros if one >= _MYRIAD),
    )


def _plain(digits: str) -> Decimal:
    return Decimal(digits.replace(",", ""))
