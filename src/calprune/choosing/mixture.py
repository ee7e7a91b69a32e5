"""Search for the shares of a mixture by exponentiated gradient, from sums alone.

    λ_s ← λ_s · exp(-η d_s / max|d|) / Z        d_s = (J((1-ε) λ + ε e_s) - J(λ)) / ε

J is the weighted mean of the capabilities' regrets, or the weighted one that is largest at λ (minimax; its slope is
then a subgradient of the maximum). The masks of every mixture are decided anew, so J has no derivative to write down:
its slope towards each source is measured (for the update: Kivinen and Warmuth, "Exponentiated gradient versus gradient
descent for linear predictors", Information and Computation 132, 1997). The best mixture seen counts, not the last.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from calprune.choosing.transfer import Shares

STEP = 0.25  # ε: masks are discrete, so a small step would measure noise
RATE = 1.0  # η of the first round; it falls with the root of the round's number
ROUNDS = 5
DIGITS = 3  # of a share: finer is not a difference between two sets

Loss = Callable[[Shares], Mapping[str, float]]  # regret of each capability
Objective = Callable[[Mapping[str, float], Mapping[str, float]], float]  # of a regret, as it counts where another is


@dataclass(frozen=True)
class Seen:
    """A mixture that was looked at."""

    shares: dict[str, float]
    value: float  # of the objective


def weighted_mean(weights: Mapping[str, float]) -> Objective:
    """Σ w_t R_t, the weights adding up to 1: everywhere the same."""
    return lambda regret, at: math.fsum(weights[name] * value for name, value in regret.items())


def largest(weights: Mapping[str, float]) -> Objective:
    """w_t R_t of the capability t whose is largest at `at`, the largest weight being 1; no regret is below 0."""
    most = max(weights.values())

    def of_worst(regret: Mapping[str, float], at: Mapping[str, float]) -> float:
        worst = max(at, key=lambda name: weights[name] * max(0.0, at[name]))
        return weights[worst] / most * max(0.0, regret[worst])

    return of_worst


def exponentiated_gradient(
    sources: Sequence[str], regret: Loss, objective: Objective, rounds: int = ROUNDS
) -> Iterator[Seen]:
    """The best mixture seen so far, after each round, the uniform one first. Stop when you like."""

    def look(shares: Shares) -> tuple[Seen, Mapping[str, float]]:
        found = regret(rounded(shares))
        return Seen(rounded(shares), objective(found, found)), found

    here = dict.fromkeys(sources, 1 / len(sources))
    best, at = look(here)
    yield best
    for i in range(rounds):
        slopes = {}
        for source in sources:
            tried, found = look({s: (1 - STEP) * share + STEP * (s == source) for s, share in here.items()})
            slopes[source] = (objective(found, at) - objective(at, at)) / STEP
            best = min(best, tried, key=lambda seen: seen.value)
        steepest = max(map(abs, slopes.values()))
        if steepest == 0:
            return
        rate = RATE / math.sqrt(i + 1)
        grown = {s: share * math.exp(-rate * slopes[s] / steepest) for s, share in here.items()}
        here = {s: share / math.fsum(grown.values()) for s, share in grown.items()}
        moved, at = look(here)
        best = min(best, moved, key=lambda seen: seen.value)
        yield best


def evenly(sources: Sequence[str]) -> dict[str, float]:
    """The uniform mixture: an equal share of tokens of each."""
    return rounded(dict.fromkeys(sources, 1.0))


def rounded(shares: Shares, least: float = 0.0) -> dict[str, float]:
    """Shares with DIGITS digits that add up to 1 as nearly as that allows; those below `least` are 0."""
    kept = {name: share for name, share in shares.items() if share >= least and share > 0}
    total = math.fsum(kept.values())
    return {name: round(share / total, DIGITS) for name, share in kept.items()}
