"""Pages: structure, escaping, and that nothing is loaded from outside."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.lockfile.model import Entry
from controller.render.text import escape_control
from controller.report.answers import answers_of
from controller.report.build import ReportInputs, build_report, index_row
from controller.report.html import index_html, report_html
from controller.report.json_document import report_json
from controller.report.lines import checked
from controller.report.markdown import LIMIT, card_sections, index_markdown, report_markdown
from controller.report.model import DataView, Report, SourceView
from controller.spec.model import Spec
from tests.controller.render.comment import github

lexbor = pytest.importorskip("selectolax.lexbor")

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=http://example.com/x.png onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }} {% raw %}",
    "<!-- --> <![CDATA[ ]]>",
    "&lt;b&gt; &amp;amp; &#x27;",
    "\u202eevil\u202c \u2066x\u2069 مرحبا",
    "\x00\x07\x1b[31mred\x9b\r\n\ttab",
    "\ud800 half \U0001f642 😀",
    "한국어 日本語 中文 e\u0301 ﷽",
    "| a | b |\n|---|---|\n</details>",
    "a" * 5_000,
    "javascript:alert(1)",
    "</style><style>*{display:none}",
    "\u2028\u2029\ufeff\u200b",
]


def parse(page):
    return lexbor.LexborHTMLParser(page)


def page_of(report, **options):
    return report_html(
        report, **{"has_index": True, "formats": ("html", "markdown", "json"), **options}
    )


def hostile_lines(text):
    return [
        {
            "id": text,
            "origin": text,
            "messages": [{"role": text, "content": text}, {"role": "user", "content": text}],
            "reference": text,
            "columns": {text: text},
            "answers": {"candidate": text, "base": text, "rival": text},
            "thinking": {"candidate": text},
            "calls": {"base": [{"function": {"name": text, "arguments": text}}]},
            "values": {
                "candidate": {"accuracy": 0},
                "base": {"accuracy": 1},
                "rival": {"accuracy": 1},
            },
            "finish_reason": {"candidate": text},
        }
    ] * 8


def hostile_report(make, text):
    """Return a report in which every text from outside is the same one."""
    spec = {"description": text, "owner": text, "labels": {text: text}, "gate": ["accuracy >= 0.5"]}
    desired = make.desired(**spec)
    build = make.build(desired, model_id=text, base_model=text, facts={"device": text})
    evaluation = build.evaluation.model_copy(
        update={
            "scores": {
                "candidate": {"accuracy": 0.5, text: 0.5},
                "base": {"accuracy": 0.4, text: 0.4},
                text: {"accuracy": 0.4},
            },
            "inputs": {"metrics": [{"accuracy": {"labels": [text]}}]},
        }
    )
    build = build.model_copy(update={"evaluation": evaluation})
    data = DataView(
        splits=(),
        sources=[SourceView(path=text, split="train", rows=1, dropped=0, examples=1, licence=text)],
        notes=[text],
    )
    return build_report(
        ReportInputs(
            name="faq",
            entry=make.entry(
                build, candidate=build.fingerprint, failures={build.fingerprint: make.failure()}
            ),
            spec=desired.spec,
            file="finetunes/faq.yaml",
            document={text: text, "gate": [text]},
            commit=text,
            lines=lambda: hostile_lines(text),
            data=data,
            notes=[text],
        )
    )


ALLOWED = {
    *(
        "html",
        "head",
        "body",
        "meta",
        "title",
        "link",
        "style",
        "script",
        "div",
        "header",
        "p",
        "a",
    ),
    *(
        "h1",
        "h2",
        "h3",
        "h4",
        "span",
        "dl",
        "dt",
        "dd",
        "nav",
        "ul",
        "li",
        "main",
        "section",
        "code",
    ),
    *(
        "article",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "bdi",
        "svg",
        "rect",
        "line",
    ),
    *("desc", "text", "polyline", "circle", "figure", "form", "label", "select", "option", "input"),
    *("output", "details", "summary", "footer"),
}
ADDRESSES = re.compile(r"#[a-z]+|(?:faq|index)\.(?:html|md|json)|data:,")


def check_page(page):
    """Check that a page is only what its templates write: tags, attributes, addresses."""
    tree = parse(page)
    for node in tree.root.traverse():
        assert node.tag in ALLOWED, node.tag
        for name, value in node.attributes.items():
            assert not name.startswith("on"), name
            assert name not in {"src", "srcset", "style", "action", "srcdoc"}, name
            if name == "href":
                assert ADDRESSES.fullmatch(value), value
    assert len(tree.css("script")) == len(tree.css("style")) == 1
    policy = tree.css_first("meta[http-equiv]").attributes["content"]
    assert policy.startswith("default-src 'none'")
    for tag in ("script", "style"):
        inside = re.search(rf"<{tag}>(.*)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    return tree


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_text(make, text):
    report = hostile_report(make, text)
    page = page_of(report)
    tree = check_page(page)
    shown = [node.text() for node in tree.css(".said")]
    expected = escape_control(text[:2000])
    assert shown.count(expected) >= 8 * 4
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)
    assert [node.attributes["dir"] for node in tree.css(".side .said")].count("auto") == len(
        tree.css(".side .said")
    )
    check_page(index_html([index_row(report)], text))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_in_markdown_stays_in_its_cell(make, text):
    report = hostile_report(make, text)
    page = report_markdown(report)
    shown = github.read(page)
    assert {*shown.tags} <= github.TAGS | {"blockquote", "h2"}
    assert shown.linked == []
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", page)
    assert len(page) <= LIMIT + 100
    for row in re.findall(r"^\|.*", page, re.MULTILINE):
        assert row.endswith("|")
    assert shown.tags.count("details") == shown.tags.count("summary")
    assert "\n" not in index_markdown([index_row(report)], None).split("\n| ")[3].rstrip("\n")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_json_holds_every_example_as_it_was(make, text):
    report = hostile_report(make, text)
    value = json.loads(b"".join(report_json(report, hostile_lines(text))))
    assert value["examples"] == hostile_lines(text)
    assert value["name"] == "faq"
    assert value["answers"]["count"] == 8


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None, categories=None), max_size=80))
def test_any_text_is_escaped_and_parses_back(text):
    line = {
        "messages": [{"role": "user", "content": text}],
        "reference": text,
        "answers": {"candidate": text},
        "columns": {"c": text},
    }
    answers = answers_of(checked([line]), metric=None, rivals=())
    bare = build_report(ReportInputs(name="faq", entry=Entry()))
    page = page_of(replace(bare, answers=answers, description=text))
    tree = check_page(page)
    if text:
        assert [node.text() for node in tree.css(".said")] == [escape_control(text)] * 3


# ---- structure


def test_the_sections_are_those_of_the_navigation(make):
    tree = check_page(page_of(hostile_report(make, "words")))
    ids = [node.attributes["id"] for node in tree.css("main > section")]
    assert [node.attributes["href"] for node in tree.css("nav a")] == [f"#{one}" for one in ids]
    assert ids == ["gate", "scores", "answers", "data", "declared", "cost", "lineage"]


def test_tables_have_scopes_and_charts_have_words(make):
    tree = check_page(page_of(hostile_report(make, "words")))
    assert all(node.attributes.get("scope") in {"row", "col"} for node in tree.css("th"))
    assert all(node.css_first("title").text() for node in tree.css(".scores svg"))
    assert tree.css_first("html").attributes["lang"] == "en"
    ids = [node.attributes["id"] for node in tree.css("[id]")]
    assert len(ids) == len(set(ids))


def test_without_script_every_example_is_there_and_the_filter_is_not(make):
    tree = parse(page_of(hostile_report(make, "words")))
    assert "hidden" in tree.css_first("#filter").attributes
    assert len(tree.css("article.example")) == 8


def test_many_examples_are_folded_in_pages():
    lines = [
        {
            "messages": [{"role": "user", "content": f"q{n}"}],
            "answers": {"candidate": "a", "base": "b"},
        }
        for n in range(60)
    ]
    answers = answers_of(checked(lines), metric=None, rivals=["base"])
    tree = parse(page_of(Report(**_bare(), answers=answers)))
    pages = tree.css("details.page")
    assert [len(page.css("article")) for page in pages] == [25, 25, 10]
    assert ["open" in page.attributes for page in pages] == [True, False, False]
    assert [page.css_first("summary").text() for page in pages] == [
        "1 to 25 of 60",
        "26 to 50 of 60",
        "51 to 60 of 60",
    ]


def test_examples_beyond_the_limit_are_named():
    lines = [{"messages": [], "answers": {"candidate": "a", "base": "a"}}] * 300
    answers = answers_of(checked(lines), metric=None, rivals=["base"])
    report = Report(**_bare(), answers=answers)
    text = parse(page_of(report)).css_first("#answers").text()
    assert "This page shows 100 of 300 examples" in text
    assert "All of them are in faq.json." in text
    assert "faq.json" not in page_of(report, formats=("html",))


def _bare():
    report = build_report(ReportInputs(name="faq", entry=Entry()))
    return {"name": report.name, "headline": report.headline, "build": None}


def test_private_data_is_named_and_stays_out_of_markdown(make):
    value = make.spec().model_dump(exclude_unset=True)
    value["data"]["sensitivity"] = "private"
    report = replace(hostile_report(make, "secret words"), is_private=True)
    page = report_markdown(report)
    assert "no example stands here" in page
    assert "question | expected" not in page
    spec = Spec.model_validate(value)
    noted = build_report(ReportInputs(name="faq", entry=Entry(), spec=spec, file="f"))
    assert noted.is_private
    assert "do not publish" in noted.notes[0]


@pytest.mark.parametrize(
    ("is_private", "document", "is_shown"),
    [
        (True, {"backend": "local-gpu"}, False),
        (False, {"backend": "local-gpu"}, True),
        # The spec was removed, or cannot be read: nobody knows.
        (False, {}, False),
    ],
)
def test_no_value_of_private_data_is_in_markdown(make, is_private, document, is_shown):
    """Slices and their scores are called after values of columns: patients, customers."""
    hidden, named = ("김환자", "이환자"), "accuracy[ward=3동]"
    lines = [
        {
            "messages": [{"role": "user", "content": "q"}],
            "reference": "a",
            "columns": {"patient": hidden[n % 2]},
            "answers": {"candidate": "a", "base": "b"},
            "values": {"candidate": {"accuracy": 1}, "base": {"accuracy": 0}},
        }
        for n in range(16)
    ]
    build = make.build(make.desired(gate=[f"{named} >= 0.5"]))
    scores = {"accuracy": 1.0, f"accuracy[patient={hidden[0]}]": 1.0, named: 1.0}
    evaluation = build.evaluation.model_copy(
        update={
            "scores": {"candidate": scores, "base": scores},
            "inputs": {"metrics": [{"accuracy": {}}]},
        }
    )
    build = build.model_copy(update={"evaluation": evaluation})
    build = build.model_copy(
        update={"verdict": build.verdict.model_copy(update={"gate": [f"{named} >= 0.5"]})}
    )
    report = build_report(
        ReportInputs(
            name="faq",
            entry=make.entry(build, production=build),
            file="finetunes/faq.yaml",
            document=document,
            lines=lambda: lines,
        )
    )
    report = replace(report, is_private=is_private)
    assert report.answers.slices
    assert ("| 1 | q | a |" in report_markdown(report)) is is_shown
    assert ("so no example stands here" in report_markdown(report)) is not is_shown
    for page in (report_markdown(report), card_sections(report)):
        assert ("환자" in page) is is_shown
        assert "3동" in page
        assert "| accuracy | 1" in page


def test_an_empty_index_says_how_to_begin():
    assert "add finetunes/NAME.yaml" in index_html([], None)
    assert "add finetunes/NAME.yaml" in index_markdown([], None)
