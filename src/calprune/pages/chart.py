"""Charts: what they show as points, drawn by Vega-Lite in the page (specifications by altair) or by the page itself.

A chart's data are a table too, for text, Markdown, CSV and JSON. Colours that depend on light and dark are the page's.
altair is an optional extra: it is imported where a specification is made.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from calprune.base.values import UserError
from calprune.pages.numbers import Interval
from calprune.pages.table import Column, Table, Value

# each has a contrast of 3 or more on the page's white and on its dark ground
PALETTE = ("#3d7cc9", "#d9722e", "#2e9e6b", "#b05cc6", "#b58a12", "#d64f6f", "#2b98ad", "#8a7560")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right")
OUTLINES = (
    "M5,0A5,5 0 1 1 -5,0A5,5 0 1 1 5,0Z", "M-4.5,-4.5H4.5V4.5H-4.5Z", "M0,-5L5.5,4.5H-5.5Z", "M0,-6L5,0L0,6L-5,0Z",
    "M-5.5,-2H-2V-5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5Z", "M0,5L5.5,-4.5H-5.5Z", "M-5,0L4.5,-5.5V5.5Z",
    "M5,0L-4.5,-5.5V5.5Z",
)  # fmt: skip  # of SHAPES, for the legend
WIDEST = 120  # px of a column's head
MOST_LINES = len(PALETTE)  # lines that can still be told apart


@dataclass(frozen=True)
class Point:
    """One mark: the value of one source in one setting, with its interval."""

    source: str  # as it is shown, with a mark where it is judged on its own text
    series: str  # what its colour stands for
    x: float | str  # of a curve: sparsity in % or sequences; of a heat map: the column; of a scatter: the similarity
    value: float
    low: float
    high: float
    shown: str  # "12.3 [11.9, 12.8]", for the tooltip
    draws: int

    @classmethod
    def of(cls, source: str, estimate: Interval, shown: str, series: str = "", x: float | str = "") -> "Point":
        """A point with an estimate's interval; where it has none, the interval is the value."""
        low, high = (estimate.value if end is None else end for end in (estimate.low, estimate.high))
        return cls(source, series, x, estimate.value, low, high, shown, estimate.n)


@dataclass(frozen=True)
class ValueAxis:
    """An axis's title, and whether it is logarithmic."""

    title: str
    log: bool = False
    percent: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and a description for those who cannot see it."""

    title: str
    description: str
    points: tuple[Point, ...]
    by_page: ClassVar[bool] = False  # whether the page draws it without a library

    @property
    def legend(self) -> tuple[str, ...]:
        """The series that colours and shapes stand for."""
        return ()

    @property
    def has_data(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.points)

    @property
    def least(self) -> int:
        """Pixels; in a narrower place it scrolls."""
        return 0

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification. Raises UserError where altair is not installed."""
        raise NotImplementedError

    def table(self) -> Table:
        """Its data."""
        numbers = all(isinstance(point.x, float) for point in self.points)
        x = Column("x", "number" if numbers else "text", show="varying")
        columns = (Column("source"), Column("series", show="varying"), x, Column("value"), Column("low", show="never"),
                   Column("high", show="never"), Column("draws", "number", show="varying"))  # fmt: skip
        rows = tuple((p.source, p.series, p.x, p.shown, p.low, p.high, p.draws) for p in self.points)
        return Table("chart", self.title, columns, rows)

    def text(self, width: int | None = None) -> str:
        """Its data as text."""
        return self.table().text(width)

    def markdown(self, level: int = 3) -> str:
        """Its data as Markdown."""
        return self.table().markdown(level)

    def html(self) -> str:
        """Its data as a table, to be put into a page; drawn it is only within a Page, which carries the library."""
        return self.table().html()

    def csv(self) -> str:
        """Its data as CSV."""
        return self.table().csv()

    def json(self) -> str:
        """Its data as JSON."""
        return self.table().json()


@dataclass(frozen=True)
class Dots(Chart):
    """A row a source, a dot with its interval a series, and a reference's value as a dashed line."""

    axis: ValueAxis
    order: Sequence[str]  # of sources
    series: Sequence[str]
    rule: float | None = None  # the reference's value
    rule_name: str = "dense model"

    @property
    def legend(self) -> tuple[str, ...]:
        return tuple(self.series)

    def spec(self) -> dict[str, Any]:
        alt = altair()
        rows = alt.Y("source:N", sort=list(self.order), title=None,
                     axis=alt.Axis(labelLimit=150, domain=False, ticks=False))  # fmt: skip
        side_by_side, lanes = _lanes(self.points)
        apart = alt.YOffset("lane:Q", scale=alt.Scale(domain=[-lanes / 2, lanes / 2]))
        drawn = alt.Chart(alt.NamedData("points")).encode(y=rows, yOffset=apart, color=_colour(self.series))
        span = drawn.mark_rule(strokeWidth=2, opacity=0.55).encode(x=_value_axis("X", self.axis, "low"), x2="high:Q")
        dot = drawn.mark_point(filled=True, size=64, opacity=1).encode(
            x=_value_axis("X", self.axis), shape=_shape(self.series), tooltip=_tooltip(self.axis)
        )
        height = max(70, 52 + len({p.source for p in self.points}) * max(20, 8 + 9 * lanes))
        return _finished(_with_rule(alt, [span, dot], self.rule, self.rule_name, "x"), side_by_side, height)


@dataclass(frozen=True)
class Curve(Chart):
    """A line a series along a number, with an interval at each of its points."""

    along: ValueAxis
    axis: ValueAxis
    series: Sequence[str]
    rule: float | None = None

    @property
    def legend(self) -> tuple[str, ...]:
        return tuple(self.series)

    def spec(self) -> dict[str, Any]:
        alt = altair()
        log = self.along.log
        at = alt.X(
            "x:Q",
            title=self.along.title,
            scale=alt.Scale(type="log", base=2, nice=False, padding=14) if log else alt.Scale(zero=False, padding=14),
            axis=alt.Axis(values=sorted({float(p.x) for p in self.points}), grid=False, format="~s" if log else "~f"),
        )
        drawn = alt.Chart(alt.NamedData("points")).encode(x=at, color=_colour(self.series))
        line = drawn.mark_line(strokeWidth=2).encode(y=_value_axis("Y", self.axis))
        span = drawn.mark_rule(strokeWidth=1.5, opacity=0.55).encode(y=_value_axis("Y", self.axis, "low"), y2="high:Q")
        dot = drawn.mark_point(filled=True, size=56, opacity=1).encode(
            y=_value_axis("Y", self.axis), shape=_shape(self.series), tooltip=_tooltip(self.axis)
        )
        return _finished(_with_rule(alt, [line, span, dot], self.rule, "dense model", "y"), _values(self.points), 240)


@dataclass(frozen=True)
class Heat(Chart):
    """A cell a source and column (a line break is one in its head); `value`, 0 to 1, is how dark it is."""

    columns: Sequence[str]
    order: Sequence[str]  # of sources

    @property
    def least(self) -> int:
        longest = max(len(line) for column in self.columns for line in column.split("\n"))
        return 130 + len(self.columns) * min(WIDEST, 7 * longest + 10)

    def spec(self) -> dict[str, Any]:
        alt = altair()
        lines = "split(datum.label, '\\n')"
        head = alt.Axis(orient="top", labelAngle=0, labelLimit=WIDEST, labelPadding=20, labelExpr=lines, domain=False,
                        ticks=False)  # fmt: skip
        side = alt.X("x:N", sort=list(self.columns), title=None, axis=head)
        rows = alt.Y("source:N", sort=list(self.order), title=None,
                     axis=alt.Axis(labelLimit=150, domain=False, ticks=False))  # fmt: skip
        drawn = alt.Chart(alt.NamedData("points")).encode(x=side, y=rows)
        cell = drawn.mark_rect(stroke="var(--ground)", strokeWidth=2).encode(
            color=alt.value(PALETTE[1]),
            opacity=alt.Opacity("value:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 0.75]), legend=None),
            tooltip=[alt.Tooltip("source:N"), alt.Tooltip("x:N", title="setting"),
                     alt.Tooltip("shown:N", title="value"), alt.Tooltip("draws:Q")],
        )  # fmt: skip
        words = drawn.mark_text(fontSize=12).encode(text="series:N")
        return _finished(alt.layer(cell, words), _values(self.points), 56 + 30 * len(self.order))

    def table(self) -> Table:
        rows: dict[str, dict[float | str, Value]] = {source: {} for source in self.order}
        for point in self.points:
            rows.setdefault(point.source, {})[point.x] = point.shown
        heads = (Column("source"), *(Column(" ".join(column.split())) for column in self.columns))
        shown = tuple((source, *(row.get(c) for c in self.columns)) for source, row in rows.items() if row)
        return Table("chart", self.title, heads, shown)


@dataclass(frozen=True)
class Scatter(Chart):
    """A dot a source: one number of it against another."""

    along: ValueAxis
    axis: ValueAxis

    def spec(self) -> dict[str, Any]:
        alt = altair()
        at = alt.X("x:Q", title=self.along.title, scale=alt.Scale(zero=False, padding=24))
        drawn = alt.Chart(alt.NamedData("points")).encode(x=at)
        span = drawn.mark_rule(strokeWidth=2, opacity=0.55, color=PALETTE[0]).encode(
            y=_value_axis("Y", self.axis, "low"), y2="high:Q"
        )
        tips = [*_tooltip(self.axis), alt.Tooltip("x:Q", title=self.along.title, format=".4~g")]
        dot = drawn.mark_point(filled=True, size=64, opacity=1, color=PALETTE[0]).encode(
            y=_value_axis("Y", self.axis), tooltip=tips
        )
        name = drawn.mark_text(align="left", dx=8, dy=-6, fontSize=11, limit=110).encode(
            y=_value_axis("Y", self.axis), text="source:N"
        )
        return _finished(alt.layer(span, dot, name), _values(self.points), 260)


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram."""

    tick: str  # under it
    count: int
    description: str  # "17 to 32 tokens: 3 sequences"


@dataclass(frozen=True)
class Bars(Chart):
    """A histogram, drawn by the page itself: it needs no library."""

    bars: tuple[Bar, ...]
    by_page: ClassVar[bool] = True

    @property
    def has_data(self) -> bool:
        return bool(self.bars)

    def table(self) -> Table:
        rows = tuple((bar.tick, bar.count) for bar in self.bars if bar.count)
        return Table("chart", self.title, (Column("up to"), Column("count", "number")), rows)


@dataclass(frozen=True)
class Panel:
    """Charts that share a legend."""

    charts: tuple[Chart, ...]
    wide: bool = False  # a chart takes the whole width

    def __post_init__(self) -> None:
        object.__setattr__(self, "charts", tuple(chart for chart in self.charts if chart.has_data))

    def legend(self) -> list[tuple[str, str, str]]:
        """Names with their colours and outlines; empty where one name alone would need none."""
        names = list(dict.fromkeys(name for chart in self.charts for name in chart.legend))
        found = [(name, colour, OUTLINES[SHAPES.index(shape)]) for name, (colour, shape) in colours(names).items()]
        return found if len(found) > 1 else []


def can_draw() -> bool:
    """Whether the library is installed that charts are drawn with."""
    return all(importlib.util.find_spec(name) for name in ("altair", "vl_convert"))


def altair() -> Any:
    """The library, or one line that says how to get it."""
    try:
        import altair
        import vl_convert  # noqa: F401  the page carries the library that draws; this is where it is
    except ImportError as e:
        raise UserError(
            f"the page needs {e.name}, which is not installed: pip install 'calprune[report]' "
            "(--csv, --json and --markdown do not need it)"
        ) from None
    return altair


def needs_log(values: Sequence[float]) -> bool:
    """Whether the values span so much that a straight axis would press most of them together."""
    return min(values) > 0 and max(values) / min(values) > 10


def _lanes(points: Sequence[Point]) -> tuple[list[dict[str, Any]], int]:
    """The points with a `lane` round 0, one for each of a row's points, and how many lanes the fullest row has."""
    rows: dict[str, list[Point]] = {}
    for point in points:
        rows.setdefault(point.source, []).append(point)
    placed = [asdict(p) | {"lane": i - (len(row) - 1) / 2} for row in rows.values() for i, p in enumerate(row)]
    return placed, max(map(len, rows.values()))


def colours(series: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The colour and the shape of each series, the same in every chart of a section."""
    return {name: (PALETTE[i % len(PALETTE)], SHAPES[i % len(SHAPES)]) for i, name in enumerate(series)}


def _values(points: Sequence[Point]) -> list[dict[str, Any]]:
    return [asdict(p) for p in points]


def _colour(series: Sequence[str]) -> Any:
    alt = altair()
    of = colours(series)
    return alt.Color("series:N", scale=alt.Scale(domain=list(of), range=[c for c, _ in of.values()]), legend=None)


def _shape(series: Sequence[str]) -> Any:
    alt = altair()
    of = colours(series)
    return alt.Shape("series:N", scale=alt.Scale(domain=list(of), range=[s for _, s in of.values()]), legend=None)


def _value_axis(channel: str, axis: ValueAxis, field: str = "value") -> Any:
    alt = altair()
    scale = alt.Scale(type="log") if axis.log else alt.Scale(zero=False, padding=10)
    look = alt.Axis(format="~%" if axis.percent else "~g" if axis.log else "~r", tickCount=4)
    return getattr(alt, channel)(f"{field}:Q", title=axis.title, scale=scale, axis=look)


def _tooltip(axis: ValueAxis) -> list[Any]:
    alt = altair()
    return [alt.Tooltip("source:N"), alt.Tooltip("series:N", title="setting"),
            alt.Tooltip("shown:N", title=axis.title), alt.Tooltip("draws:Q")]  # fmt: skip


def _with_rule(alt: Any, layers: list[Any], at: float | None, name: str, channel: str) -> Any:
    if at is None:
        return alt.layer(*layers)
    rule = alt.Chart(alt.Data(values=[{"dense": at}])).mark_rule(strokeDash=[4, 3], color="var(--soft)")
    tip = [alt.Tooltip("dense:Q", title=name, format=".4~g")]
    return alt.layer(rule.encode(**{channel: "dense:Q"}, tooltip=tip), *layers)


def _finished(chart: Any, values: list[dict[str, Any]], height: int) -> dict[str, Any]:
    """The specification, as wide as its place on the page, without what the page sets for all charts. The values come
    last, for altair copies what it is given at each step."""
    spec = chart.properties(width="container", height=height).to_dict(
        validate=False
    )  # a browser draws each in the tests
    spec.pop("config", None)
    return spec | {"datasets": {"points": values}}
