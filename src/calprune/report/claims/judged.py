"""A claim with its verdict, and how an interval becomes one."""

import math
from dataclasses import dataclass
from typing import Literal

from calprune.pages.numbers import number, rough
from calprune.studies.claims import Claim
from calprune.uncertainty.estimate import Estimate
from calprune.uncertainty.power import POWER, SIGNIFICANCE, draws_needed, fewest
from calprune.uncertainty.spread_power import Chance

Verdict = Literal["held", "not held", "cannot be told here"]
CANNOT: Verdict = "cannot be told here"
MOST_DRAWS = 10_000  # that are named as those that would tell
FARTHEST = 100.0  # SDs of a draw in the distance to be shown: from here on it takes more than MOST_DRAWS
USUAL_ERRORS = 1.96  # of an interval's half, in standard errors, where no more is known of it
NO_LUCK = "draws do not differ, so nothing can be separated from luck"
ONE_DRAW = "a source has one draw here, and it takes two to know the luck of the draw"


class Undecided(Exception):
    """Why these results do not decide a claim, as a phrase."""


@dataclass(frozen=True)
class Judgement:
    """What was looked at, what it was, and what follows of its interval."""

    what: str  # "gain of pile over c4, nats a token": above 0 where pile is better
    estimate: Estimate | None
    verdict: Verdict
    why: str
    p: float | None = None  # of a single difference, two-sided, for none at all
    region: "Region | None" = None  # where a mean makes the claim true; None: it is of none, or no draws would help
    error: float | None = None  # the standard error of a difference; None: it is of the interval
    pairs: int = 1  # differences of which the estimate is the smallest
    chance: Chance | None = None  # of an SD: that draws decide the claim, if the truth is what was found

    def more_draws(self, draws: int, claims: int) -> int | None:
        """About how many draws of each source would decide it, more than these; None where draws are not what it lacks.

        If the truth is what was found, and where items move it too, with as many times the items.
        """
        if self.chance is not None:
            at, confidence = self.chance, 1 - SIGNIFICANCE / claims
            return fewest(lambda n: at(n, confidence) >= POWER, draws + 1, MOST_DRAWS)
        if self.region is None or self.estimate is None or self.estimate.low is None or self.estimate.high is None:
            return None
        ends = [end for end in (self.region.least, self.region.most) if math.isfinite(end)]
        error = self.error or (self.estimate.high - self.estimate.low) / 2 / USUAL_ERRORS
        away, sd = min(abs(self.estimate.value - end) for end in ends), error * math.sqrt(draws / 2)  # of a draw
        if not away or sd > FARTHEST * away:
            return MOST_DRAWS + 1
        power = (1 + POWER) / 2 if len(ends) == 2 else POWER  # both ends can be missed
        return max(draws + 1, draws_needed(sd, away, power, claims * self.pairs))


def about_draws(draws: int) -> str:
    """ "about 24 draws", of two digits, never fewer than there need be."""
    if draws > MOST_DRAWS:
        return f"over {MOST_DRAWS:,} draws"
    step = 10 ** max(len(str(draws)) - 2, 0)
    return f"about {math.ceil(draws / step) * step:,} draws"


@dataclass(frozen=True)
class Judged:
    """A claim with what became of it."""

    claim: Claim
    judgement: Judgement
    notes: tuple[str, ...] = ()  # what a reader must know of the results: stand-ins, what is left out
    adjusted_p: float | None = None  # Holm's, over the study's claims that have an interval
    alone: Verdict | None = None  # by its own interval, where the correction leaves nothing of it
    draws: int | None = None  # that would decide it, where these do not; more than MOST_DRAWS: no study has them

    @property
    def why(self) -> str:
        more = (f"{about_draws(self.draws)} would tell",) if self.draws else ()
        return "; ".join((self.judgement.why, *more, *self.notes))


@dataclass(frozen=True)
class Region:
    """The values under which a claim is true, between two ends that are not in it."""

    least: float = -math.inf
    most: float = math.inf

    def __str__(self) -> str:
        if math.isfinite(self.least) and math.isfinite(self.most):
            return f"between {number(self.least)} and {number(self.most)}"
        return f"above {number(self.least)}" if math.isfinite(self.least) else f"below {number(self.most)}"

    def judge(self, estimate: Estimate, detectable: float | None = None) -> tuple[Verdict, str]:
        """Held where the whole interval is in it, not held where the whole is outside, and else no verdict.

        `detectable`: the smallest difference that 80 % of such studies find.
        """
        if estimate.low is None or estimate.high is None:
            return CANNOT, ONE_DRAW
        if self.least < estimate.low and estimate.high < self.most:
            return "held", f"the whole interval is {self}"
        if estimate.high < self.least or estimate.low > self.most:
            return "not held", f"no part of the interval is {self}"
        end = self.least if estimate.low <= self.least <= estimate.high else self.most
        power = f", and 80 % of such studies find {rough(detectable)} or more" if detectable else ""
        return CANNOT, f"the interval holds {number(end)}{power}"
