"""Turn markup in a message into plain text: tags and entities become the text they mean. Pure.

A message is a text that may have markup, not a document. So only certain markup is parsed: names of
HTML's elements with attributes as HTML writes them, closed where they must be, and entities with
their semicolon. `a < b`, `<3`, `List<String>`, `<name@host>` and `AT&T` stay text, also beside real
tags, and so does Markdown's code. inscriptis and html2text are three times as fast, but drop such
texts silently: `x<y` beside a `<br>` becomes `x`.

Markup that a text only mentions (`&lt;b&gt;bold&lt;/b&gt;` in a lesson on HTML) stays as written,
so that converting twice is converting once.
"""

import re
from collections.abc import Iterator
from html import escape, unescape
from html.entities import html5

from selectolax.lexbor import LexborHTMLParser, LexborNode

_PARAGRAPHS = (
    *("article", "aside", "blockquote", "details", "dl", "fieldset", "figure", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "main", "nav", "ol", "p", "pre", "section"),
    *("table", "ul"),
)
"""Elements with an empty line around each."""
_LINES = (
    *("address", "body", "caption", "center", "dd", "div", "dt", "figcaption", "hgroup", "html"),
    *("legend", "li", "menu", "optgroup", "option", "summary", "tbody", "tfoot", "thead", "tr"),
)
"""Elements on a line of their own."""
_INLINE = (
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "button", "cite", "code", "data", "del"),
    *("dfn", "em", "font", "i", "ins", "kbd", "label", "mark", "nobr", "picture", "q", "rp"),
    *("rt", "ruby", "s", "samp", "select", "small", "span", "strike", "strong", "sub", "sup", "td"),
    *("th", "time", "tt", "u", "var"),
)
_WITHOUT_TEXT = (
    *("audio", "canvas", "head", "iframe", "math", "noscript", "object", "script", "style", "svg"),
    *("template", "textarea", "title", "video"),
)
"""Elements whose contents are not for readers, if they are closed."""
_ALONE = ("br", "hr", "wbr")
_VOID = ("area", "base", "col", "embed", "img", "input", "link", "meta", "param", "source", "track")
"""Tags only if they have attributes: otherwise they are placeholders, such as `<input>`."""
_IN_TABLE = ("caption", "col", "tbody", "td", "tfoot", "th", "thead", "tr")
_END_OPTIONAL = ("body", "dd", "dt", "html", "li", "option", "p", "td", "th", "tr")

_DEEPEST = 500
"""Depth of elements for the parser, as in browsers: its time grows with the square of the depth.
Deeper elements only become lines."""
_FLAT = {*_END_OPTIONAL, *_ALONE, *_VOID}
"""Elements that need not be closed."""

_NAMES = "|".join(
    sorted(
        {*_PARAGRAPHS, *_LINES, *_INLINE, *_WITHOUT_TEXT, *_ALONE, *_VOID},
        key=lambda name: (-len(name), name),
    )
)
_ATTRIBUTE = (
    r"\s+(?:[A-Za-z_:@][\w:.-]*\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+)"
    r"|async|checked|controls|defer|disabled|hidden|multiple|nowrap|open|required|selected)"
)
_MARKUP = re.compile(
    rf"</(?P<closing>{_NAMES})\s*>"
    rf"|<(?P<opening>{_NAMES})(?P<attributes>(?:{_ATTRIBUTE})*)\s*/?>"
    r"|<!--(?:(?!<!--).)*?-->|<!doctype\s[^<>]*>",
    re.IGNORECASE | re.DOTALL,
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_PRE = re.compile(r"<pre\b(?:(?!<pre\b).)*?</pre\s*>", re.IGNORECASE | re.DOTALL)

# Unicode reserves these characters for programs, so texts do not contain them.
_BREAK, _LINE, _PARAGRAPH, _CELL = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
_BLANK, _HELD, _AND = "\ufdd4", "\ufdd5", "\ufdd6"
_INSIDE = re.compile("[\ufdd0-\ufdd6]")
_HELD_CODE = re.compile(f"{_HELD}([0-9]+){_HELD}")
_BLANKS = re.compile(r"[ \t\n\r\f]+")
# Blanks are already collapsed, so a run without a mark is never searched.
_MARKS = re.compile(f" ?[{_CELL}{_BREAK}{_LINE}{_PARAGRAPH}][ {_CELL}{_BREAK}{_LINE}{_PARAGRAPH}]*")
_PARTED = re.compile(f"[ {_CELL}]*[{_BREAK}{_LINE}{_PARAGRAPH}][ {_BREAK}{_LINE}{_PARAGRAPH}]*")
_KEPT = re.compile("(<[^>]*>)|\n|[ \t]")
_LINE_END_AFTER_BREAK = re.compile(r"(<[bh]r\b[^<>]*>)[ \t]*\n", re.IGNORECASE)

_SELECT_WITHOUT_TEXT = ",".join(_WITHOUT_TEXT)
_SELECT_BREAKS = ",".join((*_PARAGRAPHS, *_LINES, "br", "hr", "td", "th"))


def html_to_text(text: str) -> str:
    """Return a text without markup; the same object if it has none.

    Paragraphs, headings, lists and tables are separated by an empty line; items and rows are on
    lines of their own, items after a dash, cells separated by tabs. Scripts, styles, comments and
    the head are removed. Line ends of the text stay unless a tag divides it into lines.
    """
    # The result rarely is markup again; then another pass converts it.
    while (plain := _once(text)) != text:
        text = plain
    return text


def _once(text: str) -> str:
    if "<" not in text and "&" not in text:
        return text
    codes: list[str] = []
    held = _INSIDE.sub("", text)
    if "`" in held:
        codes = _CODE.findall(held)
        numbers = iter(range(len(codes)))
        held = _CODE.sub(lambda _: f"{_HELD}{next(numbers)}{_HELD}", held)
    tags = _tags(held)
    if tags:
        plain = _without_tags(held, tags)
    elif _ENTITY.search(held):
        plain = _decoded(held)
    else:
        return text
    plain = _kept_as_written(plain)
    return _HELD_CODE.sub(lambda number: codes[int(number[1])], plain)


def _tags(text: str) -> list[re.Match[str]]:
    """Return the certain markup, in order."""
    found = list(_MARKUP.finditer(text)) if "<" in text else []
    opened = {tag["opening"].lower() for tag in found if tag["opening"]}
    closed = {tag["closing"].lower() for tag in found if tag["closing"]}
    sure = [_is_sure(tag, opened, closed) for tag in found]
    is_html = any(sure)
    return [
        tag
        for tag, is_sure in zip(found, sure, strict=True)
        if is_sure or (_may_stay_open(tag) and (is_html or not _follows_word(tag)))
    ]


def _is_sure(tag: re.Match[str], opened: set[str], closed: set[str]) -> bool:
    name = _name(tag)
    if name in _WITHOUT_TEXT:
        return name in opened and name in closed
    if tag["opening"]:
        return name in _ALONE or bool(tag["attributes"]) or (name in closed and name not in _VOID)
    return True


def _may_stay_open(tag: re.Match[str]) -> bool:
    return bool(tag["opening"]) and tag["opening"].lower() in _END_OPTIONAL


def _follows_word(tag: re.Match[str]) -> bool:
    # `Vec<p>` is a type.
    before = tag.string[tag.start() - 1 : tag.start()]
    return before.isascii() and (before.isalnum() or before == "_")


def _without_tags(text: str, tags: list[re.Match[str]]) -> str:
    names = {_name(tag) for tag in tags}
    parted = not names.isdisjoint({*_PARAGRAPHS, *_LINES, "td", "th"})
    source = "".join(_source(text, tags, in_table="table" in names))
    source = _PRE.sub(_kept_blanks, source) if parted else _LINE_END_AFTER_BREAK.sub(r"\1", source)
    plain = _text_of(LexborHTMLParser(source))
    if parted:
        plain = _MARKS.sub(_parted, _BLANKS.sub(" ", plain))
    plain = plain.replace(_BREAK, "\n").replace(_LINE, "\n")
    for mark, meant in ((_CELL, "\t"), (_BLANK, " "), ("\xa0", " ")):
        plain = plain.replace(mark, meant)
    return plain.strip()


def _source(text: str, tags: list[re.Match[str]], *, in_table: bool) -> Iterator[str]:
    """Yield the text as HTML in which only these tags are markup."""
    at = depth = 0
    for tag in tags:
        yield _escaped(text[at : tag.start()])
        at = tag.end()
        name = _name(tag)
        closes = name not in _FLAT and tag["closing"] is not None
        depth += name not in _FLAT and tag["opening"] is not None
        if name == "select":
            # The parser's time grows with the square of its options, which do not need it.
            yield ""
        elif depth > _DEEPEST and name not in _FLAT:
            yield "" if name in _INLINE else _LINE
        # The parser drops rows and cells outside a table.
        elif name in _IN_TABLE and not in_table:
            yield _as_marks(tag)
        else:
            yield tag[0]
        depth = max(depth - closes, 0)
    yield _escaped(text[at:])


def _as_marks(tag: re.Match[str]) -> str:
    if tag["opening"]:
        return ""
    return _CELL if _name(tag) in {"td", "th"} else _LINE


def _escaped(text: str) -> str:
    text = _ENTITY.sub(_held_entity, text).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace(_AND, "&")


def _held_entity(entity: re.Match[str]) -> str:
    return _AND + entity[0][1:] if _means_something(entity[0]) else entity[0]


def _means_something(entity: str) -> bool:
    return entity[1] == "#" or entity[1:] in html5


def _kept_blanks(pre: re.Match[str]) -> str:
    # It ends with its own tag, so every `<` has an end and is searched once.
    return _KEPT.sub(lambda kept: kept[1] or (_BREAK if kept[0] == "\n" else _BLANK), pre[0])


def _text_of(tree: LexborHTMLParser) -> str:
    for node in tree.css(_SELECT_WITHOUT_TEXT):
        node.decompose()
    for node in tree.css(_SELECT_BREAKS):
        before, after = _marks(node)
        node.insert_before(before)
        node.insert_after(after)
    root = tree.root
    return "" if root is None else root.text()


def _marks(node: LexborNode) -> tuple[str, str]:
    """Return the marks before and after an element."""
    name = node.tag
    if name in _PARAGRAPHS:
        return _PARAGRAPH, _PARAGRAPH
    if name == "br":
        return "", _BREAK
    if name == "li":
        return f"{_LINE}- ", _LINE
    if name in {"td", "th"}:
        return "", _CELL
    return _LINE, _LINE


def _parted(run: re.Match[str]) -> str:
    """Return a run of marks as line ends.

    The text after the last mark stays: searching it would fail at each position.
    """
    marks = run[0]
    last = max(map(marks.rfind, (_BREAK, _LINE, _PARAGRAPH)))
    if last < 0:
        return marks
    end = len(marks) - len(marks[last + 1 :].lstrip(" "))
    return _PARTED.sub(_line_ends, marks[:end]) + marks[end:]


def _line_ends(run: re.Match[str]) -> str:
    two = _PARAGRAPH in run[0] or run[0].count(_BREAK) > 1
    return "\n\n" if two else "\n"


def _decoded(text: str) -> str:
    return _ENTITY.sub(
        lambda entity: (
            unescape(entity[0]).replace("\xa0", " ") if _means_something(entity[0]) else entity[0]
        ),
        text,
    )


def _kept_as_written(plain: str) -> str:
    """Write markup that decoding created as it was written, so that it stays text."""
    if "&" in plain:
        plain = _ENTITY.sub(
            lambda entity: f"&amp;{entity[0][1:]}" if _means_something(entity[0]) else entity[0],
            plain,
        )
    at, kept = 0, []
    for tag in _tags(plain):
        kept += [plain[at : tag.start()], escape(tag[0], quote=False)]
        at = tag.end()
    return "".join([*kept, plain[at:]])


def _name(tag: re.Match[str]) -> str:
    return (tag["opening"] or tag["closing"] or "").lower()
