"""The frontier: what each kind of pruning costs in quality, beside how large and how fast the model then is.

Quality is of docs/results/structured*.csv (studies/structured*.yaml), size and speed of benchmarks/speed*.json.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pictures.draw import BLUE, GREEN, GREY, INK, ORANGE, picture, stroke, text, ticks

ROOT = Path(__file__).parents[2]
MODELS = {"": "SmolLM2-135M", "_half_billion": "Qwen2.5-Coder-0.5B"}  # how the files of each end
TEXT, TIMED = "c4", "decode, batch 8"
PURPLE = "#7a4fb5"
KINDS = {"blocks": ("blocks", BLUE), "neurons": ("neurons", ORANGE), "heads": ("heads", GREEN), "": ("zeros", PURPLE)}
LEFT, RIGHT = (90.0, 430.0), (530.0, 870.0)  # the two panels, from left to right
TOP, FOOT = 90.0, 370.0


@dataclass(frozen=True)
class Pruned:
    """One pattern."""

    pattern: str
    kl: tuple[float, float, float]  # to the dense model, nats a token, and its interval
    size: float  # of the dense checkpoint's bytes
    speed: tuple[float, float, float]  # times as fast as the dense model, and its interval

    @property
    def kind(self) -> tuple[str, str]:
        """Its kind in words, and the kind's colour."""
        head, _, rest = self.pattern.partition(":")
        return KINDS[head if head in KINDS and rest else ""]

    @property
    def short(self) -> str:
        """What is left when the kind is known: "25%"."""
        head, _, rest = self.pattern.partition(":")
        return rest.replace("%", " %") if head in KINDS and rest else self.pattern.replace("%", " %")


def measured(of: str = "") -> list[Pruned]:
    """The patterns that were both judged and timed, with the text that all were judged with. of: which of MODELS."""
    times = json.loads((ROOT / "benchmarks" / f"speed{of}.json").read_text())
    timed = {model["name"]: model for model in times["models"]}
    with (ROOT / "docs" / "results" / f"structured{of}.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["metric"] == "KL, nats a token" and row["capability"] == "general"
        ]
    found = []
    for row in rows:
        if row["source"] == TEXT and row["pattern"] in timed:
            model = timed[row["pattern"]]
            ratio = next(work["times_as_fast"] for work in model["works"] if work["name"] == TIMED)
            kl = tuple(float(row[name]) for name in ("mean", "mean low", "mean high"))
            speed = tuple(ratio[name] or ratio["value"] for name in ("value", "low", "high"))  # few rounds: no interval
            size = model["stored"] / timed["dense"]["stored"]
            found.append(Pruned(row["pattern"], kl, size, speed))  # type: ignore[arg-type]
    return found


def best(found: Sequence[Pruned], worth: dict[str, float]) -> list[Pruned]:
    """The frontier: those than which none is nearer to the dense model and worth as much, by rising worth."""
    return sorted(
        (one for one in found
         if not any(other.kl[0] < one.kl[0] and worth[other.pattern] >= worth[one.pattern] for other in found)),
        key=lambda one: worth[one.pattern],
    )  # fmt: skip


def frontier(of: str = "") -> str:
    found, name = measured(of), MODELS[of]
    parts = [text(30, 38, "Quality against size and speed", 17, weight=600), *_legend(found)]
    sizes = {one.pattern: (one.size,) * 3 for one in found}
    parts += _panel(found, LEFT, sizes, "size on the disk, share of the dense model's", -1)
    parts += _panel(found, RIGHT, {one.pattern: one.speed for one in found}, f"times as fast ({TIMED})", 1)
    parts.append(text(30, TOP - 16, f"KL to dense {name}, nats a token; lower is better", 13, GREY))
    said = (
        "Beside each: how much goes. Dashed: the frontier, than which nothing is better in both. Bars: 95 % intervals."
    )
    return picture(900, 450, f"Quality against size and speed for each kind of pruning, {name}",
                   [*parts, text(30, 434, said, 13, GREY)])  # fmt: skip


def _legend(found: Sequence[Pruned]) -> Iterable[str]:
    for i, (name, colour) in enumerate(dict.fromkeys(one.kind for one in found)):
        x = 520 + 92 * i
        yield f'<circle cx="{x}" cy="33" r="6" fill="{colour}"/>'
        yield text(x + 12, 38, name, 14)


def _panel(
    found: Sequence[Pruned],
    ends: tuple[float, float],
    at: dict[str, tuple[float, float, float]],
    axis: str,
    better: int,
) -> Iterable[str]:
    """One panel. at: where each pattern lies, and its interval. better: 1 where more is better, -1 where less is."""
    low, high = min(one[1] for one in at.values()), max(one[2] for one in at.values())
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
    most = 1.08 * max(one.kl[2] for one in found)

    def x(value: float) -> float:
        return ends[0] + (ends[1] - ends[0]) * (value - low) / (high - low)

    def y(value: float) -> float:
        return FOOT - (FOOT - TOP) * value / most

    yield stroke(*ends[:1], FOOT, ends[1], FOOT, INK)
    yield stroke(ends[0], TOP, ends[0], FOOT, INK)
    for tick in ticks(0, most):
        yield stroke(ends[0], y(tick), ends[1], y(tick))
        yield text(ends[0] - 8, y(tick) + 4, f"{tick:g}", 12, GREY, "end")
    for tick in ticks(low, high):
        yield text(x(tick), FOOT + 18, f"{tick:g}", 12, GREY, "middle")
    yield text(sum(ends) / 2, FOOT + 38, axis, 13, GREY, "middle")
    line = best(found, {pattern: better * one[0] for pattern, one in at.items()})
    points = " ".join(f"{x(at[one.pattern][0]):.1f},{y(one.kl[0]):.1f}" for one in line)
    yield f'<polyline points="{points}" fill="none" stroke="{GREY}" stroke-width="1.5" stroke-dasharray="5 4"/>'
    for one in found:
        value, left, right = at[one.pattern]
        kind, colour = one.kind
        if left < right:
            yield stroke(x(left), y(one.kl[0]), x(right), y(one.kl[0]), colour, 1.5)
        yield stroke(x(value), y(one.kl[1]), x(value), y(one.kl[2]), colour, 1.5)
        yield f'<circle cx="{x(value):.1f}" cy="{y(one.kl[0]):.1f}" r="5" fill="{colour}"/>'
        yield text(x(value) + 8, y(one.kl[0]) + (17 if kind == "blocks" else -7), one.short, 12, colour)
