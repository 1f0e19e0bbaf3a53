"""No text becomes markup: whatever it is, GitHub's parser finds only text and code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.render.comment.escape import (
    cell,
    code,
    fenced,
    html_code,
    html_prose,
    length,
    prose,
    without_pipes,
)
from tests.controller.render.comment.github import read

HOSTILE = [
    "@team", "@acme/owners,", "(@team)", "#12", "GH-12", "acme/shop#7", "1234567", "deadbeef",
    "0123456789abcdef0123456789abcdef01234567", "https://evil.example", "www.evil.example", "www.",
    "http://x", "someone@example.com", ":tada:", "[a](http://b)", "![x](y)", "[x]: http://y",
    "<script>", "<img src=x onerror=y>", "</details>", "</summary>", "<!--", "-->", "&lt;", "&#64;x",
    "`", "``", "```", "~~~", "|", "\\|", "\\", "\\\\|", "*b*", "**b**", "_i_", "__x__", "~~s~~",
    "# h", "1.", "1)", "- x", "+ x", "* x", "> q", "---", "===", "$x$", "$`x`$", "a|b", "| a | b |",
    "카페", "가나다라 @카페", "\uff21\uff20\uff42", "\u202e", "\x1b[31m", "\r\n", "\u2028", "\x00", "effaced", "é",
]  # fmt: skip
FOLDED = {"details", "summary", "code", "p"}
TEXTS = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12), st.sampled_from("\n \t`|<>&*_")),
    max_size=8,
).map("".join) | st.lists(st.sampled_from(HOSTILE), max_size=8).map(" ".join)


def only_text(markdown, tags):
    page = read(markdown)
    assert {*page.tags} <= tags, markdown
    assert page.attributes == []
    assert page.comments == []
    assert page.linked == [], markdown
    return page


@given(TEXTS)
def test_prose_is_text_and_code(text):
    only_text(f"x {prose(text)}\n", {"p", "code"})
    only_text(f"{prose(text)}\n", {"p", "code"})
    only_text(f"- {prose(text)}\n", {"ul", "li", "p", "code"})


@given(TEXTS)
def test_a_code_span_holds_the_whole_text(text):
    page = only_text(f"x {code(text)} y\n", {"p", "code"})
    assert "".join(page.text) in {"x  y\n", "x - y\n"}
    only_text(f"**x** {code(text)}\n", {"p", "code", "strong"})


@given(TEXTS, TEXTS)
def test_a_cell_stays_one_cell(name, reason):
    row = f"| {without_pipes(code(name))} | {cell(reason)} | end |"
    page = only_text(
        f"| a | b | c |\n|---|---|---|\n{row}\n",
        {"table", "thead", "tbody", "tr", "th", "td", "code"},
    )
    assert page.cells == [3, 3]
    assert "end" in page.text


@given(TEXTS)
def test_nothing_closes_a_block_of_code(text):
    page = read(f"{fenced(text, 'text')}\n\nafter\n")
    assert page.tags == ["pre", "code", "p"]
    assert "".join(page.text).strip() == "after"


@given(TEXTS)
def test_a_summary_is_one_line_of_html(text):
    markdown = f"<details><summary>{html_code(text, 80)} to train</summary>\n\nx\n\n</details>\n"
    page = only_text(markdown, FOLDED)
    assert " to train" in page.text


@given(TEXTS)
def test_a_sentence_in_html_is_text_and_code(text):
    only_text(f"<details><summary>x {html_prose(text)}</summary>\n\n</details>\n", FOLDED)


@pytest.mark.parametrize("text", HOSTILE)
def test_each_hostile_string_alone(text):
    only_text(f"{prose(text)}\n\nx {code(text)}\n", {"p", "code"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("held-out loss rises, see data/faq.csv:3.", "held-out loss rises, see `data/faq.csv:3`."),
        ("no build is recorded", "no build is recorded"),
        ("it has succeeded, 270 steps", "it has succeeded, 270 steps"),
        ("270 steps", "270 steps"),
        ("1. x", "`1`. x"),
        ("+214 -3 of 90, at 5%", "&#43;214 &#45;3 of 90, at 5%"),
        ("up to $40.00 - $80.00", "up to $40.00 &#45; $80.00"),
        ("accuracy >= 0.8", "accuracy &gt;= 0.8"),
        ("on 2027-01-14 (46 days left)", "on 2027-01-14 (46 days left)"),
        ("말투가 바뀌었습니다: 존댓말", "말투가 바뀌었습니다: 존댓말"),
        ("build 0123456789ab -> none", "build `0123456789ab` → none"),
        ('it is "x y"', 'it is "x y"'),
    ],
)
def test_plain_sentences_stay_readable(text, expected):
    assert prose(text) == expected


def test_a_code_span_is_copied_without_a_stray_character():
    assert read(f"x {code('ftctl@`x`|#12')}\n").code == ["ftctl@`x`|#12"]
    assert code("") == code(" \n") == "-"


def test_length_is_githubs():
    assert length("a카") == 2
    assert length("🙂") == 2
