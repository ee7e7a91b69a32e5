"""How often the intervals that claims are judged by hold the truth: means over settings, spreads, the luck of a draw.

    python benchmarks/spreads.py [--simulations 1000]

As benchmarks/intervals.py, for what a study's claims need beside. A spread cannot be below zero: where it is zero the
interval may hold it in up to 97.5 %. Two spreads that the same draws move are taken to be independent, which is
cautious. The tests run these worlds as well. Writes benchmarks/spreads.md.
"""

import argparse
import math
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import scipy

sys.path.insert(0, str(Path(__file__).parent))
from intervals import DRAWS, coverage, percent

from calprune.uncertainty.crossed import Weighed
from calprune.uncertainty.difference import weighed_sum
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.spread import larger_by, luck_per_doubling, ratio_of_luck, spread_between

Stream = np.random.Generator
World = Callable[[Stream, int], tuple[Estimate, float]]  # stream, draws -> what was found, the truth


def settings(shared: float) -> World:
    """Two sources in two settings, which share `shared` of the SD of a draw and of an item; no difference at all."""

    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        own, items = math.sqrt(1 - shared**2), 3 * stream.normal(size=100)
        parts = []
        for source, sign in (("a", 1), ("b", -1)):
            luck, hard = stream.normal(size=(draws, 1)), stream.normal(size=100)
            for _ in range(2):
                lucks = shared * luck + own * stream.normal(size=(draws, 1))
                hards = shared * hard + own * stream.normal(size=100)
                rows = items + 0.5 * lucks + hards + stream.normal(size=(draws, 100))
                parts.append(Weighed(sign / 2, source, "items", rows))
        return weighed_sum(parts).estimate, 0.0

    return world


def groups(means: np.ndarray, luck: np.ndarray) -> dict[str, list[float]]:
    return {str(i): list(mean + own) for i, (mean, own) in enumerate(zip(means, luck, strict=True))}


def apart(stream: Stream, sources: int) -> np.ndarray:
    """Means of sources with SD 1."""
    means = stream.normal(size=sources)
    return (means - means.mean()) / means.std()


def spread(sources: int, sd: float) -> World:
    """Sources whose means have this SD, draws SD 1."""

    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        return spread_between(groups(sd * apart(stream, sources), stream.normal(size=(sources, draws)))), sd

    return world


def two_spreads(sources: int, sds: tuple[float, float], lucks: tuple[float, float], shared: float = 0.0) -> World:
    """The same sources in two settings, with the SDs of means and of draws of each, whose luck has this correlation."""

    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        means, own = apart(stream, sources), math.sqrt(1 - shared**2)
        luck, rest = stream.normal(size=(2, sources, draws))
        a = spread_between(groups(sds[0] * means, lucks[0] * luck))
        b = spread_between(groups(sds[1] * means, lucks[1] * (shared * luck + own * rest)))
        return larger_by(a, b), sds[0] - sds[1]

    return world


def lucks(sources: int, sds: dict[int, float]) -> World:
    """Amounts of data with the SD of a draw at each, 2 ** -0.5 of the last at twice the amount."""

    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        means = stream.normal(size=sources)
        found = {n: groups(means, sd * stream.normal(size=(sources, draws))) for n, sd in sds.items()}
        return luck_per_doubling(found), 2**-0.5

    return world


def ratio(sources: int) -> World:
    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        zero = np.zeros(sources)
        a, b = (groups(zero, sd * stream.normal(size=(sources, draws))) for sd in (2.0, 1.0))
        return ratio_of_luck(a, b), 2.0

    return world


INTERVALS: dict[str, World] = {
    "mean of 2 settings (`weighed_sum`): draws and items share nothing": settings(0.0),
    "mean of 2 settings: they share most": settings(0.95),
    "SD between 4 sources (`spread_between`), of a draw's SD: 0": spread(4, 0.0),
    "SD between 4 sources: 1": spread(4, 1.0),
    "SD between 4 sources: 3": spread(4, 3.0),
    "SD between 13 sources: 1": spread(13, 1.0),
    "one SD less another (`larger_by`), 4 sources: 3 and 1": two_spreads(4, (3.0, 1.0), (1.0, 1.0)),
    "one SD less another: none, one's draws differ 3 times as much": two_spreads(8, (0.0, 0.0), (3.0, 1.0)),
    "one SD less another: both 3, the same draws, correlation .7": two_spreads(8, (3.0, 3.0), (1.0, 1.0), 0.7),
    "SD of a draw ÷ another (`ratio_of_luck`), 1 source": ratio(1),
    "SD of a draw ÷ another, 4 sources": ratio(4),
    "SD of a draw per doubling (`luck_per_doubling`), 1 source, 2 amounts": lucks(1, {16: 1.0, 64: 0.5}),
    "SD of a draw per doubling, 4 sources, 3 amounts": lucks(4, {16: 1.0, 64: 0.5, 256: 0.25}),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--simulations", type=int, default=1000)
    simulations = parser.parse_args().simulations
    lines = [
        "# How often the intervals of claims hold the truth\n",
        f"`python benchmarks/spreads.py`, {date.today()}, numpy {np.__version__}, scipy {scipy.__version__}; "
        f"{simulations:,} simulations a number; a star: outside of 93 % to 97 %. The worlds are in the script.\n",
        "| 95 % intervals that hold the truth, % | " + " | ".join(f"{k} draws" for k in DRAWS) + " |",
        "|---|" + "---|" * len(DRAWS),
    ]
    for name, world in INTERVALS.items():
        lines.append(f"| {name} | " + " | ".join(percent(coverage(world, k, simulations)) for k in DRAWS) + " |")
        print(lines[-1], flush=True)
    (Path(__file__).parent / "spreads.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
