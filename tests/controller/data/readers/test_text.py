"""Plain text, Markdown and HTML: what becomes one row."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.data.errors import DataError
from controller.data.readers import read_rows
from controller.data.readers import text as text_reader
from controller.data.sources.inspect_file import inspect_file
from controller.data.sources.source_file import FileInfo, SourceFile
from controller.spec.data import Source

WIKI = Path(__file__).parents[5] / "shared" / "data" / "llamafactory-demo" / "wiki_demo.txt"


@pytest.fixture
def read(tmp_path: Path):
    def read_text(file_format: str, content: str | bytes, **said) -> list:
        path = tmp_path / "a"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        source = SourceFile(
            path=path,
            display_path="a",
            format=file_format,
            info=inspect_file(path, tmp_path / "looks", file_format=file_format),
            source=Source.model_validate({"path": "a", **said}),
        )
        return [
            (line, row.message if isinstance(row, DataError) else row)
            for line, row in read_rows(source)
        ]

    return read_text


def texts(rows: list) -> list[tuple[int, str]]:
    return [(line, row if isinstance(row, str) else row["text"]) for line, row in rows]


PROSE = "\n# 제목\n\n첫 문단의\n둘째 줄.  \n\n \n마지막\n\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("chunk", "rows"),
    [
        ("document", [(1, "# 제목\n\n첫 문단의\n둘째 줄.  \n\n \n마지막")]),
        ("paragraph", [(2, "# 제목"), (4, "첫 문단의\n둘째 줄."), (8, "마지막")]),
        ("line", [(2, "# 제목"), (4, "첫 문단의"), (5, "둘째 줄."), (8, "마지막")]),
        (100, [(2, "# 제목\n\n첫 문단의\n둘째 줄.  \n\n \n마지막")]),
    ],
)
def test_a_text_is_a_document_its_paragraphs_or_its_lines(read, end, chunk, rows):
    for file_format in ("text", "markdown"):
        assert texts(read(file_format, PROSE.replace("\n", end), chunk=chunk)) == rows


def test_a_blank_line_in_a_block_of_code_ends_no_paragraph(read):
    code = "before\n\n```py\na\n\n~~~\nb\n```\n\nafter\n"
    assert texts(read("markdown", code, chunk="paragraph")) == [
        (1, "before"),
        (3, "```py\na\n\n~~~\nb\n```"),
        (10, "after"),
    ]
    assert len(read("text", code, chunk="paragraph")) == 4


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        # The last paragraph's end that leaves the piece half full; then sentence, word, letter.
        ("가" * 30 + "\n\n" + "나" * 30 + ".\n\n" + "다" * 60, ["가" * 30 + "\n\n" + "나" * 30 + ".", "다" * 60]),
        ("가" * 20 + "\n\n" + "나" * 40 + ". " + "다" * 60, ["가" * 20 + "\n\n" + "나" * 40 + ".", "다" * 60]),
        ("「가" + "나" * 50 + "。」" + "다" * 60, ["「가" + "나" * 50 + "。」", "다" * 60]),
        ("가" * 10 + " " + "나" * 95, ["가" * 10, "나" * 95]),
        ("가" * 150, ["가" * 100, "가" * 50]),
        ("가" * 99 + "e\u0301" + "가" * 9, ["가" * 99, "e\u0301" + "가" * 9]),
        ("가" * 98 + "\U0001f469\u200d\U0001f469" + "가" * 9, ["가" * 98, "\U0001f469\u200d\U0001f469" + "가" * 9]),
        ("가" * 99 + "\U0001f1f0\U0001f1f7", ["가" * 99, "\U0001f1f0\U0001f1f7"]),
        ("가" * 99 + "\u1112\u1161\u11ab", ["가" * 99, "\u1112\u1161\u11ab"]),
        ("가" * 99 + ".나", ["가" * 99 + ".", "나"]),
        ("가" * 98 + "3.5" + "나" * 9, ["가" * 98 + "3.", "5" + "나" * 9]),
    ],
)  # fmt: skip
def test_a_number_cuts_where_it_hurts_least(read, text, pieces):
    rows = read("text", text, chunk=100)
    assert [row["text"] for _, row in rows] == pieces


@given(
    st.text(st.sampled_from("가나 .\n\n다e\u0301\u200d\U0001f469。\u1112\u1161\t"), max_size=900),
    st.integers(100, 250),
)
def test_pieces_are_the_whole_text_in_order_and_no_longer_than_asked(text, most):
    rows = list(text_reader.pieces(_Text(text), _source(most)))
    pieces = [row["text"] for _, row in rows]
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= most for piece in pieces)
    for line, row in rows:
        begun = row["text"].split("\n")[0].rstrip()
        assert begun in text.split("\n")[line - 1]
    # Never between a letter and its mark, where there is another place.
    if "\u0301\u0301" not in text and "\u200d" not in text:
        assert not any(unicodedata.combining(piece[0]) for piece in pieces[1:])


class _Text:
    """A text that is read a few characters at a time, as a slow stream may give them."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, size: int) -> str:
        piece, self._text = self._text[: min(size, 7)], self._text[7:]
        return piece


def _source(chunk: int) -> SourceFile:
    return SourceFile(
        path=Path("a"),
        display_path="a",
        format="text",
        info=FileInfo(sha256="", encoding="utf-8", first=""),
        source=Source(path="a", chunk=chunk),
    )


def test_a_paragraph_that_is_too_long_is_said(read, monkeypatch):
    monkeypatch.setattr(SourceFile, "MAX_ROW", 1 << 20)
    rows = read("text", "fine\n\n" + "long\n" * 300_000, chunk="paragraph")
    assert texts(rows) == [(1, "fine"), (3, "the paragraph is longer than 1 MiB")]
    assert texts(read("text", "x" * (2 << 20))) == [(1, "the document is longer than 1 MiB")]
    assert [len(text) for _, text in texts(read("text", "x" * (2 << 20), chunk=1 << 19))] == [
        1 << 19
    ] * 4


@pytest.mark.skipif(not WIKI.is_file(), reason="no shared/data beside the repository")
def test_a_real_text_is_cut_into_pieces_at_sentences(read):
    content = WIKI.read_text()
    rows = [text for _, text in texts(read("text", content, chunk=2_000))]
    assert "".join("".join(rows).split()) == "".join(content.split())
    assert max(map(len, rows)) <= 2_000
    assert sum(row[-1] in ".!?)”\"'" for row in rows) > 0.95 * len(rows)


PAGE = """<!DOCTYPE html><html><head><title>
  환불 &amp; 교환 | 도움말</title><script>var x = "<p>아니</p>";</script></head><body>
<nav><a href="/">홈</a><a href="/menu">메뉴</a></nav>
<main><article><h1>환불 안내</h1>
<p>주문하신 날부터 7일 안에 환불하실 수 있습니다. 영수증을 꼭 가져오세요. 카드로 결제하셨다면 같은 카드로
돌려드립니다. 쿠폰은 돌려드리지 않습니다.</p>
<p>교환은 같은 값의 상품으로만 됩니다. 온라인 주문은 고객센터로 전화해 주세요. 상담은 평일 아침 아홉 시부터
저녁 여섯 시까지 합니다.</p></article></main>
<footer>저작권 2026 카페</footer></body></html>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp949"])
def test_a_page_is_its_main_text(read, encoding):
    ((line, row),) = read("html", PAGE.encode(encoding))
    assert line == 1
    assert row["title"] == "환불 & 교환 | 도움말"
    assert row["text"].endswith("저녁 여섯 시까지 합니다.")
    assert "7일 안에" in row["text"]
    assert "아니" not in row["text"]
    assert "저작권" not in row["text"]


def test_the_paragraphs_of_a_page_are_rows(read):
    rows = read("html", PAGE, chunk="paragraph")
    assert [line for line, _ in rows] == list(range(1, len(rows) + 1))
    assert rows[-1][1]["text"].startswith("교환은 같은 값의")
    assert all(row["title"] for _, row in rows)


def test_a_page_too_small_to_have_a_main_text_is_all_its_text(read):
    assert read("html", "<p>한 줄</p><style>p {}</style>") == [(1, {"text": "한 줄"})]
    assert read("html", "<html><body><img></body></html>") == [(1, "the page has no text")]


TABLES = """<table><tr><td>layout <table><thead><tr><td>Q</td><td>A</td></tr></thead>
<tr><td>a<br>b</td><td><p>x</p><p>y <b>z</b>!</p></td></tr></table></td></tr></table>
<table><tr><th>Q<th>A<th>n</tr>
<tr><td rowspan=2>1<td colspan="2">2</tr><tr><td>3<td>4</tr><tr><td><td><td></tr><tr><td>5</tr></table>
<table><tr><th>이름</th><td>카페</td></tr></table>"""


def test_the_tables_of_a_page_that_have_a_header_are_rows(read):
    assert read("html", TABLES, extract="tables") == [
        (1, {"Q": "a\nb", "A": "x\ny z!"}),
        (2, {"Q": "1", "A": "2", "n": "2"}),
        (3, {"Q": "1", "A": "3", "n": "4"}),
        (4, "has 1 field; the header has 3"),
    ]
    assert read("html", PAGE, extract="tables") == [
        (1, "the page has no table with a header and rows")
    ]
    assert read("html", "<table><tr><th>Q<th>Q</table>", extract="tables") == [
        (1, "the header names 'Q' more than once")
    ]


def test_spans_beyond_reason_are_cut(read):
    page = "<table><tr><th>Q</tr><tr><td rowspan=99999999 colspan=99999999>1</tr></table>"
    assert read("html", page, extract="tables") == [(1, "has 1000 fields; the header has 1")]


@pytest.mark.parametrize("tag", ["<div>", "<table><tr><td>", "<p>", "<b>"])
def test_a_page_nested_without_end_takes_no_time(read, tag):
    for extract in ("text", "tables"):
        ((line, _),) = read("html", tag * 50_000 + "x", extract=extract)
        assert line == 1


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<p>x" * 100_001, "the page has 100,003 elements; at most 100,000 are read"),
        ("<table><tr>" + "<td>x" * 5_001, "a row of the page has 5,001 cells; at most 5,000 are read"),
        ("<table>" + "<tr><td rowspan=9999 colspan=9999>x" * 2, "cells of the page cover 1,999,998 others; at most 1,000,000 are read"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("extract", ["text", "tables"])
def test_a_page_that_would_take_minutes_is_refused_with_its_numbers(read, extract, page, message):
    assert read("html", page, extract=extract) == [(1, message)]


def test_a_page_that_is_too_long_is_said(read):
    assert read("html", "<p>x" * (3 << 20)) == [(1, "the page is longer than 8 MiB")]
