"""Pages in headless Chromium: nothing is requested, nothing overflows, the filter works.

Needs the package playwright, and Chromium: its own, or the one of `CHROMIUM`.
"""

import os
import shutil
from pathlib import Path

import pytest

from controller.cli import run
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from tests.controller.report import cafe

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = (
    "</script><script>document.title = 'taken'</script>",
    "<img src=https://example.com/x.png onerror=\"document.title = 'taken'\">",
    "\u202eevil مرحبا",
    "x" * 1_000_000,
)
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
VISIBLE = "[...document.querySelectorAll('.example')].filter(one => one.checkVisibility()).length"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        if CHROMIUM is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("Chromium is not installed")
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def pages(repo, tmp_path, installed):
    """Write the report of a fine-tune whose first answers are hostile."""
    del installed
    build = cafe.train(repo, rows=240)
    cafe.curve(repo, build)
    path = evaluation_path_of(repo.project.state, build)
    text = path.read_text("utf-8")
    lines = list(read_evaluation_file(path))
    for line, answer in zip(lines, HOSTILE, strict=False):
        line["answers"]["candidate"] = answer
        line["values"] = {"candidate": {"accuracy": 0}, "base": {"accuracy": 1}}
    assert text.count("\n") == len(lines) > len(HOSTILE)
    path.write_text("".join(f"{cafe.json.dumps(line)}\n" for line in lines), "utf-8")
    out = tmp_path / "out"
    assert run(["--dir", str(repo.root), "report", "--out", str(out)]) == 0
    return out


def visit(browser, path, **options):
    """Open a page; return it with what it requested and what it complained about."""
    page = browser.new_page(**options)
    page.set_default_timeout(20_000)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    return page, requests, complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["cafe.html", "index.html"])
def test_a_page_requests_nothing_and_fits(browser, pages, name, width, scheme):
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    page, requests, complaints = visit(browser, pages / name, **options)
    assert page.evaluate(OVERFLOW) <= 0
    assert requests == [(pages / name).as_uri()]
    assert complaints == []
    assert page.title() != "taken"
    page.close()


def test_the_filter_and_the_words_choose_examples(browser, pages):
    page, _, complaints = visit(browser, pages / "cafe.html")
    page.select_option("select[name=change]", "broken")
    broken = page.locator("#broken article").count()
    assert page.evaluate(VISIBLE) == broken >= len(HOSTILE)
    page.fill("input[name=words]", "EVIL")
    assert page.evaluate(VISIBLE) == 1
    assert page.locator("output").inner_text().startswith("1 of ")
    page.select_option("select[name=change]", "")
    page.fill("input[name=words]", "")
    assert page.locator("#right details").first.get_attribute("open") is None
    assert complaints == []
    page.close()


def test_without_script_all_examples_can_be_read(browser, pages):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((pages / "cafe.html").as_uri())
    assert not page.locator("#filter").is_visible()
    assert page.locator("#broken article").first.is_visible()
    page.locator("#right summary").first.click()
    assert page.locator("#right article").first.is_visible()
    context.close()


def test_a_printed_page_has_every_example(browser, pages):
    page, _, _ = visit(browser, pages / "cafe.html")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(VISIBLE) == page.locator("article.example").count()
    page.close()
