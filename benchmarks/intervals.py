"""How often the intervals of `calprune.uncertainty` hold the truth, on simulated results of known answer.

    python benchmarks/intervals.py [--simulations 1000]

Every row is a made world: how draws and items vary, and what the answer is. A 95 % interval should hold it in 93 to
97 % of simulations, at 3, 5 and 20 draws. Differences paired by item are made by the hierarchical bootstrap too
(draws and items resampled, percentiles), to show why the package does not use it. The tests run these worlds as well.
Writes benchmarks/intervals.md.
"""

import argparse
import functools
import math
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import binom, norm

from calprune.uncertainty import retention
from calprune.uncertainty.difference import holm, paired_by_draw, paired_by_item
from calprune.uncertainty.effect import effect_of_groups, range_of, word_of
from calprune.uncertainty.estimate import Estimate, mean_of
from calprune.uncertainty.power import draws_needed
from calprune.uncertainty.ranks import rank_correlation
from calprune.uncertainty.retention import Kept, mean_retention, retention_of_perplexity
from calprune.uncertainty.share import share_of, shares_over_draws

DRAWS = (3, 5, 20)
PAIRS = (5, 7, 10, 13, 20)
QUESTIONS, SHARES = (12, 50, 200), (0.02, 0.1, 0.5, 0.95)
LOWEST, HIGHEST = 0.93, 0.97
ROUNDS = 1000  # of the hierarchical bootstrap
FALSE_TIMES, POWER_TIMES = (
    4,
    20,
)  # more simulations where a number is compared with a limit that it should reach exactly
FAMILY = 12  # comparisons: each of 12 sources with the default

Stream = np.random.Generator
Sample = tuple[np.ndarray, np.ndarray]
World = Callable[[Stream, int], tuple[Estimate, float]]  # stream, draws -> what was found, the truth


def source(stream: Stream, draws: int, items: int, sd: tuple[float, float, float]) -> np.ndarray:
    """Values (draws, items) with mean 0; the SD of draws, of items within this source, of the rest."""
    of_draw, of_item, rest = sd
    noise = rest * stream.normal(size=(draws, items))
    return of_draw * stream.normal(size=(draws, 1)) + of_item * stream.normal(size=items) + noise


def two(items: int, first: tuple[float, float, float], second: tuple[float, float, float] | None = None):
    """Two sources on the same items, which are far from alike themselves."""

    def make(stream: Stream, draws: int) -> Sample:
        item = 2 * stream.normal(size=items)
        return item + source(stream, draws, items, first), item + source(stream, draws, items, second or first)

    return make


def answers(items: int, sd: tuple[float, float, float]):
    """The same as right or wrong answers, about two thirds right."""

    def make(stream: Stream, draws: int) -> Sample:
        a, b = two(items, sd)(stream, draws)
        return (a > -1.0).astype(float), (b > -1.0).astype(float)

    return make


PAIRED: dict[str, Callable[[Stream, int], Sample]] = {
    "draws differ most, 200 items": two(200, (0.5, 0.3, 1.0)),
    "items differ most, 200 items": two(200, (0.01, 1.0, 0.3)),
    "both alike, 200 items": two(200, (0.07, 1.0, 1.0)),
    "neither, only chance, 200 items": two(200, (0.0, 0.0, 1.0)),
    "one source's draws differ more, 200 items": two(200, (0.3, 0.3, 1.0), (0.1, 0.3, 1.0)),
    "16 windows": two(16, (0.05, 0.2, 0.1)),
    "right or wrong, 200 questions": answers(200, (0.1, 0.8, 0.8)),
    "right or wrong, draws differ most, 200 questions": answers(200, (0.8, 0.5, 0.8)),
}


def paired(make: Callable[[Stream, int], Sample]) -> World:
    return lambda stream, draws: (paired_by_item(*make(stream, draws)).estimate, 0.0)


def normal_draws(stream: Stream, draws: int) -> tuple[Estimate, float]:
    return mean_of(stream.normal(size=draws).tolist()), 0.0


def skewed_draws(stream: Stream, draws: int) -> tuple[Estimate, float]:
    """Perplexities whose logarithm has an SD of 0.25."""
    return mean_of(np.exp(0.25 * stream.normal(size=draws)).tolist()), math.exp(0.25**2 / 2)


def methods_on_draws(stream: Stream, draws: int) -> tuple[Estimate, float]:
    """Two methods whose results on one draw correlate by one half."""
    shared = stream.normal(size=draws)
    a, b = (shared + stream.normal(size=draws) for _ in range(2))
    return paired_by_draw(a.tolist(), b.tolist()).estimate, 0.0


def groups(stream: Stream, sources: int, draws: int, share: float) -> dict[str, list[float]]:
    """Sources whose means are equally spaced and hold `share` of the variance."""
    means = np.linspace(-1.0, 1.0, sources)
    means *= math.sqrt(share / (1 - share) / (means**2).mean())
    return {str(i): (mean + stream.normal(size=draws)).tolist() for i, mean in enumerate(means)}


def near_one(items: int) -> Callable[[Stream, int], tuple[Sample, float]]:
    """Answers of two sources to the same questions, nearly all right (95 %), and the first's share with other draws of
    it and the same questions."""

    def make(stream: Stream, draws: int) -> tuple[Sample, float]:
        limit, shared = float(norm.ppf(0.95)) * math.sqrt(2.04), stream.normal(size=items)
        a, b = (shared + 0.2 * stream.normal(size=(draws, 1)) + stream.normal(size=(draws, items)) for _ in range(2))
        held = float(norm.cdf((limit - shared) / math.sqrt(1.04)).mean())
        return ((a < limit).astype(float), (b < limit).astype(float)), held

    return make


def accuracy_over_draws(items: int) -> World:
    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        (answers, _), truth = near_one(items)(stream, draws)
        found = shares_over_draws(answers.mean(axis=1).tolist(), items)
        assert found is not None
        return found.interval, truth

    return world


def student_over_draws(items: int) -> World:
    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        (answers, _), truth = near_one(items)(stream, draws)
        return mean_of(answers.mean(axis=1).tolist()), truth

    return world


def ranges(sources: int, apart: float) -> World:
    """Half of the sources `apart` SDs of a draw from the other half."""

    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        found = range_of({str(i): (apart * (i % 2) + stream.normal(size=draws)).tolist() for i in range(sources)})
        assert found is not None
        return found, apart

    return world


def between(sources: int, share: float) -> World:
    return lambda stream, draws: (effect_of_groups(groups(stream, sources, draws, share)).share, share)


def answered(stream: Stream, draws: int, items: int, dense: float, sd: float) -> tuple[Sample, float]:
    """Pruned (draws, items) and dense (items) answers, and the accuracy of the pruned model; dense is the accuracy."""
    limit, harm = float(norm.ppf(dense)), 0.3
    item, own, shared = stream.normal(size=(3, items)) * np.sqrt([[0.6], [0.4], [0.1]])
    change = math.sqrt(0.2) * stream.normal(size=(draws, items)) + sd * stream.normal(size=(draws, 1)) + harm
    pruned = item + own / 2 + shared + change < limit
    spread = math.sqrt(0.6 + 0.1 + 0.1 + 0.2 + sd**2)
    return (pruned.astype(float), (item + own < limit).astype(float)), float(norm.cdf((limit - harm) / spread))


def kept(items: int, dense: float, chance: float, sd: float) -> World:
    def world(stream: Stream, draws: int) -> tuple[Estimate, float]:
        (pruned, before), accuracy = answered(stream, draws, items, dense, sd)
        found = retention(pruned, before.tolist(), chance)
        assert found is not None
        return found, (accuracy - chance) / (dense - chance)

    return world


def kept_perplexity(stream: Stream, draws: int) -> tuple[Estimate, float]:
    dense = 3 + 0.3 * stream.normal(size=64)
    return retention_of_perplexity(
        dense + 0.5 + source(stream, draws, 64, (0.03, 0.1, 0.05)), dense.tolist()
    ), math.exp(-0.5)


def kept_capability(stream: Stream, draws: int) -> tuple[Estimate, float]:
    """Accuracy of 200 questions and perplexity of 64 windows."""
    (pruned, before), accuracy = answered(stream, draws, 200, 0.7, 0.02)
    dense = 3 + 0.3 * stream.normal(size=64)
    nats = dense + 0.5 + source(stream, draws, 64, (0.03, 0.1, 0.05))
    found = mean_retention([Kept(pruned, before.tolist(), 0.25), Kept(nats, dense.tolist(), None)])
    assert found is not None
    return found, ((accuracy - 0.25) / 0.45 + math.exp(-0.5)) / 2


INTERVALS: dict[str, World] = {
    "mean over draws (`over_draws`): normal": normal_draws,
    "mean over draws: skewed": skewed_draws,
    **{f"sources by item (`paired_by_item`): {name}": paired(make) for name, make in PAIRED.items()},
    **{
        f"sources by item: right or wrong, near 1, {n} questions": paired(lambda s, k, n=n: near_one(n)(s, k)[0])
        for n in (12, 50, 200)
    },
    **{
        f"accuracy over draws (`shares_over_draws`): near 1, {n} questions": accuracy_over_draws(n)
        for n in (12, 50, 200)
    },
    "methods by draw (`paired_by_draw`)": methods_on_draws,
    "range of 2 sources (`range_of`): none": ranges(2, 0.0),
    "range of 4 sources: none": ranges(4, 0.0),
    "range of 4 sources: 1 SD of a draw": ranges(4, 1.0),
    "range of 13 sources: 3 SDs of a draw": ranges(13, 3.0),
    "share between 4 sources (`effect_of_groups`): .1": between(4, 0.1),
    "share between 4 sources: .43": between(4, 0.43),
    "share between 13 sources: .9": between(13, 0.9),
    "retention of accuracy, .7 dense, chance .25, 200 questions": kept(200, 0.7, 0.25, 0.02),
    "retention of accuracy, .45 dense, chance .25, 1,000 questions": kept(1000, 0.45, 0.25, 0.02),
    "retention of accuracy, draws differ most": kept(1000, 0.7, 0.25, 0.15),
    "retention of perplexity, 64 windows": kept_perplexity,
    "retention of a capability (`mean_retention`), of two evaluations": kept_capability,
}


def stream_of(draws: int) -> Stream:
    return np.random.default_rng([2026, draws])


def coverage(world: World, draws: int, simulations: int) -> float:
    """The share of simulations whose interval holds the truth."""
    stream = stream_of(draws)
    found = (world(stream, draws) for _ in range(simulations))
    return sum(estimate.low <= truth <= estimate.high for estimate, truth in found) / simulations


@functools.cache
def resampled(n: int, purpose: int) -> np.ndarray:
    """How often each of n is in a resample, (ROUNDS, n), as shares."""
    return np.random.default_rng([purpose, n]).multinomial(n, np.full(n, 1 / n), size=ROUNDS) / n


def bootstrap_coverage(make: Callable[[Stream, int], Sample], draws: int, simulations: int) -> float:
    """Of the hierarchical bootstrap: draws of each source and items resampled, 2.5 and 97.5 percentiles."""
    stream, held = stream_of(draws), 0
    for _ in range(simulations):
        a, b = make(stream, draws)
        means = ((resampled(draws, 0) @ a - resampled(draws, 1) @ b) * resampled(a.shape[1], 2)).sum(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        held += low <= 0 <= high
    return held / simulations


def ranks(correlation: float) -> World:
    """Pairs from a normal distribution, whose Spearman correlation follows from Pearson's."""

    def world(stream: Stream, pairs: int) -> tuple[Estimate, float]:
        x, noise = stream.normal(size=(2, pairs))
        y = correlation * x + math.sqrt(1 - correlation**2) * noise
        found = rank_correlation(x.tolist(), y.tolist())
        assert found is not None
        return found, 6 / math.pi * math.asin(correlation / 2)

    return world


def family_by_item(stream: Stream, draws: int) -> list[float]:
    """12 sources with the default, none of them different."""
    item = 2 * stream.normal(size=100)
    default, *others = (item + source(stream, draws, 100, (0.1, 0.5, 1.0)) for _ in range(FAMILY + 1))
    return [paired_by_item(other, default).p for other in others]


def family_by_draw(stream: Stream, draws: int) -> list[float]:
    """Two methods on 12 sources, nowhere different."""
    pairs = (stream.normal(size=(2, draws)).tolist() for _ in range(FAMILY))
    return [paired_by_draw(a, b).p for a, b in pairs]


def held_of_shares(make: Callable[[list[float]], Estimate | None], share: float, n: int) -> float:
    """The share of studies of n questions whose interval holds the truth: added up, not simulated."""
    found = [make([1.0] * right + [0.0] * (n - right)) for right in range(n + 1)]
    return float(sum(binom.pmf(right, n, share) for right, one in enumerate(found)
                     if one is not None and one.low <= share <= one.high))  # fmt: skip


def false_findings(family: Callable[[Stream, int], list[float]], draws: int, simulations: int) -> float:
    """The share of families, without any difference, in which Holm finds one."""
    stream = stream_of(draws)
    return sum(min(holm(family(stream, draws))) < 0.05 for _ in range(simulations)) / simulations


def alike_found_to_matter(draws: int, simulations: int) -> float:
    """4 sources, half of which lie exactly the smallest difference of interest, 1 SD of a draw, from the others."""
    stream = stream_of(draws)
    words = (word_of(ranges(4, 1.0)(stream, draws)[0], 1.0) for _ in range(simulations))
    return sum(word != "not shown" for word in words) / simulations


def found_with_power(difference: float, simulations: int) -> tuple[int, float]:
    """Draws that `draws_needed` asks for at SD 1, and the share of t tests that then find the difference."""
    draws = draws_needed(1.0, difference)
    stream = stream_of(draws)
    samples = difference + stream.normal(size=(simulations, draws)), stream.normal(size=(simulations, draws))
    return draws, float((scipy.stats.ttest_ind(*samples, axis=1).pvalue < 0.05).mean())


def percent(share: float) -> str:
    return f"{100 * share:.1f}" + ("" if LOWEST <= share <= HIGHEST else " *")


def tables(simulations: int) -> Iterator[str]:
    yield "| 95 % intervals that hold the truth, % | " + " | ".join(f"{k} draws" for k in DRAWS) + " |"
    yield "|---|" + "---|" * len(DRAWS)
    for name, world in INTERVALS.items():
        yield f"| {name} | " + " | ".join(percent(coverage(world, k, simulations)) for k in DRAWS) + " |"
    yield "\n| Not used: the hierarchical bootstrap, % | " + " | ".join(f"{k} draws" for k in DRAWS) + " |"
    yield "|---|" + "---|" * len(DRAWS)
    for name, make in PAIRED.items():
        yield f"| {name} | " + " | ".join(percent(bootstrap_coverage(make, k, simulations)) for k in DRAWS) + " |"
    yield "\n| One model's accuracy (`share_of`), % | " + " | ".join(f"{n} questions" for n in QUESTIONS) + " |"
    yield "|---|" + "---|" * len(QUESTIONS)
    for share in SHARES:
        for name, make in (("Wilson's", share_of), ("not used: Student's t", mean_of)):
            cells = " | ".join(percent(held_of_shares(make, share, n)) for n in QUESTIONS)
            yield f"| {name}, {share:g} right | {cells} |"
    yield "\n| Not used: Student's t of accuracies over draws, % | " + " | ".join(f"{k} draws" for k in DRAWS) + " |"
    yield "|---|" + "---|" * len(DRAWS)
    for n in (12, 50, 200):
        cells = " | ".join(percent(coverage(student_over_draws(n), k, simulations)) for k in DRAWS)
        yield f"| near 1, {n} questions | {cells} |"
    yield "\n| Rank correlation (`rank_correlation`), % | " + " | ".join(f"{n} pairs" for n in PAIRS) + " |"
    yield "|---|" + "---|" * len(PAIRS)
    for rho in (0.0, 0.5, 0.9):
        cells = " | ".join(percent(coverage(ranks(rho), n, simulations)) for n in PAIRS)
        yield f"| Pearson's {rho:g} | {cells} |"
    yield (
        "\n| Found where nothing is, % (at most 5; the F test by itself is exact) | "
        + " | ".join(f"{k} draws" for k in DRAWS)
        + " |"
    )
    yield "|---|" + "---|" * len(DRAWS)
    for name, family in (("sources by item", family_by_item), ("methods by draw", family_by_draw)):
        cells = " | ".join(f"{100 * false_findings(family, k, simulations):.1f}" for k in DRAWS)
        yield f"| any of {FAMILY}, {name}, Holm | {cells} |"
    cells = " | ".join(f"{100 * alike_found_to_matter(k, simulations):.1f}" for k in DRAWS)
    yield f'| 4 sources that differ by the smallest difference of interest "matter" or are "immaterial" | {cells} |'
    yield "\n| Difference, in SDs of a draw | draws needed of each | found, % (at least 80) |\n|---|---|---|"
    for difference in (3.0, 2.0, 1.0, 0.5):
        draws, found = found_with_power(difference, POWER_TIMES * simulations)
        yield f"| {difference:g} | {draws} | {100 * found:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--simulations", type=int, default=1000)
    simulations = parser.parse_args().simulations
    lines = ["# How often the intervals hold the truth", ""]
    error = 196 * math.sqrt(0.95 * 0.05 / simulations)
    lines.append(
        f"`python benchmarks/intervals.py`, {date.today()}, numpy {np.__version__}, scipy {scipy.__version__}; "
        f"{simulations:,} simulations a number, so ± {error:.1f} "
        f"({POWER_TIMES} times as many of power); wanted {LOWEST:.0%} to {HIGHEST:.0%}, others have a star. "
        "The worlds are in the script.\n"
    )
    for line in tables(simulations):
        print(line, flush=True)
        lines.append(line)
    (Path(__file__).parent / "intervals.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
