"""Tables, charts, sections and pages: one content in five forms; text from outside is no markup; no library needed."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from calprune.base.values import ConfigError
from calprune.pages.chart import Bar, Bars, Curve, Dots, Heat, Panel, Scatter
from calprune.pages.drawing import Point, ValueAxis, altair
from calprune.pages.numbers import alike, counted, number, percent
from calprune.pages.page import HasPage, Page, Section, Stretch, TextBlock
from calprune.pages.table import Column, Table
from calprune.report.findings import Findings
from calprune.uncertainty.estimate import Estimate
from tests.made_up_study import made_up

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&|*_"
MEAN = Estimate(1 / 3, 0.25, 0.5, 3)
SHARE = Column("share", "number", percent=True)
HEADS = (Column("source"), Column("mean", "estimate"), Column("draws", "number"), SHARE,
         Column("model", show="varying"), Column("p", "p", show="never"))  # fmt: skip
ROWS = (("c4", MEAN, 3, 0.25, "demo", 0.0417), (HOSTILE, None, None, None, "demo", None))
TABLE = Table("results", "Every result", HEADS, ROWS, ("A note.",))
POINTS = tuple(Point.of(name, MEAN, "0.33 [0.25, 0.50]", "wanda", float(i)) for i, name in enumerate(("c4", HOSTILE)))
AXIS, ORDER = ValueAxis("perplexity"), [point.source for point in POINTS]
CHARTS = {
    "dots": Dots("Dots", "values", POINTS, AXIS, ORDER, ("wanda",), 0.2),
    "curve": Curve("Curve", "values", POINTS, ValueAxis("sparsity"), AXIS, ("wanda",)),
    "heat": Heat("Heat", "values", tuple(replace(point, x="60%") for point in POINTS), ["60%"], ORDER),
    "scatter": Scatter("Scatter", "values", POINTS, ValueAxis("likeness"), AXIS),
}  # fmt: skip
BARS = Bars("Lengths", "tokens", (), (Bar("8", 0, "1 to 8"), Bar("16", 3, HOSTILE)))
BLOCK = TextBlock("Text", (Stretch("half", 0.5), Stretch(HOSTILE)))


@dataclass(frozen=True, repr=False)
class Measured(HasPage):
    """A result, as the library gives one."""

    value: float

    def page(self) -> Page:
        section = Section("all", "All", tables=(TABLE,), facts=(("value", str(self.value)),))
        return Page("Measured", (section, Section("nothing", "Nothing")), summary="once")


def without_altair(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)


def test_a_table_in_every_form_holds_the_same():
    assert TABLE.records()[0]["mean"] == {"value": 1 / 3, "low": 0.25, "high": 0.5, "n": 3, "confidence": 0.95}
    assert json.loads(TABLE.json()) == TABLE.records()
    first, second = csv.DictReader(io.StringIO(TABLE.csv()))
    assert (first["mean"], first["mean low"], first["p"]) == (str(1 / 3), "0.25", "0.0417")
    assert (second["source"], second["mean"], second["draws"]) == (HOSTILE, "", "")
    for form in (TABLE.text(), TABLE.markdown(), TABLE.html()):
        assert "0.33 [0.25, 0.50]".replace("[", "\\[" if form == TABLE.markdown() else "[") in form
        assert "25.0 %" in form and "not measured" in form and "A note." in form and "Every result" in form
        assert "demo" not in form  # the same in each row
        assert "0.042" not in form and "0.0417" not in form  # p is for files


def test_text_is_aligned_and_a_long_cell_is_broken_not_cut():
    lines = TABLE.text(400).splitlines()
    cells = zip(lines[1:4], ("draws", "3", "—"), strict=True)
    ends = {re.search(rf" {cell}(?=  )", line).end() for line, cell in cells}
    assert len(ends) == 1  # numbers end together
    narrow = Table("t", "", (Column("a"), Column("b")), (("x", "word " * 30),)).text(40)
    assert narrow.count("word") == 30 and max(map(len, narrow.splitlines())) <= 40


def test_nothing_from_outside_is_markup():
    page = Page(HOSTILE, (Section("s", HOSTILE, (HOSTILE,), (Panel((*CHARTS.values(),)), Panel((BARS,))), (TABLE,),
                                  ((HOSTILE, HOSTILE),), (BLOCK,), (HOSTILE,)),), HOSTILE, HOSTILE, HOSTILE, (HOSTILE,),
                (HOSTILE,))  # fmt: skip
    document = page.html()
    own = document.split("<script>")[0]  # before the library
    for html in (own, page._repr_html_(), TABLE.html(), page.sections[0].html(), CHARTS["dots"].html()):
        assert "<img" not in html and "<script>alert" not in html and "&lt;img src=x" in html
    assert document.count("</script>") == 3  # the charts' data, the library and the page's own
    assert "<script" not in page._repr_html_() and "default-src 'none'" in own
    assert "<img" not in page.markdown().replace("\\<", "").split("Text:")[0]  # a block is code


@pytest.mark.parametrize("kind", CHARTS)
def test_a_chart_is_a_drawing_of_its_points_and_a_table_of_them(kind):
    pytest.importorskip("vl_convert", reason="the extra `report` is not installed")
    chart = CHARTS[kind]
    assert {point["source"] for point in chart.spec()["datasets"]["points"]} == {"c4", HOSTILE}
    assert chart.spec()["width"] == "container" and "config" not in chart.spec()
    rows = list(csv.reader(io.StringIO(chart.csv())))
    assert [row[0] for row in rows[1:]] == ORDER and "0.33 [0.25, 0.50]" in rows[1]
    assert "0.33 [0.25, 0.50]" in chart.text() and "c4" in chart.html()


def test_a_tables_text_is_the_same_in_a_notebook(monkeypatch):
    text = TABLE.text()
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert TABLE.text() == text and text.count("\n") > len(ROWS)


def test_what_a_result_prints_as_json_can_be_written_to_any_terminal():
    printed = Measured(1.0).json(found="café 😀")
    assert printed.isascii() and json.loads(printed)["found"] == "café 😀"


def test_a_histogram_needs_no_library(monkeypatch):
    without_altair(monkeypatch)
    html = Page("Set", (Section("lengths", "Lengths", panels=(Panel((BARS,)),)),)).html()
    assert html.count("<i style=") == 2 and "height: 120px" in html and "vegaEmbed =" not in html


def test_without_altair_a_page_has_the_numbers_of_its_charts_and_says_how_to_draw_them(monkeypatch):
    page = Page("Study", (Section("s", "Charts", panels=(Panel((CHARTS["dots"],)), Panel((BARS,)))),))
    assert 'data-spec="chart-1"' in page.html() and "pip install" not in page.html()
    without_altair(monkeypatch)
    html = page.html()
    assert "data-spec=" not in html and "0.33 [0.25, 0.50]" in html and "calprune[report]" in html
    with pytest.raises(Exception, match=r"pip install 'calprune\[report\]'"):
        altair()


def test_what_is_empty_is_left_out():
    empty = Table("none", "None", HEADS, ())
    section = Section("s", "Section", panels=(Panel(()),), tables=(empty,))
    assert not section and Page("Page", (section,)).sections == ()
    assert Section("s", "Section", ("A sentence.",))


def test_a_result_has_its_pages_forms_and_a_short_repr():
    found = Measured(0.25)
    assert repr(found) == "<Measured: Measured; once>"
    assert found.table() is TABLE and found.table("results") is TABLE
    with pytest.raises(ConfigError, match="did you mean 'results'"):
        found.table("result")
    assert found.text() == found.page().text() and "value      0.25" in found.text() and "Nothing" not in found.text()
    assert json.loads(found.json(out="here"))["out"] == "here"
    assert found.csv() == TABLE.csv() and found.html().startswith("<!doctype html>")
    assert "<table" in found._repr_html_() and "<html" not in found._repr_html_()
    assert found.markdown().startswith("# Measured\n\nonce\n\n## All\n\n### Every result\n")


def test_one_legend_serves_the_charts_of_a_panel_and_one_series_needs_none():
    two = Dots("Dots", "values", POINTS, AXIS, ORDER, ("wanda", "sparsegpt"))
    assert [name for name, *_ in Panel((CHARTS["dots"], two)).legend()] == ["wanda", "sparsegpt"]
    assert Panel((CHARTS["dots"],)).legend() == []


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (percent(0.123), "12.3 %"), (percent(None), "not measured"), (percent(-0.5, 0), "−50 %"),
        (counted(1, "trial"), "1 trial"),
        (counted(2000, "trial"), "2,000 trials"),
        (number(-1e-9), "0"), (number(0.000012), "0.000012"),
    ],
)  # fmt: skip
def test_shares_times_and_counts_are_read(shown, wanted):
    assert shown == wanted


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((98.0712, 183.44, 46.4879), ["98.1", "183.4", "46.5"]),
        ((0.91321, 1.5238), ["0.913", "1.524"]),
        ((0.0241, 1530.2), ["0.024", "1,530.200"]),
        ((0.0, 2.5), ["0.000", "2.500"]),
        ((0.0, 0.0), ["0", "0"]),
    ],
)
def test_numbers_of_one_sentence_have_as_many_decimals(values, shown):
    assert alike(*values) == shown


def test_a_number_and_its_sign_and_the_ends_of_an_interval_stand_on_one_line():
    page = Page("Loss", (), summary="It lost 61 % [46.7, 50.1] % of it, 1.2 [−0.3, 1,200.5] nats, in [a, b] %d.")
    assert "61\xa0% [46.7,\xa050.1]\xa0% of it, 1.2 [−0.3,\xa01,200.5] nats, in [a, b]\xa0%d." in page.html()


def test_the_example_of_a_section_gives_a_page_of_a_study():
    lines = (Path(__file__).parents[1] / "docs" / "add-a-section.md").read_text()
    names: dict = {}
    exec(lines.split("```python\n")[1].split("```")[0], names)
    findings = Findings(made_up())
    page = names["page"](findings)
    assert len(page.table("spread").rows) == 5 * 2 * 2 and page.table("spread").rows[0][0] == "c4"
    (chart,) = page.sections[0].charts
    assert len(chart.points) == 20 and chart.legend == ("wanda 2:4", "sparsegpt 2:4", "wanda 60%", "sparsegpt 60%")


def test_pages_import_nothing_heavy():
    program = ("import sys, calprune.pages; print(sorted({'torch', 'transformers', 'altair', 'jinja2', 'numpy', 'rich'}"
               " & set(sys.modules)))")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_chart_without_points_is_not_drawn_and_a_section_of_nothing_else_is_empty():
    nothing = Dots("Dots", "values", (), AXIS, ORDER, ())
    assert not Section("spread", "Draws", panels=(Panel((nothing,)),))
    both = Section("spread", "Draws", panels=(Panel((nothing, BARS)),))
    assert [chart.title for chart in both.charts] == [BARS.title]


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (46.0, 9000.0, (100, 300, 1000, 3000)),
    (46.0, 67.0, (50, 55, 60, 65)),
    (0.2, 0.5, (0.2, 0.25, 0.3, 0.4, 0.5)),
    (1e-3, 50.0, (0.001, 0.01, 0.1, 1, 10)),
])  # fmt: skip
def test_a_logarithmic_axis_has_plain_numbers_that_say_how_long_it_is(low, high, ticks):
    point = Point("c4", "wanda", 1.0, (low * high) ** 0.5, low, high, "", 3)
    assert ValueAxis("perplexity", log=True).over([point]).ticks == pytest.approx(ticks)
    assert ValueAxis("KL").over([point]).ticks is None


@pytest.mark.parametrize("value", [1e-9, 5.0, 7e11])
def test_one_value_alone_is_drawn_on_a_logarithmic_axis(value):
    ticks = ValueAxis("perplexity", log=True).over([Point("c4", "wanda", 1.0, value, value, value, "", 1)]).ticks
    assert ticks is not None and len(ticks) < 10
