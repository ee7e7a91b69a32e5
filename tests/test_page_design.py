# ruff: noqa: E501
"""Every page in a browser: it fits, is legible by day and by night, is reached by keys in the order in which it is read,
asks for nothing, is filtered, sorted and copied, and is printed on few sheets."""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from calprune.base.store import write_whole
from calprune.calibration.describe import describe
from calprune.calibration.set import CalibrationSet
from calprune.choosing.page import choice_page
from calprune.likeness.sets import SetComparison
from calprune.likeness.texts import Similarity, compare_texts
from calprune.likeness.verdict import summarise
from calprune.report.findings import Findings
from calprune.report.page import page as study_page
from calprune.studies.results import read
from tests.made_up_study import made_up
from tests.test_compare import job, sequences, tiny_model
from tests.test_report_page import CHROMIUM, browser  # noqa: F401  a fixture
from tests.test_similarity import made_up as text_of
from tests.test_similarity import own

in_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium at /usr/bin/chromium")
PAGES = ("study", "choice", "set", "similarity", "comparison")
WIDTHS = (390, 1280, 1920)
CONTRASTS = """() => {
  const parts = (colour) => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((x) => x / 255).map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => one ? over(parts(getComputedStyle(one).backgroundColor), ground(one.parentElement)) : [255, 255, 255, 1];
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const one = text.parentElement;
    if (!text.data.trim() || !one.checkVisibility() || one.closest("script, .unseen, noscript, option")) continue;
    const style = getComputedStyle(one), colour = parts(one.closest("svg") ? style.fill : style.color), under = ground(one.closest("svg") ?? one);
    found.push([ratio(over(colour, under), under), text.data.trim().slice(0, 40)]);
  }
  for (const one of document.querySelectorAll("input, select")) {
    if (one.checkVisibility()) found.push([1.5 * ratio(parts(getComputedStyle(one).borderTopColor), ground(one.parentElement)), "a border"]);
  }
  return found.filter(([ratio]) => ratio < 4.5);
}"""
FOCUSABLE = """() => {
  window.stops = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")].filter((one) => one.checkVisibility());
  return window.stops.length;
}"""
STOP = """() => {
  const one = document.activeElement, box = one.getBoundingClientRect();
  return [window.stops.indexOf(one), Math.round(box.top + scrollY), one.tagName];
}"""


@pytest.fixture(scope="module")
def pages(chosen, tmp_path_factory) -> dict[str, Path]:
    """A file of each kind of page, of results small enough for a test."""
    how = Similarity(draws=2, words=100)
    texts = [how.read(name, own(text_of(seed, 10))) for seed, name in enumerate(("one", "two", "three"))]
    sets = SetComparison(job("wanda"), {"a": sequences(8, 1), "b": sequences(8, 2)})
    made = {
        "study": study_page(Findings(made_up(patterns=("50%", "60%"), amounts=(32, 128), methods=("wanda",)))),
        "choice": choice_page(chosen, read(chosen.folder / "runs")),
        "set": describe(CalibrationSet.load(chosen.folder / "calibration")),
        "similarity": compare_texts(how, texts[:2], texts[2]),
        "comparison": summarise(sets, list(sets.blocks(tiny_model("llama")))),
    }
    folder = tmp_path_factory.mktemp("pages")
    for name, page in made.items():
        write_whole(folder / f"{name}.html", page.html())
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture
def opened(request, browser, pages) -> Iterator[tuple]:  # noqa: F811
    """A page in a colour scheme, all that is seen drawn, and what it complained of or asked for."""
    name, scheme = request.param
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme, offline=True)
    page, said, file = context.new_page(), [], pages[name]
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda wanted: said.append(f"request: {wanted.url}") if wanted.url != file.as_uri() else None)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-charts=drawn]", state="attached", timeout=90_000)
    yield page, said
    context.close()


def every(*schemes: str, names: tuple[str, ...] = PAGES):
    """Each page in each of these colour schemes."""
    cases = [*itertools.product(names, schemes)]
    return pytest.mark.parametrize("opened", cases, indirect=True, ids="-".join)


def unfold(page) -> None:
    """Open every section and wait until its charts are drawn."""
    page.evaluate("document.querySelectorAll('.folded > details').forEach((one) => { one.open = true; })")
    page.wait_for_function(
        """() => [...document.querySelectorAll('[data-spec]')].every(
      (one) => !one.clientWidth || one.querySelector('svg'))""",
        timeout=90_000,
    )


@in_chromium
@every("light", "dark")
def test_folded_and_unfolded_it_fits_every_screen_is_legible_and_asks_for_nothing(opened):
    page, said = opened
    for unfolded in (False, True):
        if unfolded:
            unfold(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(50)
            wide, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert wide <= room, (width, unfolded)
        assert page.evaluate(CONTRASTS) == []
    assert said == []


@in_chromium
@every("light", names=("study",))
def test_a_chart_is_drawn_once_when_all_is_unfolded_and_anew_where_its_names_no_longer_fit(opened):
    page, _ = opened
    page.get_by_role("button", name="Unfold all").click()
    unfold(page)
    page.wait_for_timeout(500)
    drawings = "[...document.querySelectorAll('[data-spec]')].map((one) => one.querySelectorAll('svg').length)"
    assert set(page.evaluate(drawings)) == {0, 1}  # 0: charts that are not chosen
    for width, above in ((180, "true"), (1280, "false")):  # where it is narrow names stand above their rows
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            f"""() => {{ const place = document.querySelector('[data-spec]');
          return place.querySelector('svg') && Boolean(place.querySelector('.mark-text.role-mark')) === {above}; }}""",
            timeout=30_000,
        )
    assert set(page.evaluate(drawings)) == {0, 1}


@in_chromium
@every("light")
def test_no_label_of_a_chart_is_cut_short(opened):
    page, _ = opened
    unfold(page)
    assert [text for text in page.locator("[data-spec] svg text").all_text_contents() if text.endswith("…")] == []


@in_chromium
@every("light")
def test_the_tab_key_reaches_every_control_in_the_order_in_which_the_page_is_read(opened):
    page, _ = opened
    unfold(page)
    count, found = page.evaluate(FOCUSABLE), []
    page.evaluate("scrollTo(0, 0)")
    for _ in range(count):
        page.keyboard.press("Tab")
        found.append(page.evaluate(STOP))
    assert [at for at, *_ in found] == [*range(count)]
    tops = [top for _, top, kind in found if kind not in ("DIV",)]
    assert [(a, b) for a, b in itertools.pairwise(tops) if b < a - 40] == []  # on one line they may differ a little


@in_chromium
@every("light")
def test_it_begins_with_the_question_its_answer_one_chart_and_one_table_and_folds_the_rest(opened):
    page, _ = opened
    assert page.locator("h1").count() == 1 and page.locator(".question").inner_text().endswith(("?", "."))
    answer = page.locator("#answer p")
    assert answer.count() == 1 and answer.inner_text().endswith(".")
    assert page.locator("figure:visible").count() == 1 and page.locator("table:visible").count() == 1
    assert page.locator("#answer").bounding_box()["y"] < 400
    folded = page.locator("section.folded")
    assert folded.count() >= 1 and page.locator("section.folded details[open]").count() == 0
    for i in range(folded.count()):  # a link to a section opens it
        name = folded.nth(i).get_attribute("id")
        folded.nth(i).locator(":scope > a.anchor").click()
        folded.nth(i).locator("details[open]").first.wait_for(state="attached", timeout=5_000)
        assert page.evaluate("location.hash") == f"#{name}"
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert page.locator("section.folded details[open]").count() == 0


@in_chromium
@every("dark", names=("study", "choice"))
def test_it_is_printed_on_white_on_at_most_six_sheets_and_unfolded_in_full(opened):
    page, said = opened

    def sheets() -> int:
        return len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", print_background=True)))

    folded = sheets()
    unfold(page)
    assert folded <= 6 < 20 and sheets() > folded
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(
        "[...document.querySelectorAll('h2, h3')].every((one) => getComputedStyle(one).breakAfter === 'avoid')"
    )
    assert said == []


@in_chromium
@every("dark", names=("study",))
def test_a_chart_is_copied_as_numbers_and_as_a_picture(opened):
    page, said = opened
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    figure = page.locator("figure:visible")

    def copied(form: str) -> str:
        figure.get_by_text(form, exact=True).click()
        figure.get_by_text("Copied", exact=True).wait_for(timeout=30_000)
        text = page.evaluate("navigator.clipboard.readText()")
        page.wait_for_timeout(1600)
        return text

    rows = list(csv.DictReader(io.StringIO(copied("CSV"))))
    assert {"c4", "gsm8k:icl", "no data"} <= {row["source"] for row in rows}
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)
    assert len(copied("Markdown").strip().splitlines()) == len(rows) + 2
    svg = copied("SVG")
    assert svg.startswith("<svg") and "var(" not in svg and "shaded: no difference" in svg and "on 32 sequences" in svg
    copied("PNG")
    assert page.evaluate("navigator.clipboard.read().then((items) => items[0].types)") == ["image/png"]
    assert said == []


@in_chromium
@every("light", names=("study",))
def test_a_table_is_searched_filtered_sorted_and_copied_as_it_is_seen(opened):
    page, said = opened
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    place = page.locator("#results .table")
    rows = place.locator("tbody tr:visible")
    whole = rows.count()
    place.get_by_label("evaluation of Every result").select_option("=kl(gsm8k)")
    place.get_by_label("Search in Every result").fill("SLIMPAJAMA 50%")
    assert rows.count() == 2 < whole and {"slimpajama"} == set(
        place.locator("tbody tr:visible td:first-child").all_inner_texts()
    )
    place.get_by_label("Search in Every result").fill("")
    mean = place.get_by_role("button", name="mean", exact=True)
    for direction in ("ascending", "descending"):
        mean.click()
        assert place.locator(f"th[aria-sort={direction}]").count() == 1
        cells = place.locator("tbody tr:visible td:nth-child(6)")
        values = [float(cells.nth(i).get_attribute("data-tsv").split("\t")[0]) for i in range(cells.count())]
        assert values == sorted(values, reverse=direction == "descending") and len(values) > 8
    place.get_by_text("CSV", exact=True).click()
    place.get_by_text("Copied", exact=True).wait_for(timeout=5_000)
    copied = list(csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
    assert len(copied) == rows.count() and {row["evaluation"] for row in copied} == {"kl(gsm8k)"}
    assert float(copied[0]["mean low"]) < float(copied[0]["mean"]) < float(copied[0]["mean high"])
    mean.click()
    assert place.locator("th[aria-sort]").count() == 0 and said == []


@in_chromium
@every("light", names=("study",))
def test_a_technical_word_has_its_definition_where_it_stands_and_at_its_link(opened):
    page, _ = opened
    term = page.locator("a.term", has_text=re.compile("^draws?$")).first
    assert "One calibration set of a recipe" in term.get_attribute("title")
    assert not page.locator("#word-draw").is_visible()
    term.click()
    page.locator("#word-draw").wait_for(state="visible", timeout=5_000)


def main_charts(results) -> list[dict]:
    """The specifications of the charts under the answer."""
    html = study_page(Findings(results)).html()
    specs = json.loads(html.partition('id="specs">')[2].partition("</script>")[0])
    main = html.partition('<section id="results"')[2].partition('class="more"')[0]
    return [specs[name] for name in re.findall(r'data-spec="([\w-]+)"', main)]


@pytest.mark.parametrize(
    "results",
    [made_up(amounts=(16, 32, 64, 128), methods=("wanda", "ria"), draws=2),
     made_up(sources=tuple(f"source {i}" for i in range(12)), methods=("wanda",), draws=2),
     made_up(methods=tuple(f"method{i}" for i in range(9)), patterns=("60%",), draws=2)],
    ids=["amounts", "sources", "methods"],
)  # fmt: skip
def test_every_source_at_every_amount_of_data_is_in_the_chart_under_the_answer(results):
    pytest.importorskip("altair", reason="the extra `report` is not installed")
    charts = main_charts(results)
    wanted = [row for row in results.rows if (row.draw or 0) == 0]
    assert sum(len(chart["datasets"]["points"]) for chart in charts) == len(wanted)
    there = {point["source"].removesuffix(" †") for chart in charts for point in chart["datasets"]["points"]}
    assert there == {row.calibration if row.calibration != "none" else "no data" for row in wanted}
    for chart in charts:
        assert len({point["series"] for point in chart["datasets"]["points"]}) <= 8
        text = json.dumps(chart)
        assert '"format": ",~r"' in text and "e+" not in text
        rule = [layer["data"]["values"][0] for layer in chart["layer"] if layer.get("data", {}).get("values")]
        assert any("dense" in value for value in rule) and any("from" in value for value in rule)


@in_chromium
def test_the_legend_names_what_the_chosen_chart_shows_and_no_more(browser, tmp_path):  # noqa: F811
    rows = made_up(patterns=("50%", "60%"), methods=("wanda", "ria"), draws=2)
    kept = tuple(row for row in rows.rows if (row.method, row.pattern) != ("ria", "60%"))
    write_whole(tmp_path / "page.html", study_page(Findings(replace(rows, rows=kept))).html())
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("html[data-charts=drawn]", state="attached", timeout=90_000)
    legend, found = page.locator("#results .panel > .legend li:visible:has(svg)"), {}
    choose = page.locator("#results .choose select")
    for i, name in enumerate(choose.locator("option").all_inner_texts()):
        choose.select_option(str(i))
        found[name.rpartition(" ")[2]] = legend.all_inner_texts()
    page.close()
    assert found == {"50%": ["wanda", "ria", "magnitude"], "60%": ["wanda", "magnitude"]}
