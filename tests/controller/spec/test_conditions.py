"""Conditions: how a text is split at its operator, and how an error points into it."""

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.pydantic_errors import InvalidValue
from controller.spec.conditions import COMPARISONS, Grammar, Term

WITH_LISTS = Grammar(form="NAME == VALUE", operators=(*COMPARISONS, "in", "not in"), longest=200)
WITHOUT = Grammar(form="NAME > NUMBER", operators=(">", "<"), longest=20)


def refusal(grammar: Grammar, text: str) -> tuple[str, str]:
    with pytest.raises(InvalidValue) as caught:
        grammar.split(text)
    return str(caught.value), caught.value.remedy


@pytest.mark.parametrize(
    ("text", "name", "sign", "value"),
    [
        ("a >= 1", ("a", 0), (">=", 2), ("1", 5)),
        ("a>=1", ("a", 0), (">=", 1), ("1", 3)),
        ("a > = 1", ("a", 0), (">", 2), ("= 1", 4)),
        ("a\t!=\n  b c", ("a", 0), ("!=", 2), ("b c", 7)),
        ("a ==", ("a", 0), ("==", 2), ("", 4)),
        ("가게 == 카페 <본점>", ("가게", 0), ("==", 3), ("카페 <본점>", 6)),
        ("'a > b' < c", ("'a > b'", 0), ("<", 8), ("c", 10)),
        ("'a > b", ("'a", 0), (">", 3), ("b", 5)),
        ("'a' b > c", ("'a' b", 0), (">", 6), ("c", 8)),
        ("a in [b]", ("a", 0), ("in", 2), ("b", 6)),
        ("a not  in [ b, c ]", ("a", 0), ("not in", 2), ("b, c", 12)),
        ("a in[]", ("a", 0), ("in", 2), ("", 5)),
        ("main [x] == [y]", ("main [x]", 0), ("==", 9), ("[y]", 12)),
        ("'x in [y' in [z]", ("'x in [y'", 0), ("in", 10), ("z", 14)),
        ("min [a] > in [b]", ("min [a]", 0), (">", 8), ("in [b]", 10)),
    ],
)
def test_a_condition_is_split_at_its_first_operator(text, name, sign, value):
    for blanks in ("", "\n "):
        assert WITH_LISTS.split(f"{blanks}{text}{blanks}") == (
            Term(*name),
            Term(*sign),
            Term(*value),
        )


@pytest.mark.parametrize(
    "text", ["", " ", ">", "== a", "a", "a = b", "a in b", "a in [b", "in [a]"]
)
def test_a_text_without_an_operator_is_refused_with_the_form(text):
    expected = (f"{text.strip()!r} has no operator", "Write NAME == VALUE.")
    assert refusal(WITH_LISTS, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a >= 1", "'a >= 1': expected one of > < at character 3, found '>='"),
        ("  가게 == 1", "'가게 == 1': expected one of > < at character 4, found '=='"),
        ("a in [b]", "'a in [b]' has no operator"),
        ("a" * 21, f"'{'a' * 21}' is 21 characters long"),
    ],
)
def test_a_grammar_has_operators_and_a_length_of_its_own(text, message):
    said, remedy = refusal(WITHOUT, text)
    assert said == message
    assert remedy == ("Write NAME > NUMBER." if len(text) < 21 else "Write at most 20 characters.")


@pytest.mark.parametrize(
    ("written", "found", "at"),
    [
        ("", "nothing", 8),
        ("  ", "nothing", 10),
        (",", "','", 8),
        ("a,,b", "',b'", 10),
        ("a, 'b", '"\'b"', 11),
        ("'a' b", "\"'a' b\"", 8),
        ("승인, 보[류", "'보[류'", 12),
    ],
)
def test_an_error_in_a_list_points_at_the_character(written, found, at):
    text = f" 등급 in [{written}]"
    _, _, value = WITH_LISTS.split(text)
    with pytest.raises(InvalidValue) as caught:
        WITH_LISTS.members(text, value)
    expected = f"expected a value of the list at character {at}, found {found}"
    assert str(caught.value).endswith(f": {expected}")


@pytest.mark.parametrize(
    ("written", "unquoted"),
    [
        ("'a'", "a"), ('"a"', "a"), ("''", ""), ("'", "'"), ("'a\"", "'a\""), ("a", "a"),
        ("'a' 'b'", "a' 'b"), ("it's", "it's"), ("", ""), ('"\'가\'"', "'가'"),
    ],
)  # fmt: skip
def test_quotes_around_a_term_are_left_out(written, unquoted):
    assert Term(written, 0).unquoted == unquoted


WORDS = st.text("ab 가이n.'\"", min_size=1, max_size=8).map(str.strip).filter(bool)


@given(WORDS.filter(lambda word: word[0] not in "'\""), st.sampled_from(sorted(COMPARISONS)), WORDS)
def test_both_sides_are_found_again(name, sign, value):
    for text in (f"{name} {sign} {value}", f" {name}{sign}{value}\n"):
        split = WITH_LISTS.split(text)
        assert [term.text for term in split] == [name, sign, value]
        assert [text.strip()[term.at :][: len(term.text)] for term in split] == [name, sign, value]


@given(st.text("a가'\"[]<>=!, in\n", max_size=30))
def test_any_text_is_split_or_refused_with_a_remedy(text):
    try:
        name, sign, value = WITH_LISTS.split(text)
    except InvalidValue:
        return
    assert name.text
    assert sign.text in WITH_LISTS.operators
    assert text.strip()[value.at :].startswith(value.text)
    assert sign.at < value.at or not value.text


@given(st.integers() | st.floats(allow_nan=False), st.integers() | st.floats(allow_nan=False))
def test_comparisons_are_what_their_signs_say(one, other):
    signs = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
    signs |= {"==": operator.eq, "!=": operator.ne}
    assert COMPARISONS.keys() == signs.keys()
    for sign, compare in signs.items():
        assert COMPARISONS[sign](one, other) is compare(one, other)
