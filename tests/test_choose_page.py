# ruff: noqa: E501
"""The page of a choice in a browser: it draws, it fits, it asks for nothing, and what comes from outside stays text."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from calprune.base.store import write_whole
from calprune.choosing.page import choice_page
from calprune.studies.results import read
from tests.test_report_page import CHROMIUM, CONTRASTS, DRAWN, UNFOLD, browser  # noqa: F401  a fixture

in_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium at /usr/bin/chromium")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&"
SECTIONS = {
    "chosen": ["The answer", "Each source", "The answer in full", "The verdict", "Does the choice matter?",
               "What is left, by capability", "What each source costs each capability", "Mixtures",
               "How each number was made", "Reproduce", "What sparsity does not give", "Words"],
    "alike": ["The answer", "Each source", "The answer in full", "The verdict", "Does the choice matter?",
              "What is left, by capability", "How each number was made", "Reproduce", "What sparsity does not give",
              "Words"],
}  # fmt: skip


def renamed(choice):
    """The choice with a source, a capability's text, a reason and what was left out as an enemy would name them."""
    search, gate = choice.search, choice.gate

    def told(value):
        if isinstance(value, dict):
            return {told(name): told(one) for name, one in value.items()}
        return HOSTILE if value == "c4" else value

    judged = tuple(replace(one, text=HOSTILE) for one in choice.question.capabilities)
    question = replace(choice.question, model=HOSTILE, capabilities=judged)
    return replace(
        choice,
        question=question,
        gate=replace(gate, used=tuple(map(told, gate.used)), dropped={HOSTILE: HOSTILE},
                     shared_wording={HOSTILE: {"prose": 3}}),
        search=replace(search, loss=told(search.loss), mixtures=told(search.mixtures), proxy=told(search.proxy)),
        halving=replace(choice.halving, divergence=tuple(map(told, choice.halving.divergence))),
        left_out=(HOSTILE,),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(chosen, alike, tmp_path_factory) -> dict[str, Path]:
    """Files: of a choice that matters, of one that does not, and of one with hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    for name, choice in (("chosen", chosen), ("alike", alike), ("hostile", renamed(chosen))):
        write_whole(folder / f"{name}.html", choice_page(choice, read(choice.folder / "runs")).html())
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def opened(request, browser, pages):  # noqa: F811
    """A page at a width and in a colour scheme, all drawn, and what it complained of or asked for."""
    name, width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page, said, file = context.new_page(), [], pages[name]
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda asked: said.append(f"request: {asked.url}") if asked.url != file.as_uri() else None)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-charts=drawn]", state="attached", timeout=90_000)
    page.evaluate(UNFOLD)
    page.wait_for_function(DRAWN, timeout=90_000)
    yield name, page, said
    context.close()


EACH = [("chosen", 1280, "light"), ("chosen", 390, "dark"), ("alike", 390, "light"), ("hostile", 390, "light")]


@in_chromium
@pytest.mark.parametrize("opened", EACH, indirect=True, ids=lambda p: "-".join(map(str, p)))
def test_it_draws_fits_and_asks_for_nothing(opened):
    name, page, said = opened
    assert said == []
    wide, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room
    marks = page.evaluate(
        "[...document.querySelectorAll('[data-spec]')].filter(one => one.clientWidth).map(one => [one.getAttribute('aria-label'),"
        " one.querySelectorAll('svg .mark-symbol path, svg .mark-rect path').length,"
        " one.getBoundingClientRect().height])"
    )
    assert [label for label, count, height in marks if not count or height < 70] == []
    heat = [label for label, *_ in marks if label.startswith("Regret: source × capability")]
    assert len(marks) > len(heat) and len(heat) == (name != "alike")
    words, letters, _ = page.evaluate(CONTRASTS.replace("'svg .mark-symbol path'", "'svg text'"))
    assert words >= 4.5 and letters >= 4.5


@in_chromium
@pytest.mark.parametrize("opened", [("hostile", 1280, "light")], indirect=True, ids=["hostile"])
def test_what_comes_from_outside_is_shown_as_it_is_written(opened):
    _, page, said = opened
    assert said == [] and page.locator("img").count() == 0
    assert page.locator("script").count() == 3  # the charts' specifications, the library, the page's own
    for place in ("h1", "#table-mixtures", "#table-transfer", ".note"):
        assert any(HOSTILE in one for one in page.locator(place).all_text_contents()), place
    assert HOSTILE[:12] in page.locator("#transfer svg").first.text_content()  # a long label ends in dots
    assert f"calprune choose {shlex.quote(HOSTILE)} --sources c4" in page.locator("pre").first.inner_text()


@pytest.mark.parametrize("name", SECTIONS)
def test_it_has_what_was_found_and_no_empty_section(name, pages):
    assert re.findall(r'<h2 id="\w+-head">([^<]*)</h2>', pages[name].read_text()) == SECTIONS[name]


def test_regret_stands_under_its_capability_in_whatever_order_a_file_has_them(chosen):
    turned = {name: dict(reversed(loss.items())) for name, loss in chosen.search.proxy.items()}
    results = read(chosen.folder / "runs")
    page = choice_page(replace(chosen, search=replace(chosen.search, proxy=turned)), results).html()
    assert page == choice_page(chosen, results).html()


def test_it_says_how_many_sequences_share_wording_also_where_none_does_and_where_none_was_looked_for(chosen):
    gate = replace(chosen.gate, used=("c4", "sums", "code"), shared_wording={"c4": {"prose": 0}, "sums": {"prose": 3}})
    page = choice_page(replace(chosen, gate=gate), read(chosen.folder / "runs")).html()
    table = page.partition('id="table-wording"')[2].partition("</table>")[0]
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row) for row in table.split("<tr>")[1:]]
    assert rows == [["source", "prose", "sums"], ["c4", "0", "not looked for"], ["sums", "3", "not looked for"],
                    ["code", "not looked for", "not looked for"]]  # fmt: skip


def test_a_page_of_the_files_is_the_page_of_the_run(chosen, choice_folder):
    from tests.small_choice import answer_of

    results = read(chosen.folder / "runs")
    assert choice_page(answer_of(choice_folder, chosen.folder), results).html() == choice_page(chosen, results).html()
