# ruff: noqa: E501
"""The page of a study in a browser: every kind of chart is drawn when it is unfolded, by day and by night.

What holds for all pages is in test_page_design.py."""

import itertools
from pathlib import Path

import pytest

from calprune import report
from tests.made_up_study import made_up

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
CONTRASTS = """() => {
  const light = (colour) => {
    const v = colour.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255);
    const [r, g, b] = v.map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const against = (l) => (Math.max(l, ground) + 0.05) / (Math.min(l, ground) + 0.05);
  const least = (query, property) => Math.min(...[...document.querySelectorAll(query)].map(
    (one) => against(light(getComputedStyle(one)[property]))));
  return [least('p, td, th, dt, dd, a, summary, button', 'color'), least('svg text', 'fill'),
          least('svg .mark-symbol path', 'fill')];
}"""
UNFOLD = "document.querySelectorAll('.folded > details').forEach((one) => { one.open = true; })"
DRAWN = """() => [...document.querySelectorAll('[data-spec]')].every((one) => !one.clientWidth || one.querySelector('svg'))"""
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium at /usr/bin/chromium")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """A page with every kind of chart: dots, curves along sparsity and amount, heat maps, scatter plots."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write_html(made_up(patterns=("50%", "60%", "2:4"), amounts=(32, 128), methods=("wanda",)), path)
    return path


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield running
        running.close()


@pytest.fixture(params=itertools.product((1280, 390), ("light", "dark")), ids=lambda p: f"{p[0]}-{p[1]}")
def opened(request, browser, page_file):
    """The page at a width and in a colour scheme, all drawn, and what it complained of or asked for."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda asked: said.append(f"request: {asked.url}") if asked.url != page_file.as_uri() else None)
    page.goto(page_file.as_uri())
    page.wait_for_selector("html[data-charts=drawn]", state="attached", timeout=90_000)
    assert page.locator("[data-spec] svg").count() == 1  # what is folded is not drawn yet
    page.evaluate(UNFOLD)
    page.wait_for_function(DRAWN, timeout=90_000)
    yield page, said
    context.close()


def test_it_draws_fits_and_asks_for_nothing(opened):
    page, said = opened
    assert said == []
    wide, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room
    marks = page.evaluate(
        "[...document.querySelectorAll('[data-spec]')].filter(one => one.clientWidth).map(one => [one.getAttribute('aria-label'),"
        " one.querySelectorAll('svg .mark-symbol path, svg .mark-rect path').length,"
        " one.getBoundingClientRect().height])"
    )
    assert len(marks) > 15
    assert [label for label, count, height in marks if not count or height < 70] == []


def test_letters_and_marks_stand_out_from_the_ground(opened):
    page, _ = opened
    words, letters, marks = page.evaluate(CONTRASTS)
    assert words >= 4.5 and letters >= 4.5 and marks >= 3


def test_a_dot_tells_its_numbers(opened):
    page, said = opened
    page.locator(".mark-symbol path").first.hover()
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for(timeout=5_000)
    assert "source" in tip.inner_text() and "[" in tip.inner_text()
    assert said == []


def test_headings_and_tables_say_what_they_are(opened):
    page, _ = opened
    assert page.locator("h1").count() == 1
    assert page.locator("h2").all_inner_texts()[:2] == ["The answer", "Each source"]
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.caption && t.tHead.rows[0].cells[0].scope)"
    )
