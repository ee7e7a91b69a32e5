"""Charts as Vega-Lite specifications, made with altair. Colours that depend on light and dark are the page's own.

A chart is drawn only of what its `Point`s hold; which points go into which chart is decided in `panels`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from calprune.base.values import UserError

# each has a contrast of 3 or more on the page's white and on its dark ground
PALETTE = ("#3d7cc9", "#d9722e", "#2e9e6b", "#b05cc6", "#b58a12", "#d64f6f", "#2b98ad", "#8a7560")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right")
WIDEST = 120  # px of a column's head
MOST_LINES = len(PALETTE)  # lines that can still be told apart


@dataclass(frozen=True)
class Point:
    """One mark: the mean over draws of one source in one setting, with its interval."""

    source: str  # as it is shown, with a mark where it is judged on its own text
    series: str  # what its colour stands for
    x: float | str  # of a curve: sparsity in % or sequences; of a heat map: the column; of a scatter: the similarity
    value: float
    low: float
    high: float
    shown: str  # "12.3 [11.9, 12.8]", for the tooltip
    draws: int


@dataclass(frozen=True)
class Axis:
    """What an axis says, and whether it counts in powers."""

    title: str
    log: bool = False
    percent: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing with what is said above it and to those who cannot see it."""

    title: str
    description: str
    spec: dict[str, Any]
    least: int = 0  # px: in a narrower place it scrolls


def altair() -> Any:
    """The library, or one line that says how to get it."""
    try:
        import altair
        import vl_convert  # noqa: F401  the page carries the library that draws; this is where it is
    except ImportError as e:
        raise UserError(
            f"the page needs {e.name}, which is not installed: pip install 'calprune[report]' "
            "(--csv, --json and --markdown need it not)"
        ) from None
    return altair


def needs_log(values: Sequence[float]) -> bool:
    """Whether the values span so much that a straight axis would press most of them together."""
    return min(values) > 0 and max(values) / min(values) > 10


def dots(
    points: Sequence[Point], axis: Axis, dense: float | None, order: Sequence[str], series: Sequence[str]
) -> dict[str, Any]:
    """A row a source, a dot with its interval a series, and the dense model's value as a dashed line."""
    alt = altair()
    rows = alt.Y("source:N", sort=list(order), title=None, axis=alt.Axis(labelLimit=150, domain=False, ticks=False))
    side_by_side, lanes = _lanes(points)
    apart = alt.YOffset("lane:Q", scale=alt.Scale(domain=[-lanes / 2, lanes / 2]))
    drawn = alt.Chart(alt.NamedData("points")).encode(y=rows, yOffset=apart, color=_colour(series))
    span = drawn.mark_rule(strokeWidth=2, opacity=0.55).encode(x=_value_axis("X", axis, "low"), x2="high:Q")
    dot = drawn.mark_point(filled=True, size=64, opacity=1).encode(
        x=_value_axis("X", axis), shape=_shape(series), tooltip=_tooltip(axis)
    )
    height = max(70, 52 + len({p.source for p in points}) * max(20, 8 + 9 * lanes))
    return _finished(_with_dense(alt, [span, dot], dense, "x"), side_by_side, height)


def curve(
    points: Sequence[Point], along: Axis, axis: Axis, dense: float | None, series: Sequence[str]
) -> dict[str, Any]:
    """A line a series along a number, with an interval at each of its points."""
    alt = altair()
    at = alt.X(
        "x:Q",
        title=along.title,
        scale=alt.Scale(type="log", base=2, nice=False, padding=14) if along.log else alt.Scale(zero=False, padding=14),
        axis=alt.Axis(values=sorted({float(p.x) for p in points}), grid=False, format="~s" if along.log else "~f"),
    )
    drawn = alt.Chart(alt.NamedData("points")).encode(x=at, color=_colour(series))
    line = drawn.mark_line(strokeWidth=2).encode(y=_value_axis("Y", axis))
    span = drawn.mark_rule(strokeWidth=1.5, opacity=0.55).encode(y=_value_axis("Y", axis, "low"), y2="high:Q")
    dot = drawn.mark_point(filled=True, size=56, opacity=1).encode(
        y=_value_axis("Y", axis), shape=_shape(series), tooltip=_tooltip(axis)
    )
    return _finished(_with_dense(alt, [line, span, dot], dense, "y"), _values(points), 240)


def heat(points: Sequence[Point], columns: Sequence[str], order: Sequence[str]) -> dict[str, Any]:
    """A cell a source and column (a line break is one in its head); `value`, 0 to 1, is how dark it is."""
    alt = altair()
    lines = "split(datum.label, '\\n')"
    head = alt.Axis(orient="top", labelAngle=0, labelLimit=WIDEST, labelPadding=20, labelExpr=lines, domain=False,
                    ticks=False)  # fmt: skip
    side = alt.X("x:N", sort=list(columns), title=None, axis=head)
    rows = alt.Y("source:N", sort=list(order), title=None, axis=alt.Axis(labelLimit=150, domain=False, ticks=False))
    drawn = alt.Chart(alt.NamedData("points")).encode(x=side, y=rows)
    cell = drawn.mark_rect(stroke="var(--ground)", strokeWidth=2).encode(
        color=alt.value(PALETTE[1]),
        opacity=alt.Opacity("value:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 0.75]), legend=None),
        tooltip=[alt.Tooltip("source:N"), alt.Tooltip("x:N", title="setting"), alt.Tooltip("shown:N", title="value"),
                 alt.Tooltip("draws:Q")],
    )  # fmt: skip
    said = drawn.mark_text(fontSize=12).encode(text="series:N")
    return _finished(alt.layer(cell, said), _values(points), 56 + 30 * len(order))


def heat_width(columns: Sequence[str]) -> int:
    """Pixels under which the heads of a heat map run into each other."""
    longest = max(len(line) for column in columns for line in column.split("\n"))
    return 130 + len(columns) * min(WIDEST, 7 * longest + 10)


def scatter(points: Sequence[Point], along: Axis, axis: Axis) -> dict[str, Any]:
    """A dot a source: how alike its text is against what came of it."""
    alt = altair()
    at = alt.X("x:Q", title=along.title, scale=alt.Scale(zero=False, padding=24))
    drawn = alt.Chart(alt.NamedData("points")).encode(x=at)
    span = drawn.mark_rule(strokeWidth=2, opacity=0.55, color=PALETTE[0]).encode(
        y=_value_axis("Y", axis, "low"), y2="high:Q"
    )
    dot = drawn.mark_point(filled=True, size=64, opacity=1, color=PALETTE[0]).encode(
        y=_value_axis("Y", axis), tooltip=[*_tooltip(axis), alt.Tooltip("x:Q", title=along.title, format=".4~g")]
    )
    name = drawn.mark_text(align="left", dx=8, dy=-6, fontSize=11, limit=110).encode(
        y=_value_axis("Y", axis), text="source:N"
    )
    return _finished(alt.layer(span, dot, name), _values(points), 260)


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


def _value_axis(channel: str, axis: Axis, field: str = "value") -> Any:
    alt = altair()
    scale = alt.Scale(type="log") if axis.log else alt.Scale(zero=False, padding=10)
    look = alt.Axis(format="~%" if axis.percent else "~g", tickCount=4)
    return getattr(alt, channel)(f"{field}:Q", title=axis.title, scale=scale, axis=look)


def _tooltip(axis: Axis) -> list[Any]:
    alt = altair()
    return [alt.Tooltip("source:N"), alt.Tooltip("series:N", title="setting"),
            alt.Tooltip("shown:N", title=axis.title), alt.Tooltip("draws:Q")]  # fmt: skip


def _with_dense(alt: Any, layers: list[Any], dense: float | None, channel: str) -> Any:
    if dense is None:
        return alt.layer(*layers)
    rule = alt.Chart(alt.Data(values=[{"dense": dense}])).mark_rule(strokeDash=[4, 3], color="var(--soft)")
    tip = [alt.Tooltip("dense:Q", title="dense model", format=".4~g")]
    return alt.layer(rule.encode(**{channel: "dense:Q"}, tooltip=tip), *layers)


def _finished(chart: Any, values: list[dict[str, Any]], height: int) -> dict[str, Any]:
    """The specification, as wide as its place on the page, without what the page sets for all charts. The values come
    last, for altair copies what it is given at each step."""
    spec = chart.properties(width="container", height=height).to_dict(
        validate=False
    )  # a browser draws each in the tests
    spec.pop("config", None)
    return spec | {"datasets": {"points": values}}
