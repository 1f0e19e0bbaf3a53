import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.data.transforms.html_to_text import html_to_text

pieces = st.sampled_from(
    [
        *("<p>", "</p>", "<b>", "</b>", "<br>", "<li>", "<ul>", "</ul>", "<table>", "</table>"),
        *("<tr>", "<td>", "</td>", "<script>", "</script>", "<pre>", "</pre>", '<a href="x">'),
        *("</a>", "<!-- ", " -->", "<u>", "&lt;", "&gt;", "&amp;", "&nbsp;", "&#60;", "nbsp;"),
        *("amp;", "<", ">", "&", "`", "```", "\n", "  ", "a", "가", "<title>", "</title>"),
        *("<style>", "</style>", "<select>", "<option>", "</select>", "<td x=1>", "\ufdd5", "/"),
    ]
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "안녕하세요",
        "a < b",
        "<3",
        "사랑해 <3 <3",
        "if (x<y && y>z) { return List<String>(); }",
        "std::vector<int> v; Map<String, List<Object>> m; Vec<u> w; Option<p> o;",
        "1<b>0 and i<a && a>j",
        "git clone <source> <target>; cmd <input> <title>",
        "<name@host.com> wrote, and <a@b.com> and <https://example.com>",
        "press <i> to insert, then <b>",
        "AT&T, R&D, a&b; x&notathing; ?a=1&lt=2&copy=3",
        "&notanentity;",
        "`<br>` 태그를 쓰면 줄이 바뀝니다",
        "```html\n<p>안녕</p>\n```",
        "<unknown>text</unknown>",
        "Hello<p>World",
        "글 <그림> 글",
        "x <= y <=> z << 1 >> 2",
    ],
)
def test_what_is_no_markup_is_the_same_object(text):
    assert html_to_text(text) is text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>안녕하세요</p><p>반갑습니다</p>", "안녕하세요\n\n반갑습니다"),
        ("영업시간은<br>9시부터<br/>18시까지<BR />입니다", "영업시간은\n9시부터\n18시까지\n입니다"),
        ("첫 줄<br>\n둘째 줄\n\n셋째", "첫 줄\n둘째 줄\n\n셋째"),
        ("<b>중요</b>:\n  들여 쓴 줄", "중요:\n  들여 쓴 줄"),
        ("<div>a\n   b</div>\n<div>c</div>", "a b\nc"),
        ("<ul><li>하나</li><li>둘</li></ul>끝", "- 하나\n- 둘\n\n끝"),
        ("<ul>\n  <li>one\n  <li>two\n</ul>", "- one\n- two"),
        ("<table><tr><th>메뉴</th><th>값</th></tr><tr><td>라떼</td><td>5,000원</td></tr></table>",
         "메뉴\t값\n라떼\t5,000원"),
        ("<tr><td>a</td><td>b</td></tr>", "a\tb"),
        ("<h1>제목</h1>글<hr>끝", "제목\n\n글\n끝"),
        ("<style>p {color: red}</style><script>if (a<b) {}</script><p>글</p>", "글"),
        ("<!DOCTYPE html><html><head><title>x</title></head><body><p>글</p></body></html>", "글"),
        ("앞<!-- <p>주석</p> -->뒤", "앞뒤"),
        ("<a href='https://a.kr/?x=1&y=2'>누르세요</a>", "누르세요"),
        ('<span style="color:red">빨강</span>과 <font color=blue>파랑</font>', "빨강과 파랑"),
        ("<pre>def f(x):\n    return x &lt; 1\n</pre>", "def f(x):\n    return x < 1"),
        ("<p>a < b, <3, List<String> x, <me@a.kr></p>", "a < b, <3, List<String> x, <me@a.kr>"),
        ("<p>`<br>` 태그</p>", "`<br>` 태그"),
        ("Hello<p>World<br>!", "Hello\n\nWorld\n!"),
        ("Tom &amp; Jerry&nbsp;&#39;s &lt;3 &#xAC00;", "Tom & Jerry 's <3 가"),
        ("<p>AT&T &copy; &copy 2026</p>", "AT&T © &copy 2026"),
        ("5 &gt; 3", "5 > 3"),
        ('<img src="a.png">그림', "그림"),
        ("글</p>", "글"),
        ("<p>&lt;b&gt;굵게&lt;/b&gt;</p>", "&lt;b&gt;굵게&lt;/b&gt;"),
        ("<p>&amp;nbsp; 는 빈칸</p>", "&amp;nbsp; 는 빈칸"),
        ("&lt;div&gt; 태그", "<div> 태그"),
        ("&amp;lt;", "&amp;lt;"),
    ],
)  # fmt: skip
def test_markup_becomes_text(html, text):
    assert html_to_text(html) == text


@given(
    st.lists(pieces | st.text(st.characters(codec="utf-8"), max_size=3), max_size=12).map("".join)
)
@example("`\n`<b>x</b><p>")
@example("<p>&lt;&#98;&gt;x&lt;/b&gt;</p>")
def test_converting_twice_is_converting_once(text):
    once = html_to_text(text)
    assert html_to_text(once) is once


@given(st.text(st.characters(codec="utf-8", exclude_characters="<&")))
def test_a_text_without_markup_stays(text):
    assert html_to_text(text) is text


MANY = 20_000


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<div>" * MANY + "글" + "</div>" * MANY, "글"),
        ("<div>" * MANY + "글</div>", "글"),
        ("<b>" * MANY + "글" + "</b>" * MANY, "글"),
        ("<ul>" * MANY + "<li>하나</li><li>둘</li>" + "</ul>" * MANY, "- 하나\n- 둘"),
        ("<table><tr><td>" * MANY + "글" + "</td></tr></table>" * MANY, "글"),
        ("<div>" * 600 + "<p>하나</p><p>둘</p>" + "</div>" * 600 + "<p>셋</p>넷", "하나\n\n둘\n\n셋\n\n넷"),
        ("<select>" + "<option>글" * MANY + "</select>", "\n".join(["글"] * MANY)),
        ("<ul>" + "<li>글" * MANY + "</ul>", "\n".join(["- 글"] * MANY)),
        ("&lt;b&gt;글&lt;/b&gt;" * MANY, "&lt;b&gt;글&lt;/b&gt;" * MANY),
        ("".join(f"<font size={n}>" for n in range(MANY)) + "글</font>", "글"),
    ],
    ids=lambda value: value[:8],
)  # fmt: skip
def test_no_nesting_is_too_deep_and_no_text_too_long(html, text):
    started = time.process_time()
    assert html_to_text(html) == text
    # A tenth of it on a slow machine; a time that grows with the square is minutes.
    assert time.process_time() - started < 10
