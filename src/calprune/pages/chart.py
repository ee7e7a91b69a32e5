"""Charts: what they show as points, drawn by Vega-Lite in the page (specifications by altair) or by the page itself.

A chart's data are a table too, for text, Markdown, CSV and JSON. Colours that depend on light and dark are the page's.
altair is an optional extra: it is imported where a specification is made.

One rule for every axis of values: it reaches to where nothing is lost (the dense model's value, a KL of 0, 100 % left),
so that the sources are seen beside what pruning costs. Perplexity is logarithmic, for its differences are ratios; all
else is linear.
"""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from calprune.base.values import UserError
from calprune.pages.names import shorten
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
ROOM = 360  # px of a row's name; in a narrow place the page puts it above its row
PLAIN = ",~r"  # numbers of axes: no powers of ten, no thousandths of a letter
DIGITS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))  # of ticks
LEAST_TICKS, MOST_TICKS = 4, 8  # of a logarithmic axis; of a curve, from which on they no more are its points
PLACES = (("left", 9, 0), ("right", -9, 0), ("center", 0, -13), ("center", 0, 13), ("left", 9, -12), ("left", 9, 12),
          ("right", -9, -12), ("right", -9, 12))  # fmt: skip  # of a name beside its dot: align, dx, dy
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
    ticks: tuple[float, ...] | None = None  # of a logarithmic axis; None: about five, by the library that draws

    def over(self, points: Sequence[Point], rule: float | None = None) -> "ValueAxis":
        """The axis with ticks where these points, and the reference's value, lie."""
        ends = [end for p in points for end in (p.low, p.value, p.high)] + ([] if rule is None else [rule])
        ends = [end for end in ends if 0 < end < math.inf]
        return replace(self, ticks=_log_ticks(min(ends), max(ends))) if self.log and ends else self


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
    def marks(self) -> tuple[tuple[str, str], ...]:
        """What a dashed line and a shaded zone are: pairs of a look and words."""
        return ()

    @property
    def has_data(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.points)

    @property
    def least(self) -> int:
        """Pixels; in a narrower place it scrolls."""
        return 0

    def read_as(self, names: Mapping[str, str]) -> "Chart":
        """With names that are read otherwise than they are written."""

        def read(value: Any) -> Any:
            match value:
                case str():
                    return shorten(value, names)
                case Point():
                    return replace(value, **{name: read(getattr(value, name)) for name in ("source", "series", "x")})
                case list() | tuple():
                    return tuple(map(read, value))
            return value

        fields = ("title", "description", "points", "order", "series", "columns", "rule_name")
        return replace(self, **{name: read(getattr(self, name)) for name in fields if hasattr(self, name)})

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
    zone: tuple[float, float] | None = None  # shaded: values that make no difference
    zone_name: str = ""

    @property
    def legend(self) -> tuple[str, ...]:
        return tuple(self.series)

    @property
    def marks(self) -> tuple[tuple[str, str], ...]:
        rule = (("rule", self.rule_name),) if self.rule is not None else ()
        return (*rule, ("zone", self.zone_name)) if self.zone is not None else rule

    def spec(self) -> dict[str, Any]:
        alt = altair()
        rows = alt.Y("source:N", sort=list(self.order), title=None, axis=_row_axis(alt))
        side_by_side, lanes = _lanes(self.points)
        apart = alt.YOffset("lane:Q", scale=alt.Scale(domain=[-lanes / 2 - 0.5, lanes / 2 + 0.5]))
        drawn = alt.Chart(alt.NamedData("points")).encode(y=rows, yOffset=apart, color=_colour(self.series))
        axis = self.axis.over(self.points, self.rule)
        span = drawn.mark_rule(strokeWidth=2, opacity=0.55).encode(x=_value_axis("X", axis, "low"), x2="high:Q")
        dot = drawn.mark_point(filled=True, size=64, opacity=1).encode(
            x=_value_axis("X", axis), shape=_shape(self.series), tooltip=_tooltip(self.axis)
        )
        layers = _with_rule(alt, [span, dot], self.rule, self.rule_name, "x")
        if self.zone is not None:
            shade = alt.Chart(alt.Data(values=[dict(zip(("from", "to"), self.zone, strict=True))])).mark_rect(
                color="var(--zone)"
            )
            layers = [shade.encode(x=alt.X("from:Q"), x2="to:Q"), *layers]
        names = {point.source for point in self.points}
        spec = _finished(alt.layer(*layers), side_by_side, len(names) * max(22, 10 + 9 * lanes))
        return spec | {
            "usermeta": {"labels": max(map(len, names)), "rows": len(names)}
        }  # the page's narrow form reads it


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
        log, along = self.along.log, sorted({float(p.x) for p in self.points})
        ticks = {"tickCount": MOST_TICKS} if len(along) > MOST_TICKS and not log else {"values": along}
        at = alt.X(
            "x:Q",
            title=self.along.title,
            scale=alt.Scale(nice=False, padding=14, **({"type": "log", "base": 2} if log else {"zero": False})),
            axis=alt.Axis(grid=False, format=PLAIN, labelOverlap=True, **ticks),
        )
        drawn = alt.Chart(alt.NamedData("points")).encode(x=at, color=_colour(self.series))
        axis = self.axis.over(self.points, self.rule)
        line = drawn.mark_line(strokeWidth=2).encode(y=_value_axis("Y", axis))
        span = drawn.mark_rule(strokeWidth=1.5, opacity=0.55).encode(y=_value_axis("Y", axis, "low"), y2="high:Q")
        dot = drawn.mark_point(filled=True, size=56, opacity=1).encode(
            y=_value_axis("Y", axis), shape=_shape(self.series), tooltip=_tooltip(self.axis)
        )
        layers = _with_rule(alt, [line, span, dot], self.rule, "dense model", "y")
        return _finished(alt.layer(*layers), _values(self.points), 240)


@dataclass(frozen=True)
class Heat(Chart):
    """A cell a source and column (a line break is one in its head); `value`, 0 to 1, is how dark it is."""

    columns: Sequence[str]
    order: Sequence[str]  # of sources

    @property
    def least(self) -> int:
        longest = max(len(line) for column in self.columns for line in column.split("\n"))
        side = min(ROOM, 7 * max(map(len, self.order), default=0))
        return side + 20 + len(self.columns) * min(WIDEST, 7 * longest + 10)

    def spec(self) -> dict[str, Any]:
        alt = altair()
        lines = "split(datum.label, '\\n')"
        below = 13 * max(column.count("\n") for column in self.columns) + 7  # its first line stands so far above
        head = alt.Axis(orient="top", labelAngle=0, labelLimit=WIDEST, labelPadding=below, labelExpr=lines,
                        domain=False, ticks=False)  # fmt: skip
        side = alt.X("x:N", sort=list(self.columns), title=None, axis=head)
        rows = alt.Y("source:N", sort=list(self.order), title=None, axis=_row_axis(alt, grid=False))
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
        axis = self.axis.over(self.points)
        drawn = alt.Chart(alt.NamedData("points")).encode(x=at)
        span = drawn.mark_rule(strokeWidth=2, opacity=0.55, color=PALETTE[0]).encode(
            y=_value_axis("Y", axis, "low"), y2="high:Q"
        )
        tips = [*_tooltip(self.axis), alt.Tooltip("x:Q", title=self.along.title, format=".4~g")]
        dot = drawn.mark_point(filled=True, size=64, opacity=1, color=PALETTE[0]).encode(
            y=_value_axis("Y", axis), tooltip=tips
        )
        layers = [span, dot]
        for (align, dx, dy), points in _placed(self.points, self.axis.log).items():
            name = alt.Chart(alt.Data(values=_values(points))).mark_text(align=align, dx=dx, dy=dy, fontSize=11)
            layers.append(name.encode(x=at, y=_value_axis("Y", axis), text="source:N"))
        return _finished(alt.layer(*layers), _values(self.points), 300)


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram."""

    tick: str  # under it
    count: int
    description: str  # "17 to 32 tokens: 3 sequences"


@dataclass(frozen=True)
class Bars(Chart):
    """A histogram, or with `rows` a bar a row, drawn by the page itself: it needs no library."""

    bars: tuple[Bar, ...]
    rows: bool = False
    by_page: ClassVar[bool] = True

    @property
    def has_data(self) -> bool:
        return bool(self.bars)

    def table(self) -> Table:
        rows = tuple((bar.tick, bar.count) for bar in self.bars if bar.count)
        return Table("chart", self.title, (Column("of" if self.rows else "up to"), Column("count", "number")), rows)


@dataclass(frozen=True)
class Panel:
    """Charts that share a legend."""

    charts: tuple[Chart, ...]
    wide: bool = False  # a chart takes the whole width
    choose: str = ""  # what is chosen by a control ("evaluation"): of the charts one is shown; "": all are

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


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Plain numbers in a range, as few as still say how long it is: of powers of ten, of more digits, then evenly."""
    for digits in DIGITS:
        ticks = [float(f"{digit}e{power}") for power in range(-12, 13) for digit in digits]
        if len(found := tuple(tick for tick in ticks if low <= tick <= high)) >= LEAST_TICKS:
            return found
    step = next(step for power in range(12, -13, -1) for digit in (5, 2, 1)
                if (step := float(f"{digit}e{power}")) * (LEAST_TICKS - 1) <= high - low or power == -12)  # fmt: skip
    return tuple(round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1))


def _value_axis(channel: str, axis: ValueAxis, field: str = "value") -> Any:
    alt = altair()
    scale = alt.Scale(type="log", nice=False, padding=10) if axis.log else alt.Scale(zero=False, padding=10)
    ticks = {"values": axis.ticks} if axis.ticks else {"tickCount": 5}
    look = alt.Axis(format=",~%" if axis.percent else PLAIN, labelOverlap=True, **ticks)
    return getattr(alt, channel)(f"{field}:Q", title=axis.title, scale=scale, axis=look)


def _tooltip(axis: ValueAxis) -> list[Any]:
    alt = altair()
    return [alt.Tooltip("source:N"), alt.Tooltip("series:N", title="setting"),
            alt.Tooltip("shown:N", title=axis.title), alt.Tooltip("draws:Q")]  # fmt: skip


def _with_rule(alt: Any, layers: list[Any], at: float | None, name: str, channel: str) -> list[Any]:
    if at is None:
        return layers
    rule = alt.Chart(alt.Data(values=[{"dense": at}])).mark_rule(strokeDash=[4, 3], color="var(--soft)")
    tip = [alt.Tooltip("dense:Q", title=name, format=".4~g")]
    return [rule.encode(**{channel: "dense:Q"}, tooltip=tip), *layers]


def _row_axis(alt: Any, grid: bool = True) -> Any:
    """Names of rows in full, with a thin line from each to its marks."""
    return alt.Axis(labelLimit=ROOM, domain=False, ticks=False, grid=grid, labelPadding=8)


def _placed(points: Sequence[Point], log: bool) -> dict[tuple[str, int, int], list[Point]]:
    """Where each name of a scatter plot stands beside its dot, by (align, dx, dy): the first place where it covers no
    other name, no dot and nothing outside, on a narrow screen; a name without a place is left to the tooltip."""
    wide, high = 270.0, 240.0
    xs, ys = [float(p.x) for p in points], [math.log(p.value) if log else p.value for p in points]

    def scaled(values: list[float], size: float) -> list[float]:
        low, high = min(values), max(values)
        return [size * (v - low) / (high - low) if high > low else size / 2 for v in values]

    at = [(x, high - y) for x, y in zip(scaled(xs, wide), scaled(ys, high), strict=True)]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in at]
    found: dict[tuple[str, int, int], list[Point]] = {}
    for point, (x, y) in zip(points, at, strict=True):
        size = 6.2 * len(point.source)
        for align, dx, dy in PLACES:
            left = x + dx - {"left": 0.0, "center": size / 2, "right": size}[align]
            box = (left, y + dy - 7, left + size, y + dy + 7)
            free = all(box[2] < a or c < box[0] or box[3] < b or d < box[1] for a, b, c, d in taken)
            if free and left > -24 and left + size < wide + 24:
                taken.append(box)
                found.setdefault((align, dx, dy), []).append(point)
                break
    return found


def _finished(chart: Any, values: list[dict[str, Any]], height: Any) -> dict[str, Any]:
    """The specification, as wide as its place on the page, without what the page sets for all charts. The values come
    last, for altair copies what it is given at each step."""
    spec = chart.properties(width="container", height=height).to_dict(
        validate=False
    )  # a browser draws each in the tests
    spec.pop("config", None)
    return spec | {"datasets": {"points": values}}
