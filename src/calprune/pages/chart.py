"""Charts: what they show as points, drawn by Vega-Lite in the page or by the page itself.

A chart's data are a table too, for text, Markdown, CSV and JSON. Colours that depend on light and dark are the page's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from calprune.pages import drawing
from calprune.pages.drawing import OUTLINES, PALETTE, PLAIN, ROOM, SHAPES, Point, ValueAxis, altair
from calprune.pages.names import shorten
from calprune.pages.table import Column, Table, Value

WIDEST = 120  # px of a column's head
MOST_TICKS = 8  # of a curve, from which on they no more are its points


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
        rows = alt.Y("source:N", sort=list(self.order), title=None, axis=drawing.row_axis(alt))
        side_by_side, lanes = drawing.lanes(self.points)
        apart = alt.YOffset("lane:Q", scale=alt.Scale(domain=[-lanes / 2 - 0.5, lanes / 2 + 0.5]))
        drawn = alt.Chart(alt.NamedData("points")).encode(y=rows, yOffset=apart, color=drawing.colour(self.series))
        axis = self.axis.over(self.points, self.rule)
        span = drawn.mark_rule(strokeWidth=2, opacity=0.55).encode(x=drawing.value_axis("X", axis, "low"), x2="high:Q")
        dot = drawn.mark_point(filled=True, size=64, opacity=1).encode(
            x=drawing.value_axis("X", axis), shape=drawing.shape(self.series), tooltip=drawing.tooltip(self.axis)
        )
        layers = drawing.with_rule(alt, [span, dot], self.rule, self.rule_name, "x")
        if self.zone is not None:
            shade = alt.Chart(alt.Data(values=[dict(zip(("from", "to"), self.zone, strict=True))])).mark_rect(
                color="var(--zone)"
            )
            layers = [shade.encode(x=alt.X("from:Q"), x2="to:Q"), *layers]
        names = {point.source for point in self.points}
        spec = _finished(alt.layer(*layers), side_by_side, len(names) * max(22, 10 + 9 * lanes))
        read_when_narrow = {"labels": max(map(len, names)), "rows": len(names)}
        return spec | {"usermeta": read_when_narrow}


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
        drawn = alt.Chart(alt.NamedData("points")).encode(x=at, color=drawing.colour(self.series))
        axis = self.axis.over(self.points, self.rule)
        line = drawn.mark_line(strokeWidth=2).encode(y=drawing.value_axis("Y", axis))
        span = drawn.mark_rule(strokeWidth=1.5, opacity=0.55).encode(
            y=drawing.value_axis("Y", axis, "low"), y2="high:Q"
        )
        dot = drawn.mark_point(filled=True, size=56, opacity=1).encode(
            y=drawing.value_axis("Y", axis), shape=drawing.shape(self.series), tooltip=drawing.tooltip(self.axis)
        )
        layers = drawing.with_rule(alt, [line, span, dot], self.rule, "dense model", "y")
        return _finished(alt.layer(*layers), drawing.rows_of(self.points), 240)


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
        rows = alt.Y("source:N", sort=list(self.order), title=None, axis=drawing.row_axis(alt, grid=False))
        drawn = alt.Chart(alt.NamedData("points")).encode(x=side, y=rows)
        cell = drawn.mark_rect(stroke="var(--ground)", strokeWidth=2).encode(
            color=alt.value(PALETTE[1]),
            opacity=alt.Opacity("value:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 0.75]), legend=None),
            tooltip=[alt.Tooltip("source:N"), alt.Tooltip("x:N", title="setting"),
                     alt.Tooltip("shown:N", title="value"), alt.Tooltip("draws:Q")],
        )  # fmt: skip
        words = drawn.mark_text(fontSize=12).encode(text="series:N")
        return _finished(alt.layer(cell, words), drawing.rows_of(self.points), 56 + 30 * len(self.order))

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
            y=drawing.value_axis("Y", axis, "low"), y2="high:Q"
        )
        tips = [*drawing.tooltip(self.axis), alt.Tooltip("x:Q", title=self.along.title, format=".4~g")]
        dot = drawn.mark_point(filled=True, size=64, opacity=1, color=PALETTE[0]).encode(
            y=drawing.value_axis("Y", axis), tooltip=tips
        )
        layers = [span, dot]
        for (align, dx, dy), points in drawing.placed(self.points, self.axis.log).items():
            name = alt.Chart(alt.Data(values=drawing.rows_of(points))).mark_text(align=align, dx=dx, dy=dy, fontSize=11)
            layers.append(name.encode(x=at, y=drawing.value_axis("Y", axis), text="source:N"))
        return _finished(alt.layer(*layers), drawing.rows_of(self.points), 300)


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
        found = [
            (name, colour, OUTLINES[SHAPES.index(shape)]) for name, (colour, shape) in drawing.colours(names).items()
        ]
        return found if len(found) > 1 else []


def _finished(chart: Any, values: list[dict[str, Any]], height: Any) -> dict[str, Any]:
    """The specification, as wide as its place on the page, without what the page sets for all charts. The values come
    last, for altair copies what it is given at each step."""
    spec = chart.properties(width="container", height=height).to_dict(
        validate=False
    )  # a browser draws each in the tests
    spec.pop("config", None)
    return spec | {"datasets": {"points": values}}
