"""Means with intervals along an axis, a line for each of several series."""

from collections.abc import Sequence
from dataclasses import dataclass

from pictures.draw import BLUE, GREEN, GREY, INK, ORANGE, picture, stroke, text, ticks

from calprune.uncertainty.estimate import Estimate

COLOURS = (BLUE, ORANGE, GREEN)
LEFT, RIGHT, TOP, FOOT = 70.0, 690.0, 70.0, 330.0
LABELS = 18  # that stand one above the other keep this distance


@dataclass(frozen=True)
class Series:
    """One line: its name and a value at each place of the axis, from left to right."""

    name: str
    values: Sequence[Estimate]


def curves(title: str, scale: str, axis: str, places: Sequence[str], series: Sequence[Series]) -> str:
    """scale: what is measured; axis: what `places` are, which stand as far apart as each other."""
    ends = [
        end for one in series for value in one.values for end in (value.value, value.low, value.high) if end is not None
    ]
    low, high = min(ends), max(ends)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)

    def x(place: int) -> float:
        return LEFT + (RIGHT - LEFT) * (place + 0.4) / (len(places) - 0.2)

    def y(value: float) -> float:
        return FOOT - (FOOT - TOP) * (value - low) / (high - low)

    parts = [text(30, 34, title, 17, weight=600), text(30, TOP - 12, scale, 13, GREY)]
    for tick in ticks(low, high):
        parts += [stroke(LEFT, y(tick), RIGHT, y(tick)), text(LEFT - 8, y(tick) + 4, f"{tick:g}", 12, GREY, "end")]
    parts.append(stroke(LEFT, FOOT, RIGHT, FOOT, INK))
    parts += [text(x(i), FOOT + 18, place, 12, GREY, "middle") for i, place in enumerate(places)]
    parts.append(text((LEFT + RIGHT) / 2, FOOT + 40, axis, 13, GREY, "middle"))
    below = -LABELS
    for one, colour in sorted(
        zip(series, COLOURS[: len(series)], strict=True), key=lambda pair: -pair[0].values[-1].value
    ):
        for i, value in enumerate(one.values):
            if value.low is not None and value.high is not None:
                parts.append(stroke(x(i), y(value.low), x(i), y(value.high), colour, 1.5))
            parts.append(f'<circle cx="{x(i):.1f}" cy="{y(value.value):.1f}" r="4" fill="{colour}"/>')
        points = " ".join(f"{x(i):.1f},{y(value.value):.1f}" for i, value in enumerate(one.values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        below = max(below + LABELS, y(one.values[-1].value) + 4)
        parts.append(text(RIGHT + 8, below, one.name, 14, colour))
    return picture(880, 386, f"{title}: {scale}, by {axis}", parts)
