"""Keys, tokens and passwords in a text: rules of detect-secrets, and forms it does not know. Pure.

Rules that measure the randomness of a string are not used: they find digests, identifiers and parts
of URLs. Most texts have no word as long as a key; in other texts, a rule runs only if they contain a
literal of it.
"""

import re
from collections.abc import Iterator

from detect_secrets.filters.heuristic import is_sequential_string, is_templated_secret
from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from controller.data.transforms.pii.finding import Finding

_RULES = (
    (("AKIA", "ASIA", "ABIA", "ACCA", "A3T"), AWSKeyDetector.denylist[:1]),
    (("aws", "AWS", "Aws"), AWSKeyDetector.denylist[1:]),
    (("AccountKey=",), AzureStorageKeyDetector.denylist),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), GitHubTokenDetector.denylist),
    (("gl", "GR1348941"), GitLabTokenDetector.denylist),
    (("-us",), MailchimpDetector.denylist),
    (("pypi-Ag",), PypiTokenDetector.denylist),
    (("SG.",), SendGridDetector.denylist),
    (("xox", "hooks.slack.com"), SlackDetector.denylist),
    (("sq0csp-",), SquareOAuthDetector.denylist),
    (("k_live_",), StripeDetector.denylist),
    ((":AA",), TelegramBotTokenDetector.denylist),
    (("AC", "SK"), TwilioKeyDetector.denylist),
)
"""Literals of which the text must contain one, and the rules of a plugin."""

_FORMS = (
    # Prefixes and lengths of gitleaks' rules and of the services' documentation; lengths are
    # minimums, since services lengthen their keys.
    (
        ("sk-",),
        r"sk-(?=[\w-]{0,500}[0-9])(?=[\w-]{0,500}[A-Z])[\w-]{20,}",
    ),  # OpenAI, Anthropic, OpenRouter
    (("hf_",), r"hf_[A-Za-z0-9]{30,}"),  # Hugging Face
    (("github_pat_",), r"github_pat_\w{60,}"),  # GitHub, fine-grained
    (("AIza",), r"AIza[\w-]{35}"),  # Google
    (("GOCSPX-",), r"GOCSPX-[\w-]{20,}"),  # Google, OAuth
    (("ya29.",), r"ya29\.[\w-]{20,}"),  # Google, OAuth
    (("npm_",), r"npm_[A-Za-z0-9]{36}"),  # npm
    # The library's own rule takes minutes for a long line.
    (("_authToken=",), r":_authToken=\s?([0-9A-Fa-f-]{36})"),  # npm, before 2021
    (("gsk_",), r"gsk_[A-Za-z0-9]{40,}"),  # Groq
    (("xapp-", "xoxe"), r"(?:xapp-[0-9]|xoxe(?:\.xox[bp])?-[0-9])-[\w-]{20,}"),  # Slack
    (("k_test_",), r"[rs]k_test_[0-9A-Za-z]{16,}"),  # Stripe
    (("whsec_",), r"whsec_[0-9A-Za-z+/=]{24,}"),  # Stripe, Svix
    (("dop_v1_",), r"dop_v1_[0-9a-f]{64}"),  # DigitalOcean
    (("shpat_", "shpss_"), r"shp(?:at|ss)_[0-9a-fA-F]{32}"),  # Shopify
    # The library's own rule ends at the first `!` of a password.
    (("://",), r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@]+:(?!pass(?:word)?@|[*<{$[])([^\s/@]+)@"),
    (("earer",), r"[Bb]earer (?=[\w.~+/-]*[0-9])([\w.~+/-]{20,}=*)"),  # RFC 6750
)
_COMPILED = (
    # In Unicode, a Korean particle after a key is a part of the word; in a key it is not.
    *(
        (
            hints,
            tuple(
                re.compile(rule.pattern, rule.flags & re.IGNORECASE | re.ASCII) for rule in rules
            ),
        )
        for hints, rules in _RULES
    ),
    *((hints, (re.compile(form, re.ASCII),)) for hints, form in _FORMS),
)

_PRIVATE_KEY = re.compile(
    r"-----BEGIN[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:(?!-----BEGIN).)*?-----END[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    # Cut off: all characters that can be a part of it.
    r"|[\sA-Za-z0-9+/=\\]*)",
    re.DOTALL,
)
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[\w-]+\.eyJ[\w-]+(?:\.[\w-]*)?", re.ASCII)
_JWT_RULE = JwtTokenDetector()

_NAMED_HINTS = ("passw", "passp", "passc", "pwd", "pin", "api", "secret", "token")
_KOREAN_HINTS = ("비밀번호", "비번", "암호", "시크릿", "인증키", "토큰")
_NAMED = re.compile(
    r"(?:pass(?:word|wd|phrase)|pwd|api[_ -]?key|secret(?:[_ -]?(?:access[_ -]?)?key)?|token"
    r"|비밀번호|비번|암호|시크릿 ?키?|인증키|토큰)"
    r"[\"'`]?\s{0,2}(?:은|는|is|:=|=>|:|={1,3})\s{0,2}[\"'`]?"
    r"(?P<value>(?!=)[!#-&(-+\--;=?-_a-{}~]{6,200})",
    re.IGNORECASE,
)
"""A name, an assignment, and a value up to a quote, comma, angle bracket, bar or blank."""
_PIN = re.compile(
    r"(?:비밀번호|비번|암호|(?<![A-Za-z0-9])(?:PIN|passcode)(?: code| number)?)\s?(?:은|는|이|is|:|=)?\s?"
    r"(?P<value>[0-9]{4,12})(?![0-9A-Za-z]|\s?(?:자|개|번|회|년|월|일|원|분|초|글|숫|%|-))"
)
_PLACEHOLDER = re.compile(
    r"your|example|sample|dummy|placeholder|xxxx|\*\*\*|\.\.\.|\w[(\[]|\[[A-Z]+_[0-9]|^[(\[{<$%]|^https?:|^process\.|^os\.",
    re.IGNORECASE,
)
_DIGIT = re.compile("[0-9]")
_SHORTEST = 12
"""Minimum characters of a word that may be a key, or a URL with a password."""
_SHORTEST_PASSWORD = 6
_PREFIX = re.compile(r"|gh[opsur]|gl[a-z]+|[0-9a-f]{2}_", re.IGNORECASE)
"""A group that is not a secret: rules have groups for other reasons too."""
_MIXED = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9])", re.DOTALL)
_INSIDE_WORD = re.compile(r"(?<=[A-Za-z0-9_-])[A-Za-z0-9]")
_TOKEN_TAIL = re.compile(r"[A-Za-z0-9_-]*")


def find_secrets(text: str) -> Iterator[Finding]:
    """Yield the keys, tokens and passwords of a text; some may overlap.

    A password or key without a form of its own is found after its name (`password: ...`,
    `비밀번호는 ...`) if it mixes letters and digits, or is a PIN; words are not.
    """
    words = text.split()
    if max(map(len, words), default=0) >= _SHORTEST:
        yield from _by_form(text, " ".join(word for word in words if len(word) >= _SHORTEST))
    if _DIGIT.search(text):
        yield from _by_name(text)


def _by_form(text: str, long_words: str) -> Iterator[Finding]:
    for hints, rules in _COMPILED:
        if any(hint in long_words for hint in hints):
            for rule in rules:
                yield from _of_rule(rule, text)
    if "eyJ" in long_words:
        for found in _JWT.finditer(text):
            if _JWT_RULE.is_formally_valid(found[0].rstrip(".")):
                yield _finding(text, found.start(), found.end())
    for found in _PRIVATE_KEY.finditer(text) if "PRIVATE KEY" in text else ():
        yield _finding(text, found.start(), found.end())


def _of_rule(rule: re.Pattern[str], text: str) -> Iterator[Finding]:
    for found in rule.finditer(text):
        # The group of a rule is the secret, unless it is only a prefix.
        group = 1 if rule.groups and not _PREFIX.fullmatch(found[1] or "") else 0
        if group or not _INSIDE_WORD.match(text, found.start()):
            tail = _TOKEN_TAIL.match(text, found.end(group))
            yield _finding(text, found.start(group), tail.end() if tail else found.end())


def _by_name(text: str) -> Iterator[Finding]:
    for at in _names(text):
        if pin := _PIN.match(text, at):
            yield _finding(text, pin.start("value"), pin.end("value"))
        elif named := _NAMED.match(text, at):
            value = named["value"].rstrip(".:?)]}")
            if _may_be_secret(value):
                start = named.start("value")
                yield _finding(text, start, start + len(value))


def _names(text: str) -> Iterator[int]:
    """Yield the positions where a name may begin."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = text
    for hint in _NAMED_HINTS if text.isascii() else (*_NAMED_HINTS, *_KOREAN_HINTS):
        at = lower.find(hint)
        while at >= 0:
            yield at
            at = lower.find(hint, at + 1)


def _may_be_secret(value: str) -> bool:
    return (
        len(value) >= _SHORTEST_PASSWORD
        and bool(_MIXED.match(value))
        and not _PLACEHOLDER.search(value)
        and not is_templated_secret(value)
        and not is_sequential_string(value)
    )


def _finding(text: str, start: int, end: int) -> Finding:
    while text[start] in " \t\n=:\"'":
        start += 1
    while text[end - 1] in " \t\n\"'":
        end -= 1
    return Finding("secret", start, end, text[start:end])
