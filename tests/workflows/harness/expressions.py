"""Expressions of workflows, `${{ … }}`: enough of GitHub's language for the workflows of this repository.

An unknown function, or a context that does not exist, is an error: GitHub would give an empty text, and a
mistake would go unnoticed.
"""

import json
import math
import re

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>\d+(?:\.\d+)?)|(?P<op>\|\||&&|==|!=|[!(),])"
    r"|(?P<name>[A-Za-z_][\w-]*(?:\.[A-Za-z_*][\w-]*)*))"
)
_WHOLE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


def expand(text, context, functions):
    """Return a text with its expressions replaced; the value itself if it is one expression."""
    if not isinstance(text, str) or "${{" not in text:
        return text
    alone = _WHOLE.fullmatch(text.strip())
    if alone:
        return evaluate(alone[1], context, functions)
    return _WHOLE.sub(lambda one: as_text(evaluate(one[1], context, functions)), text)


def condition(text, context, functions):
    """Return whether an `if` holds; without a status function, `success()` is part of it."""
    text = "success()" if text is None else str(text)
    whole = _WHOLE.fullmatch(text.strip())
    inner = whole[1] if whole else text
    holds = truth(evaluate(inner, context, functions))
    if not re.search(r"\b(always|failure|cancelled|success)\(", inner):
        return holds and functions["success"]()
    return holds


def as_text(value):
    """Return a value as GitHub writes it into a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def truth(value):
    """Return whether a value counts as true."""
    return value not in (None, "", 0, False)


def evaluate(text, context, functions):
    """Return the value of an expression."""
    return _Parser(text, context, functions).whole()


class _Parser:
    def __init__(self, text, context, functions):
        self.tokens, at = [], 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            assert match, f"cannot read {text[at:]!r}"
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.context, self.functions = context, functions

    def whole(self):
        value = self.either()
        assert not self.tokens, f"left over: {self.tokens}"
        return value

    def either(self):
        value = self.both()
        while self.take("||"):
            other = self.both()
            value = value if truth(value) else other
        return value

    def both(self):
        value = self.equality()
        while self.take("&&"):
            other = self.equality()
            value = other if truth(value) else value
        return value

    def equality(self):
        value = self.negation()
        while self.tokens and self.tokens[0][1] in ("==", "!=") and self.tokens[0][0] == "op":
            sign = self.tokens.pop(0)[1]
            value = _equal(value, self.negation()) is (sign == "==")
        return value

    def negation(self):
        if self.take("!"):
            return not truth(self.negation())
        if self.take("("):
            value = self.either()
            assert self.take(")")
            return value
        kind, text = self.tokens.pop(0)
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return float(text) if "." in text else int(text)
        if text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
        if self.take("("):
            return self.call(text)
        return self.look_up(text)

    def call(self, name):
        given = []
        while not self.take(")"):
            given.append(self.either())
            self.take(",")
        return self.functions[name](*given)

    def look_up(self, path):
        first, *rest = path.split(".")
        value = self.context[first]
        for number, part in enumerate(rest):
            if part == "*":
                left = rest[number + 1 :]
                return [_within(one, left) for one in value or []]
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def take(self, sign):
        if self.tokens and self.tokens[0] == ("op", sign):
            self.tokens.pop(0)
            return True
        return False


def _within(value, path):
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _equal(one, other):
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    if type(one) is type(other):
        return one == other
    return _number(one) == _number(other)


def _number(value):
    if value is None or value == "":
        return 0
    try:
        return float(value)
    except ValueError:
        return math.nan
