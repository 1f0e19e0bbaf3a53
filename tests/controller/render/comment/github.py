"""A comment as GitHub shows it: parsed by GitHub's own parser, and what its filters would link."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options

LINKS = re.compile(
    r"[\w.-]*@[\w-]"  # @team, mail
    r"|(?<!&)#\d"  # #12, owner/name#12
    r"|\bGH-\d"
    r"|\b[0-9a-f]{7,40}\b"  # commits
    r"|[\w-]+/[\w.-]+@"
    r"|:[a-z0-9_+-]+:"  # :tada:
    r"|https?:|www\.|\$`|`\$",
    re.IGNORECASE,
)
"""What GitHub's filters turn into links, mentions, pictures and formulas, in text outside of code."""
TAGS = {
    *("p", "h3", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "strong"),
    *("details", "summary", "ul", "li"),
}
"""Every tag that a comment is made of."""


@dataclass
class Page(HTMLParser):
    """What a reader finds in a comment."""

    tags: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    """Text outside of code, which filters read."""
    code: list[str] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    """Cells of each row of tables."""
    comments: list[str] = field(default_factory=list)
    _inside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self._inside.append(tag)
        if tag == "tr":
            self.cells.append(0)
        if tag in {"td", "th"}:
            self.cells[-1] += 1

    def handle_endtag(self, tag):
        assert self._inside.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        (self.code if {"code", "pre"} & {*self._inside} else self.text).append(data)

    def handle_comment(self, data):
        self.comments.append(data)

    @property
    def is_whole(self) -> bool:
        """True if every tag is closed."""
        return not self._inside

    @property
    def linked(self) -> list[str]:
        """What a filter would link."""
        return [match[0] for text in self.text for match in LINKS.finditer(text)]


def html_of(markdown: str) -> str:
    """Return HTML as GitHub's parser makes it, before it is sanitised: nothing is to be removed."""
    return cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE)


def read(markdown: str) -> Page:
    """Read a comment."""
    page = Page()
    page.feed(html_of(markdown))
    page.close()
    assert page.is_whole
    return page


def check(markdown: str) -> Page:
    """Return a comment as read, if nothing in it is a link, a mention, a picture or foreign HTML."""
    page = read(markdown)
    assert {*page.tags} <= TAGS
    assert {*page.attributes} <= {"class", "lang"}, page.attributes
    assert page.linked == []
    assert page.comments[0] == " ftctl:plan "
    assert page.comments[1].startswith(" ftctl:bound {")
    assert len(page.comments) == 2
    return page
