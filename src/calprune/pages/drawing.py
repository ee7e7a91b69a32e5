"""What charts are drawn with: points, axes of values, colours and shapes, and where the name of a dot stands.

Drawings are specifications of Vega-Lite, made by altair, an optional extra: it is imported where one is made.

One rule for every axis of values: it reaches to where nothing is lost (the dense model's value, a KL of 0, 100 % left),
so that the sources are seen beside what pruning costs. Perplexity is logarithmic, for its differences are ratios; all
else is linear.
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from calprune.base.values import UserError
from calprune.pages.numbers import Interval

# each has a contrast of 3 or more on the page's white and on its dark ground
PALETTE = ("#3d7cc9", "#d9722e", "#2e9e6b", "#b05cc6", "#b58a12", "#d64f6f", "#2b98ad", "#8a7560")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left", "triangle-right")
OUTLINES = (
    "M5,0A5,5 0 1 1 -5,0A5,5 0 1 1 5,0Z", "M-4.5,-4.5H4.5V4.5H-4.5Z", "M0,-5L5.5,4.5H-5.5Z", "M0,-6L5,0L0,6L-5,0Z",
    "M-5.5,-2H-2V-5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5Z", "M0,5L5.5,-4.5H-5.5Z", "M-5,0L4.5,-5.5V5.5Z",
    "M5,0L-4.5,-5.5V5.5Z",
)  # fmt: skip  # of SHAPES, for the legend
ROOM = 360  # px of a row's name; in a narrow place the page puts it above its row
PLAIN = ",~r"  # numbers of axes: no powers of ten, no thousandths of a letter
DIGITS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))  # of ticks
LEAST_TICKS = 4  # of a logarithmic axis
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
        return replace(self, ticks=log_ticks(min(ends), max(ends))) if self.log and ends else self


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
            f"a chart is drawn by {e.name}, which is not installed: pip install 'calprune[report]'"
        ) from None
    return altair


def lanes(points: Sequence[Point]) -> tuple[list[dict[str, Any]], int]:
    """The points with a `lane` round 0, one for each of a row's points, and how many lanes the fullest row has."""
    rows: dict[str, list[Point]] = {}
    for point in points:
        rows.setdefault(point.source, []).append(point)
    placed = [asdict(p) | {"lane": i - (len(row) - 1) / 2} for row in rows.values() for i, p in enumerate(row)]
    return placed, max(map(len, rows.values()))


def colours(series: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The colour and the shape of each series, the same in every chart of a section."""
    return {name: (PALETTE[i % len(PALETTE)], SHAPES[i % len(SHAPES)]) for i, name in enumerate(series)}


def rows_of(points: Sequence[Point]) -> list[dict[str, Any]]:
    return [asdict(p) for p in points]


def colour(series: Sequence[str]) -> Any:
    alt = altair()
    of = colours(series)
    return alt.Color("series:N", scale=alt.Scale(domain=list(of), range=[c for c, _ in of.values()]), legend=None)


def shape(series: Sequence[str]) -> Any:
    alt = altair()
    of = colours(series)
    return alt.Shape("series:N", scale=alt.Scale(domain=list(of), range=[s for _, s in of.values()]), legend=None)


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Plain numbers in a range, as few as still say how long it is: of powers of ten, of more digits, then evenly."""
    for digits in DIGITS:
        ticks = [float(f"{digit}e{power}") for power in range(-12, 13) for digit in digits]
        if len(found := tuple(tick for tick in ticks if low <= tick <= high)) >= LEAST_TICKS:
            return found
    step = next(step for power in range(12, -13, -1) for digit in (5, 2, 1)
                if (step := float(f"{digit}e{power}")) * (LEAST_TICKS - 1) <= high - low or power == -12)  # fmt: skip
    return tuple(round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1))


def value_axis(channel: str, axis: ValueAxis, field: str = "value") -> Any:
    alt = altair()
    scale = alt.Scale(type="log", nice=False, padding=10) if axis.log else alt.Scale(zero=False, padding=10)
    ticks = {"values": axis.ticks} if axis.ticks else {"tickCount": 5}
    look = alt.Axis(format=",~%" if axis.percent else PLAIN, labelOverlap=True, **ticks)
    return getattr(alt, channel)(f"{field}:Q", title=axis.title, scale=scale, axis=look)


def tooltip(axis: ValueAxis) -> list[Any]:
    alt = altair()
    return [alt.Tooltip("source:N"), alt.Tooltip("series:N", title="setting"),
            alt.Tooltip("shown:N", title=axis.title), alt.Tooltip("draws:Q")]  # fmt: skip


def with_rule(alt: Any, layers: list[Any], at: float | None, name: str, channel: str) -> list[Any]:
    if at is None:
        return layers
    rule = alt.Chart(alt.Data(values=[{"dense": at}])).mark_rule(strokeDash=[4, 3], color="var(--soft)")
    tip = [alt.Tooltip("dense:Q", title=name, format=".4~g")]
    return [rule.encode(**{channel: "dense:Q"}, tooltip=tip), *layers]


def row_axis(alt: Any, grid: bool = True) -> Any:
    """Names of rows in full, with a thin line from each to its marks."""
    return alt.Axis(labelLimit=ROOM, domain=False, ticks=False, grid=grid, labelPadding=8)


def placed(points: Sequence[Point], log: bool) -> dict[tuple[str, int, int], list[Point]]:
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
