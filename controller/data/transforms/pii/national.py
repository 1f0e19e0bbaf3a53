"""National identity numbers of other countries, and Korean bank accounts, in a text. Pure.

A number counts if its issuer's rule holds (python-stdnum) and its form is distinctive. In another
form, a word close to the number has to name it. Passports, driving licences and number plates are
not searched: no rule distinguishes them from order numbers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import MappingProxyType
from typing import Final, NamedTuple

from stdnum import get_cc_module

from controller.data.transforms.pii.finding import Finding

_NEAR: Final = 24
"""Characters before and after a number in which a word may name it."""
_FROM: Final = r"(?<![0-9A-Za-z.-])"
_TO: Final = r"(?![0-9A-Za-z]|[-.][0-9])"


class _Number(NamedTuple):
    """Written forms of a country's number."""

    module: str
    """Module of python-stdnum; empty if the form alone is the rule."""
    form: str
    """Pattern of a form that only this number has; empty if it has no such form."""
    plain: str = ""
    """Pattern of a form that counts only next to a word of `words`."""
    words: str = ""
    """Pattern of the number's common names."""


_NUMBERS: Final = MappingProxyType(
    {
        "AR": (_Number("ar.dni", "", r"[0-9]{2}\.?[0-9]{3}\.?[0-9]{3}", r"\bdni\b"),),
        "AT": (_Number("at.vnr", "", r"[0-9]{4} ?[0-9]{6}", r"sozialvers|\bsvnr"),),
        "AU": (_Number("au.tfn", "", r"[0-9]{3} ?[0-9]{3} ?[0-9]{2,3}", r"\btfn\b|tax file"),),
        "BE": (
            _Number("be.nn", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", "[0-9]{11}",
                    "rijksregister|registre national|national number"),
        ),
        "BG": (_Number("bg.egn", "", "[0-9]{10}", r"\begn\b|егн"),),
        "BR": (_Number("br.cpf", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", "[0-9]{11}", r"\bcpf\b"),),
        "CA": (
            _Number("ca.sin", "", "[0-9]{3}[- ]?[0-9]{3}[- ]?[0-9]{3}",
                    r"\b(?:sin|nas)\b|social insurance|assurance sociale"),
        ),
        "CH": (_Number("ch.ssn", r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}", "756[0-9]{10}", "ahv|avs"),),
        "CL": (_Number("cl.rut", r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9kK]", "[0-9]{7,8}-?[0-9kK]",
                       r"\bru[tn]\b"),),
        "CN": (_Number("cn.ric", "[0-9]{17}[0-9Xx]"),),
        "CZ": (_Number("cz.rc", "[0-9]{6}/[0-9]{3,4}", "[0-9]{9,10}", "rodn"),),
        "DE": (
            _Number("de.idnr", "[0-9]{2} [0-9]{3} [0-9]{3} [0-9]{3}", "[0-9]{11}",
                    r"steuer|\bidnr|\btin\b|tax id"),
        ),
        "DK": (_Number("dk.cpr", "[0-9]{6}-[0-9]{4}", "[0-9]{10}", r"\bcpr\b"),),
        "EE": (_Number("ee.ik", "", "[0-9]{11}", "isikukood|personal code"),),
        "ES": (
            _Number("es.dni", "[0-9]{8}-?[A-Za-z]"),
            _Number("es.nie", "[XYZxyz]-?[0-9]{7}-?[A-Za-z]"),
        ),
        "FI": (_Number("fi.hetu", "[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-Ya-y]"),),
        "FR": (
            _Number("fr.nir", "[12] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}"),
        ),
        "GB": (
            _Number("", "(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D])"),
            _Number("gb.nhs", "", "[0-9]{3}[- ]?[0-9]{3}[- ]?[0-9]{4}", r"\bnhs\b"),
        ),
        "GR": (_Number("gr.amka", "", "[0-9]{11}", "amka|αμκα"),),
        "HR": (_Number("hr.oib", "", "[0-9]{11}", r"\boib\b"),),
        "ID": (_Number("id.nik", "", "[0-9]{16}", r"\b(?:nik|ktp)\b"),),
        "IE": (_Number("ie.pps", "[0-9]{7}[A-Wa-w][A-Ia-iWw]?"),),
        "IL": (_Number("il.idnr", "", "[0-9]{9}", r"teudat|\bid\b|תעודת|ת\.ז"),),
        "IN": (
            _Number("in.aadhaar", "[0-9]{4}[- ][0-9]{4}[- ][0-9]{4}", "[0-9]{12}", "aadhaar|आधार"),
            _Number("in.pan", "[A-Z]{5}[0-9]{4}[A-Z]"),
        ),
        "IS": (_Number("is.kennitala", "[0-9]{6}-[0-9]{4}", "[0-9]{10}", "kennitala"),),
        "IT": (_Number("it.codicefiscale", "[A-Za-z]{6}[0-9LMNPQRSTUVlmnpqrstuv]{2}[A-Za-z]"
                       "[0-9LMNPQRSTUVlmnpqrstuv]{2}[A-Za-z][0-9LMNPQRSTUVlmnpqrstuv]{3}[A-Za-z]"),),
        "JP": (
            _Number("jp.in_", "", "[0-9]{4}[- ]?[0-9]{4}[- ]?[0-9]{4}",
                    "マイナンバー|個人番号|my ?number|individual number"),
        ),
        "LT": (_Number("lt.asmens", "", "[0-9]{11}", "asmens"),),
        "MX": (_Number("mx.curp", "[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]"),),
        "MY": (_Number("my.nric", "[0-9]{6}-[0-9]{2}-[0-9]{4}", "[0-9]{12}", "nric|mykad"),),
        "NL": (_Number("nl.bsn", "", r"[0-9]{9}|[0-9]{4}\.[0-9]{2}\.[0-9]{3}", r"\bbsn\b|burgerservice"),),
        "NO": (_Number("no.fodselsnummer", "[0-9]{6} ?[0-9]{5}"),),
        "PK": (_Number("pk.cnic", "[0-9]{5}-[0-9]{7}-[0-9]", "[0-9]{13}", "cnic"),),
        "PL": (_Number("pl.pesel", "", "[0-9]{11}", "pesel"),),
        "PT": (_Number("pt.cc", "[0-9]{8} ?[0-9] ?[A-Za-z]{2}[0-9]"),),
        "RO": (_Number("ro.cnp", "", "[0-9]{13}", r"\bcnp\b|cod numeric"),),
        "RU": (_Number("ru.inn", "", "[0-9]{12}", r"\binn\b|инн"),),
        "SE": (_Number("se.personnummer", "(?:[0-9]{2})?[0-9]{6}[-+][0-9]{4}", "[0-9]{10}(?:[0-9]{2})?",
                       "personnummer|personal number"),),
        "SK": (_Number("sk.rc", "[0-9]{6}/[0-9]{3,4}", "[0-9]{9,10}", "rodn"),),
        "TH": (_Number("th.pin", "[0-9]-[0-9]{4}-[0-9]{5}-[0-9]{2}-[0-9]", "[0-9]{13}",
                       "บัตรประชาชน|citizen|national id"),),
        "TR": (_Number("tr.tckimlik", "", "[0-9]{11}", r"kimlik|\btckn?\b"),),
        "US": (
            _Number("us.ssn", "[0-9]{3}-[0-9]{2}-[0-9]{4}", "[0-9]{3} ?[0-9]{2} ?[0-9]{4}",
                    r"\bssn\b|social security"),
            _Number("us.itin", "9[0-9]{2}-[0-9]{2}-[0-9]{4}", "9[0-9]{8}", r"\bitin\b|taxpayer"),
        ),
        "ZA": (_Number("za.idnr", "", "[0-9]{13}", r"\bid\b|identity"),),
    }
)  # fmt: skip
"""Numbers by country, searched if `pii_regions` contains the country."""

REGIONS: Final = tuple(_NUMBERS)

_ACCOUNT = re.compile(
    rf"{_FROM}(?:[0-9]{{2,6}}(?:-[0-9]{{1,8}}){{1,4}}|[0-9]{{10,14}}){_TO}(?!\s?원)"
)
_ACCOUNT_NAMED = re.compile(
    r"계좌|통장|입금|송금|이체|은행|뱅크|농협|수협|신협|새마을금고|우체국|저축|예금|적금"
    r"|bank account|account (?:no|number)",
    re.IGNORECASE,
)
_ACCOUNT_DIGITS: Final = range(10, 17)
_NOT_ACCOUNT = re.compile(
    # Phone numbers, dates with times, and business numbers.
    r"0(?:1[016-9]|2|[3-6][1-5]|70)-?[0-9]{3,4}-?[0-9]{4}|1[5-9][0-9]{2}-[0-9]{4}"
    r"|(?:19|20)[0-9]{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12][0-9]|3[01])[0-9]*|[0-9]{3}-[0-9]{2}-[0-9]{5}"
)


def find_national(text: str, regions: Sequence[str]) -> Iterator[Finding]:
    """Yield the identity numbers of regions other than Korea; some may overlap."""
    for region in regions:
        for form, plain, words, is_valid in _compiled(region):
            yield from _numbers(text, form, None, is_valid)
            yield from _numbers(text, plain, words, is_valid)


def find_accounts(text: str) -> Iterator[Finding]:
    """Yield Korean bank accounts. No rule recognises them, so a word close by has to name them."""
    for found in _ACCOUNT.finditer(text):
        digits = found[0].replace("-", "")
        is_account = len(digits) in _ACCOUNT_DIGITS and not _NOT_ACCOUNT.fullmatch(found[0])
        if is_account and is_named(_ACCOUNT_NAMED, text, found):
            yield Finding("account", found.start(), found.end(), digits)


def is_named(names: re.Pattern[str], text: str, found: re.Match[str]) -> bool:
    """Return True if a word close before or after a number names it."""
    before = names.search(text, max(0, found.start() - _NEAR), found.start())
    return bool(before or names.search(text, found.end(), found.end() + _NEAR))


def _numbers(
    text: str,
    form: re.Pattern[str] | None,
    words: re.Pattern[str] | None,
    is_valid: Callable[[str], bool],
) -> Iterator[Finding]:
    if form is None or (words is not None and not words.search(text)):
        return
    for found in form.finditer(text):
        if (words is None or is_named(words, text, found)) and is_valid(found[0]):
            value = re.sub("[^0-9A-Za-z]", "", found[0]).upper()
            yield Finding("national_id", found.start(), found.end(), value)


@cache
def _compiled(
    region: str,
) -> list[
    tuple[re.Pattern[str] | None, re.Pattern[str] | None, re.Pattern[str], Callable[[str], bool]]
]:
    return [
        (
            re.compile(f"{_FROM}(?:{number.form}){_TO}") if number.form else None,
            re.compile(f"{_FROM}(?:{number.plain}){_TO}") if number.plain else None,
            re.compile(number.words or "(?!)", re.IGNORECASE),
            _validator(number.module),
        )
        for number in _NUMBERS.get(region, ())
    ]


def _validator(module: str) -> Callable[[str], bool]:
    if not module:
        return lambda _: True
    country, _, name = module.partition(".")
    is_valid: Callable[[str], bool] = get_cc_module(country, name).is_valid
    return is_valid
