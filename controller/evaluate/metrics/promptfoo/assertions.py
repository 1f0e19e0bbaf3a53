"""Assertions of a promptfoo configuration that need neither a model nor a program. Pure.

They mean what they mean there, but for patterns, which are searched by Python's engine. Whatever
else decides there whether a test passes is refused, since the score would be another one.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from backends.contract.inspector import Json
from backends.did_you_mean import did_you_mean, use_one_of
from backends.pydantic_errors import InvalidValue
from controller.canonical import canonical_json
from controller.evaluate.metrics.structured.parse import NOT_JSON, NotJson, canonical, parsed
from controller.extras import import_extra
from controller.timed_search import found_in

Path: TypeAlias = tuple[str | int, ...]
Check: TypeAlias = Callable[[Json, Sequence[str]], Sequence[bool]]

_CHECKER: Final = "controller.evaluate.metrics.structured.schema_checker"
_NOT: Final = "not-"
_TEMPLATE: Final = re.compile(r"\{\{|\{%")
_TEST_KEYS: Final = ("description", "metadata", "vars", "assert")
_ASSERTION_KEYS: Final = ("type", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One condition on an answer."""

    kind: str
    """Without `not-`."""
    value: Json
    is_negated: bool = False

    def holds(self, texts: Sequence[str]) -> list[bool]:
        """Return for each answer whether it meets the condition."""
        return [one != self.is_negated for one in KINDS[self.kind].check(self.value, texts)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertions:
    """All assertions of a configuration."""

    always: Sequence[Assertion]
    """Those of `defaultTest`."""
    by_question: Mapping[str, Sequence[Assertion]]
    """Those of single tests."""

    def of(self, question: str) -> Iterator[Assertion]:
        """Yield the assertions for a question."""
        yield from self.always
        yield from self.by_question.get(question, ())


def read_assertions(config: Mapping[str, Any], question: str) -> Assertions:
    """Read the assertions of a configuration.

    Args:
        config: The configuration; only `defaultTest` and `tests` are read.
        question: Variable of a test that holds its question.

    Raises:
        InvalidValue: Something in them is not read; with its path.
    """
    default = _test(config.get("defaultTest") or {}, ("defaultTest",))
    always = list(_assertions(default.get("assert"), ("defaultTest", "assert")))
    by_question: dict[str, list[Assertion]] = {}
    tests = config.get("tests") or []
    if not isinstance(tests, Sequence) or isinstance(tests, str):
        raise InvalidValue("must be a list", "Write the tests out; no other file is read.", "tests")
    for place, written in enumerate(tests):
        path: Path = ("tests", place)
        test = _test(written, path)
        found = list(_assertions(test.get("assert"), (*path, "assert")))
        if found:
            asked = (test.get("vars") or {}).get(question)
            if not isinstance(asked, str):
                message = f"has no text {question!r}, so no example is known to be this test"
                remedy = "Add it, or name another variable: `question: NAME` of the metric."
                raise InvalidValue(message, remedy, *path, "vars")
            by_question.setdefault(asked.strip(), []).extend(found)
    if not always and not by_question:
        raise InvalidValue("has no assertions", "Add `defaultTest: {assert: […]}`.")
    return Assertions(always=always, by_question=by_question)


def reduced(config: Mapping[str, Any]) -> dict[str, Json]:
    """Return the parts of a configuration that are read."""
    return {key: config[key] for key in ("defaultTest", "tests") if config.get(key)}


def _test(value: object, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidValue("must be a mapping", "Write it out; no other file is read.", *path)
    for key in value:
        if key not in _TEST_KEYS:
            remedy = "Remove it; promptfoo decides otherwise with it."
            raise InvalidValue("is not read", remedy, *path, key)
    names = value.get("vars") or {}
    if not isinstance(names, Mapping):
        raise InvalidValue("must be a mapping", "Write them out.", *path, "vars")
    return value


def _assertions(value: object, path: Path) -> Iterator[Assertion]:
    if value is None:
        return
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InvalidValue("must be a list", "Write `- type: contains` and so on.", *path)
    for place, one in enumerate(value):
        yield _assertion(one, (*path, place))


def _assertion(value: object, path: Path) -> Assertion:
    if not isinstance(value, Mapping):
        raise InvalidValue("must be a mapping", "Write `type` and `value`.", *path)
    written = str(value.get("type", ""))
    kind = written.removeprefix(_NOT)
    if kind not in KINDS:
        names = list(KINDS)
        remedy = did_you_mean(kind, names) or use_one_of(names)
        raise InvalidValue(f"ftctl reads no assertion {written!r}", remedy, *path, "type")
    for key in value:
        if key not in _ASSERTION_KEYS:
            remedy = "Remove it; promptfoo decides otherwise with it."
            raise InvalidValue("is not read", remedy, *path, key)
    given = value.get("value")
    if isinstance(given, str) and (_TEMPLATE.search(given) or given.startswith("file://")):
        message = "is a template or a file, which is not read"
        raise InvalidValue(message, "Write the value out, or use `exact_match`.", *path, "value")
    wrong = KINDS[kind].problem(given)
    if wrong:
        raise InvalidValue(wrong, f"Write it for `{kind}` as promptfoo does.", *path, "value")
    return Assertion(kind=kind, value=given, is_negated=written != kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of assertion."""

    check: Check
    """Returns for each text whether it meets the condition."""
    problem: Callable[[object], str]
    """Returns what is wrong with a value; empty if it is right."""


def _needs_text(value: object) -> str:
    is_text = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    return "" if is_text else "must be a text"


def _needs_texts(value: object) -> str:
    texts = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return "" if texts and not any(_needs_text(one) for one in texts) else "must be a list of texts"


def _needs_any(value: object) -> str:
    return "is missing" if value is None else ""


def _needs_pattern(value: object) -> str:
    if not isinstance(value, str) or not value:
        return "must be a regular expression"
    try:
        re.compile(value)
    except re.error as error:
        return f"not a regular expression of Python: {error}"
    return ""


def _needs_schema(value: object) -> str:
    return "" if value is None or isinstance(value, Mapping) else "must be a JSON Schema"


def _equals(value: Json, texts: Sequence[str]) -> list[bool]:
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return [_same(value, text) for text in texts]
    return [_as_text(value) == text for text in texts]


def _same(value: Json, text: str) -> bool:
    found = parsed(text)
    return not isinstance(found, NotJson) and canonical(found) == canonical_json(value)


def _as_text(value: Json) -> str:
    """Return a value as JavaScript writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _contains(value: Json, texts: Sequence[str]) -> list[bool]:
    return [_as_text(value) in text for text in texts]


def _icontains(value: Json, texts: Sequence[str]) -> list[bool]:
    return _contains(_as_text(value).lower(), [text.lower() for text in texts])


def _starts_with(value: Json, texts: Sequence[str]) -> list[bool]:
    return [text.startswith(_as_text(value)) for text in texts]


def _regex(value: Json, texts: Sequence[str]) -> list[bool]:
    return found_in(str(value), texts)


def _of_each(check: Check, decide: Callable[[Iterator[bool]], bool]) -> Check:
    def check_all(value: Json, texts: Sequence[str]) -> list[bool]:
        words = value if isinstance(value, Sequence) else ()
        by_word = [check(word, texts) for word in words]
        return [decide(found[place] for found in by_word) for place in range(len(texts))]

    return check_all


def _is_json(value: Json, texts: Sequence[str]) -> list[bool]:
    values = [parsed(text) for text in texts]
    if not value:
        return [one is not NOT_JSON for one in values]
    module = import_extra(_CHECKER, extra="evaluate", what="is-json with a schema")
    is_valid = module.SchemaChecker(value).is_valid
    return [one is not NOT_JSON and is_valid(one) for one in values]


KINDS: Final[Mapping[str, Kind]] = {
    "equals": Kind(check=_equals, problem=_needs_any),
    "contains": Kind(check=_contains, problem=_needs_text),
    "icontains": Kind(check=_icontains, problem=_needs_text),
    "contains-all": Kind(check=_of_each(_contains, all), problem=_needs_texts),
    "contains-any": Kind(check=_of_each(_contains, any), problem=_needs_texts),
    "icontains-all": Kind(check=_of_each(_icontains, all), problem=_needs_texts),
    "icontains-any": Kind(check=_of_each(_icontains, any), problem=_needs_texts),
    "starts-with": Kind(check=_starts_with, problem=_needs_text),
    "regex": Kind(check=_regex, problem=_needs_pattern),
    "is-json": Kind(check=_is_json, problem=_needs_schema),
}
"""Kinds that are read; each has a form with `not-` in front."""
