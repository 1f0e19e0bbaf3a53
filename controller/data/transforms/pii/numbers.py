"""Numbers of a person: phone, registration, card and bank numbers, IP addresses. Pure.

Each is checked by its issuer's rules (python-stdnum, phonenumbers, ipaddress), and must be written
as people write it: prices, dates, order numbers and versions have digits too.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

from phonenumbers import (
    Leniency,
    PhoneMetadata,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberMatcher,
    PhoneNumberType,
    format_number,
    number_type,
)
from stdnum import ean, iban, luhn
from stdnum.exceptions import ValidationError
from stdnum.kr import rrn

from controller.data.recipes import FIRST, NEWEST
from controller.data.transforms.pii.finding import Finding
from controller.data.transforms.pii.national import find_accounts, find_national, is_named

_MANY_DIGITS = re.compile(r"[0-9](?:[-. ()]{0,3}[0-9]){6}")
"""The shortest number, except for IP addresses."""
_DIGITS = re.compile(r"[0-9]{2}")
_BEFORE = 24
"""Characters before a number in which a word may name it."""

_RRN = re.compile(r"(?<![0-9A-Za-z-])([0-9]{6})([- ]{0,3})([0-9]{7})(?![0-9A-Za-z-])")
_RRN_NAMED = re.compile(r"주민|외국인|등록 ?번호|\brrn\b|resident|registration", re.IGNORECASE)
_BORN_BEFORE = 2050
"""A barcode may look like a birth date with a year of two digits, but in the second half of a
century that has not begun."""
_BORN_FROM = 1900
_KOREAN_BARCODE = "880"
_SUM = re.compile(r"[=+*/]\s?$")

_CARD = re.compile(
    r"(?<![0-9A-Za-z.-])(?:"
    r"[0-9]{4}([- .])[0-9]{4}\1[0-9]{4}\1[0-9]{3,4}|[0-9]{4}([- .])[0-9]{6}\2[0-9]{4,5}"
    r"|[0-9]{14,16}|62[0-9]{15,17})(?![0-9A-Za-z]|[-.][0-9])"
)
_CARD_PREFIX = re.compile(
    # Lengths and prefixes of ISO/IEC 7812 issuers, as the networks publish them.
    r"4[0-9]{15}$"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}$"  # Mastercard
    r"|3[47][0-9]{13}$"  # American Express
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11}$"  # Diners Club
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}$"  # JCB
    r"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}$"  # Discover
    r"|62[0-9]{14,17}$"  # UnionPay
    r"|(?:50|5[6-8]|6[037])[0-9]{14}$"  # Maestro
)
_DOMESTIC_CARD = re.compile(r"9[0-9]{15}$")
"""Cards for use in Korea alone; found only if written in groups, or named."""
_CARD_NAMED = re.compile(r"카드|card", re.IGNORECASE)

_IBAN = re.compile(
    r"(?<![0-9A-Za-z])[A-Za-z]{2}[0-9]{2}(?:[ -]?[0-9A-Za-z]{4}){2,7}(?:[ -]?[0-9A-Za-z]{1,3})?"
)

_IPV4 = re.compile(r"(?<![\w.-])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\w|[./-][0-9])", re.ASCII)
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{1,4}:|::)[0-9A-Fa-f:]{1,36}(?![0-9A-Za-z]|/[0-9]|:[0-9A-Za-z])"
)
_VERSION = re.compile(
    r"(?:\bv|\bver\.?|version|release|build|firmware|버전|펌웨어|릴리스|절|항|section|chapter)"
    r"\s*+[:=은는]?\s*+$",
    re.IGNORECASE,
)
_SMALL = 10
"""Four numbers below ten are a version or a section; 1.1.1.1 and 8.8.8.8 are public servers."""
_FEWEST_GROUPS = 3
_DOTS, _COLONS = 3, 7
"""Separators of an address; an IPv6 address may have `::` instead."""

_PHONE = re.compile(
    r"(?:(?<![0-9A-Za-z_.])(?<![0-9A-Za-z]-)|(?=\+))[+(]{0,2}[0-9](?:[-. ()]{0,3}[0-9]){7,24}+(?![0-9A-Za-z_])"
)
_PHONE_NAMED = re.compile(
    r"전화|연락|휴대|핸드폰|폰|번호|문자|팩스|\b(?:tel|phone|mobile|cell|call|fax|contact|reach)",
    re.IGNORECASE,
)
_PHONE_SURELY_NAMED = re.compile(
    r"(?:전화|휴대폰|핸드폰|(?<![A-Za-z])(?:tel|(?:tele|cell)?phone|mobile|cell))"
    r"(?: ?(?:번호|no|num|number))?\W{0,4}$",
    re.IGNORECASE,
)
"""A word that, right before a number, identifies it with certainty."""
_NOT_PERSONAL = frozenset(
    {
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
        PhoneNumberType.UNKNOWN,
    }
)
"""Numbers that a business advertises (1588-1234, 080-..., +1 800 ...), and invalid ones."""
_KOREAN_MOBILE = re.compile(r"\+821(?:0[0-9]{8}|[16-9][0-9]{7,8})$")
"""Also in ranges that libphonenumber does not know: no other number is written so."""
_E164 = PhoneNumberFormat.E164
_PLAIN_KINDS = frozenset(
    {PhoneNumberType.MOBILE, PhoneNumberType.PERSONAL_NUMBER, PhoneNumberType.VOIP}
)
"""Found without separators: the first digits of a mobile number are not an order number's."""
_ALL_DIGITS = "01234567890"
_PUNCTUATION = str.maketrans("()", "  ")
_MOST_GROUPS = 5


def find_numbers(text: str, regions: Sequence[str], recipe: int = NEWEST) -> Iterator[Finding]:
    """Yield the numbers of a text; some may overlap."""
    if recipe > FIRST and _DIGITS.search(text):
        yield from find_national(text, regions)
    if _MANY_DIGITS.search(text):
        yield from _registration_numbers(text, recipe)
        if recipe > FIRST and "KR" in regions:
            yield from find_accounts(text)
        yield from _cards(text)
        yield from _bank_numbers(text)
        yield from _phones(text, regions, recipe)
    if text.count(".") >= _DOTS:
        yield from _ipv4(text)
    if "::" in text or text.count(":") >= _COLONS:
        yield from _ipv6(text)


def _registration_numbers(text: str, recipe: int) -> Iterator[Finding]:
    """Yield Korean resident and foreigner registration numbers.

    Since October 2020 the last six digits are random, without a checksum. So a number written as
    6-7 digits needs only a birth date. Thirteen digits in a row may be a barcode or a time: there
    the checksum decides, or a word before or after.
    """
    for found in _RRN.finditer(text):
        digits = found[1] + found[3]
        if not _is_born(digits):
            continue
        is_checked = rrn.is_valid(digits) and (found[2] or _may_be_person(text, found))
        named = _is_named(_RRN_NAMED, text, found.start())
        if recipe > FIRST:
            named = is_named(_RRN_NAMED, text, found)
        if "-" in found[2] or is_checked or named:
            yield Finding("rrn", found.start(), found.end(), digits)


def _may_be_person(text: str, found: re.Match[str]) -> bool:
    """Return whether thirteen digits in a row are neither a barcode nor a part of a sum."""
    is_barcode = found[0].startswith(_KOREAN_BARCODE) and ean.is_valid(found[0])
    return not is_barcode and not _SUM.search(text, max(0, found.start() - 2), found.start())


def _is_born(digits: str) -> bool:
    try:
        year: int = rrn.get_birth_date(digits).year
    except ValidationError:
        return False
    return _BORN_FROM <= year < _BORN_BEFORE


def _cards(text: str) -> Iterator[Finding]:
    for found in _CARD.finditer(text):
        digits = re.sub(r"[- .]", "", found[0])
        domestic = _DOMESTIC_CARD.match(digits) and (
            len(digits) < len(found[0]) or _is_named(_CARD_NAMED, text, found.start())
        )
        if (domestic or _CARD_PREFIX.match(digits)) and luhn.is_valid(digits):
            yield Finding("card", found.start(), found.end(), digits)


def _bank_numbers(text: str) -> Iterator[Finding]:
    for found in _IBAN.finditer(text):
        # Words after the number may look like a part of it.
        ends = accumulate(len(group) for group in re.findall(r"[ -]?[0-9A-Za-z]{1,4}", found[0]))
        for end in reversed([*ends]):
            if iban.is_valid(found[0][:end]):
                value = iban.compact(found[0][:end])
                yield Finding("iban", found.start(), found.start() + end, value)
                break


def _phones(text: str, regions: Sequence[str], recipe: int) -> Iterator[Finding]:
    """Yield phone numbers: with + anywhere, otherwise in the national form of a region."""
    for run in _PHONE.finditer(text):
        written = run[0].translate(_PUNCTUATION)
        # A number under a descriptive key: 821012345678, or 1012345678 from a sheet.
        is_counted = recipe > FIRST and written.isdigit()
        is_counted = is_counted and _is_named(_PHONE_SURELY_NAMED, text, run.start())
        for region in regions or ("ZZ",):
            if not (is_counted or "+" in written) and not _may_be_national(written, region):
                continue
            for match in PhoneNumberMatcher(written, region, leniency=Leniency.POSSIBLE):
                start, end = run.start() + match.start, run.start() + match.end
                named = _is_named(_PHONE_NAMED, text, start)
                if _is_written_as_phone(match.raw_string, match.number, named=named) or (
                    is_counted and _is_counted_phone(match.raw_string, match.number)
                ):
                    value = format_number(match.number, _E164)
                    closed = text.count(")", start, end) > text.count("(", start, end)
                    opened = closed and text[start - 1 : start] == "("
                    yield Finding("phone", start - opened, end, value)


def _may_be_national(written: str, region: str) -> bool:
    metadata = PhoneMetadata.metadata_for_region(region)
    # A prefix other than 0 is not written: a number in the United States goes without its 1.
    if metadata is None or metadata.national_prefix != "0":
        return metadata is not None
    groups = re.findall("[0-9]+", written)
    return groups[0] == str(metadata.country_code) or any(one.startswith("0") for one in groups)


def _is_written_as_phone(written: str, number: PhoneNumber, *, named: bool) -> bool:
    kind = number_type(number)
    if kind == PhoneNumberType.UNKNOWN and _KOREAN_MOBILE.match(format_number(number, _E164)):
        kind = PhoneNumberType.MOBILE
    if kind in _NOT_PERSONAL:
        return False
    if written.startswith("+"):
        return True
    groups = re.findall("[0-9]+", written)
    national = re.findall("[0-9]+", format_number(number, PhoneNumberFormat.NATIONAL))
    if len(groups) == 1:
        is_plain = kind in _PLAIN_KINDS and groups[0].startswith("0")
        return (
            groups[0] not in _ALL_DIGITS and groups[0] == "".join(national) and (named or is_plain)
        )
    expected = "".join(national)
    if groups[0] == str(number.country_code):
        expected = f"{number.country_code}{number.national_number}"
    if "".join(groups) != expected or len(groups) > _MOST_GROUPS:
        return False
    if kind in _PLAIN_KINDS:
        return len(groups[-1]) in {len(national[-1]), len(national[-1]) + len(national[-2])}
    # Sums and ranges have their signs in other places, and blanks around them.
    usual = {*_ends(national), len(str(number.national_number))}
    return _ends(groups) <= usual and " - " not in written


def _is_counted_phone(written: str, number: PhoneNumber) -> bool:
    """Return True if digits are a phone number stored as a number, without + or leading 0."""
    national = str(number.national_number)
    return written in {national, f"{number.country_code}{national}"} and (
        number_type(number) not in _NOT_PERSONAL
    )


def _ends(groups: list[str]) -> set[int]:
    """Return the number of digits after each separator."""
    return {sum(map(len, groups[at:])) for at in range(1, len(groups))}


def _ipv4(text: str) -> Iterator[Finding]:
    for found in _IPV4.finditer(text):
        if all(int(part) < _SMALL for part in found[0].split(".")):
            continue
        if not _VERSION.search(text, max(0, found.start() - _BEFORE), found.start()):
            yield from _address(found)


def _ipv6(text: str) -> Iterator[Finding]:
    for found in _IPV6.finditer(text):
        if len(re.findall("[0-9A-Fa-f]+", found[0])) >= _FEWEST_GROUPS:
            yield from _address(found)


def _address(found: re.Match[str]) -> Iterator[Finding]:
    """Yield an address of one machine, public or private: a private one shows a network."""
    try:
        address = ipaddress.ip_address(found[0])
    except ValueError:
        return
    if not (
        address.is_loopback
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or address.is_link_local
    ):
        yield Finding("ip", found.start(), found.end(), str(address))


def _is_named(names: re.Pattern[str], text: str, start: int) -> bool:
    return names.search(text, max(0, start - _BEFORE), start) is not None
