"""Personal data and secrets in a text: their positions, and the masked text. Pure.

A finding can belong to a person or is a credential. Not searched: names, addresses, passports,
driving licences and number plates, which no rule finds; bank accounts other than by IBAN and, in
Korea, next to a word that names them; business numbers (1588-1234, 080-...); e-mail addresses of
version control (`git@...`); the machine's own and reserved IP addresses.

`find` on a text without digits, `@` and the literals of keys takes a microsecond.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from types import MappingProxyType

from controller.data.recipes import FIRST, NEWEST
from controller.data.transforms.pii.finding import Finding
from controller.data.transforms.pii.numbers import find_numbers
from controller.data.transforms.pii.secrets import find_secrets

KINDS = MappingProxyType(
    {
        "secret": "keys, tokens, private keys, passwords in URLs and behind their name",
        "email": "e-mail addresses, also with (at) or 골뱅이",
        "iban": "international bank account numbers (IBAN), by the checksum of ISO 13616",
        "card": "card numbers with an issuer's prefix and Luhn's checksum",
        "rrn": "Korean resident and foreigner registration numbers",
        "national_id": "identity numbers of the given regions, by their issuers' rules",
        "phone": "phone numbers, international or of the given regions",
        "account": "Korean bank accounts, where a word beside them names an account or a bank",
        "ip": "IPv4 and IPv6 addresses of a machine",
    }
)
"""Kinds of findings. Of two that overlap, the earlier kind is more specific, and wins."""

_RANK = {kind: rank for rank, kind in enumerate(KINDS)}

_TYPED = {
    # As input methods and word processors write them; each replaces one character.
    **{0xFF01 + offset: 0x21 + offset for offset in range(94)},
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2212), ord("-")),
    **dict.fromkeys((0x00A0, 0x2007, 0x2009, 0x202F, 0x3000), ord(" ")),
}
_IS_TYPED = re.compile("[" + "".join(map(chr, _TYPED)) + "]")
_TYPED_TOO = {
    **dict.fromkeys((0x2043, 0x2E3A, 0x2E3B, 0x30FC, 0xFE58, 0xFE63), ord("-")),
    **dict.fromkeys((0x00B7, 0x2027, 0x30FB, 0xFE52, 0xFF61), ord(".")),
    **dict.fromkeys((*range(0x2000, 0x2007), 0x2008, 0x200A, 0x205F), ord(" ")),
    0xFE6B: ord("@"),
}
"""Typed variants that recipe 2 added."""
_UNUSUAL = "".join(map(chr, _TYPED_TOO)) + (
    # Invisible characters: a reader does not see that they split a number.
    "\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef"
)
_DISGUISED = re.compile(
    # Digits of another script, typed variants, or invisible characters.
    rf"[^\D0-9]|[{_UNUSUAL}]"
    # Escapes of JSON, HTML and URLs.
    r"|\\u[0-9A-Fa-f]{4}|\\[nrt]|&#(?:[0-9]{1,6}|[xX][0-9A-Fa-f]{1,5});|%[0-9A-Fa-f]{2}"
)
_SIGNS = (
    # Each begins with a fixed letter or is one class, so that the search is fast.
    ("\\", re.compile(r"\\(?:u[0-9A-Fa-f]{4}|[nrt])")),
    ("%", re.compile("%[0-9A-Fa-f]{2}")),
    ("&#", re.compile("&#[0-9xX]")),
    ("", re.compile(r"[^\D0-9]")),
    ("", re.compile(f"[{_UNUSUAL}]")),
)
"""Signs of a disguised text: a literal, and the pattern that must match."""
_SPOKEN = dict(zip("공영일이삼사오육칠팔구", "00123456789", strict=True))
_SPOKEN_PHONE = re.compile("공일공(?:[- ]?[공영일이삼사오육칠팔구]){7,8}")
_DIGIT = re.compile("[0-9]")

_ATS = ("@", "at)", "AT)", "at]", "AT]", " dot ", "골뱅이")
_LOCAL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._%+'-]{0,63})$")
_AT = re.compile(
    r"@| at (?=(?:[a-z0-9-]+ dot ){1,3}(?:com|net|org|io|co|kr|edu|gov|de|uk|jp)(?![a-z0-9]))"
    r"|\s?[(\[{]\s?(?:at|골뱅이)\s?[)\]}]\s?|\s?골뱅이\s?",
    re.IGNORECASE,
)
_DOT = r"(?:\.|\s?[(\[{]\s?(?:dot|점|닷)\s?[)\]}]\s?|\s?닷\s?| dot )"
_DOMAIN = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?{_DOT}){{1,8}}[A-Za-z]{{2,24}}(?![A-Za-z0-9-])",
    re.IGNORECASE,
)
_ANY_LOCAL = re.compile(r"(?:\w[\w.%+'-]{0,63}|\"[^\"\n]{1,62}\")$")
_ANY_DOMAIN = re.compile(
    r"(?:[^\W_][\w-]{0,62}\.){1,8}(?:[A-Za-z]{2,24}|xn--[a-z0-9-]{2,59}|한국|中国|中國|台灣|みんな|рф)(?![A-Za-z0-9-])"
)
"""Letters other than Latin in an address, as RFC 6531 allows."""
_NO_DOMAIN = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|css|html?|json|ya?ml|txt|md)$", re.IGNORECASE)
_LONGEST_LOCAL = 64

_LONGEST_NAME = 40
_WORD_ENDS = re.compile(r"[_-]+|(?<=[a-z])(?=[A-Z])")


def find(text: str, regions: Sequence[str], recipe: int = NEWEST) -> list[Finding]:
    """Find personal data and secrets.

    Returns:
        Findings in the order of the text, without overlaps.
    """
    typed = text
    if not text.isascii() and _IS_TYPED.search(text):
        typed = _IS_TYPED.sub(lambda one: chr(_TYPED[ord(one[0])]), text)
    if "공일공" in typed:
        typed = _SPOKEN_PHONE.sub(
            lambda run: "".join(_SPOKEN.get(one, one) for one in run[0]), typed
        )
    found = _find_typed(typed, regions, recipe)
    if recipe > FIRST and _is_disguised(typed):
        found = _apart([*found, *_find_disguised(typed, regions, recipe)])
    return sorted(found, key=lambda one: one.start)


def _find_typed(typed: str, regions: Sequence[str], recipe: int) -> list[Finding]:
    found: list[Finding] = []
    # A text next to a finding may be another finding once the first is masked.
    while more := _apart(_search(typed, regions, recipe)):
        found += more
        for one in more:
            blank = "\n" * (one.end - one.start)
            typed = f"{typed[: one.start]}{blank}{typed[one.end :]}"
    return found


def _is_disguised(text: str) -> bool:
    signs = _SIGNS[:3] if text.isascii() else _SIGNS
    return any(begin in text and sign.search(text) for begin, sign in signs)


def _find_disguised(text: str, regions: Sequence[str], recipe: int) -> Iterator[Finding]:
    """Yield findings in the text after decoding each escaped or disguised character."""
    parts, starts, at = list[str](), list[int](), 0
    for one in _DISGUISED.finditer(text):
        for piece, first in ((text[at : one.start()], at), (_undisguised(one[0]), one.start())):
            parts.append(piece)
            starts += range(first, first + len(piece))
        at = one.end()
    parts.append(text[at:])
    starts += range(at, len(text) + 1)
    for found in _find_typed("".join(parts), regions, recipe):
        yield Finding(found.kind, starts[found.start], starts[found.end], found.value)


def _undisguised(written: str) -> str:
    """Return the decoded character; empty for an invisible character."""
    if (typed := _TYPED_TOO.get(ord(written[0]))) is not None:
        return chr(typed)
    if (digit := unicodedata.decimal(written[0], None)) is not None:
        return str(digit)
    if written[0] == "&":
        code = written[2:-1]
        number = int(code[1:], 16) if code[0] in "xX" else int(code)
        return chr(number) if number else " "
    if written[0] == "\\" and written[1] != "u":
        return "\n"
    if written[0] in "\\%":
        return chr(int(written.lstrip("\\u%"), 16))
    return ""


def find_named(
    text: str, named: str, regions: Sequence[str], recipe: int = NEWEST
) -> list[Finding]:
    """Find personal data and secrets in the value of a key, which may describe the value.

    `{"password": "P@$$w0rd1"}` gives the same finding as `password: P@$$w0rd1`.
    """
    found = find(text, regions, recipe)
    if not named:
        return found
    words = f"{_WORD_ENDS.sub(' ', named[-_LONGEST_NAME:])}: "
    for one in find(words + text, regions, recipe):
        start, end = one.start - len(words), one.end - len(words)
        if start >= 0 and all(end <= other.start or other.end <= start for other in found):
            found.append(Finding(one.kind, start, end, one.value))
    return sorted(found, key=lambda one: one.start)


def mask(text: str, findings: Sequence[Finding], names: dict[tuple[str, str], str]) -> str:
    """Return a text with a placeholder for each finding: `[EMAIL_1]`, `[PHONE_2]`.

    Args:
        text: The text.
        findings: Its findings.
        names: Placeholders of the example's earlier texts: an equal value has the same placeholder.
    """
    parts: list[str] = []
    at = 0
    for one in findings:
        key = (one.kind, one.value)
        if key not in names:
            number = 1 + sum(kind == one.kind for kind, _ in names)
            while f"[{one.kind.upper()}_{number}]" in text:
                number += 1
            names[key] = f"[{one.kind.upper()}_{number}]"
        parts += (text[at : one.start], names[key])
        at = one.end
    return "".join((*parts, text[at:]))


def _search(text: str, regions: Sequence[str], recipe: int) -> list[Finding]:
    found = [*find_secrets(text)]
    if any(one in text for one in _ATS):
        found += _emails(text, recipe)
    if _DIGIT.search(text):
        found += find_numbers(text, regions, recipe)
    return found


def _emails(text: str, recipe: int) -> Iterator[Finding]:
    for at in _AT.finditer(text):
        before = max(0, at.start() - _LONGEST_LOCAL), at.start()
        local, domain = _LOCAL.search(text, *before), _DOMAIN.match(text, at.end())
        if recipe > FIRST:
            local = local or _ANY_LOCAL.search(text, *before)
            domain = domain or _ANY_DOMAIN.match(text, at.end())
        if local is None or domain is None or local[0] == "git":
            continue
        host = re.sub(_DOT, ".", domain[0], flags=re.IGNORECASE)
        if not _NO_DOMAIN.search(host):
            value = f"{local[0]}@{host}".casefold()
            yield Finding("email", local.start(), domain.end(), value)


def _apart(found: list[Finding]) -> list[Finding]:
    """Return the findings without those that overlap a longer or more specific one."""
    kept: list[Finding] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        rival = kept[-1] if kept and kept[-1].end > one.start else None
        if rival is None:
            kept.append(one)
        elif _RANK[one.kind] < _RANK[rival.kind]:
            kept[-1] = one
    return kept
