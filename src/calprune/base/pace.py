"""How long work takes, learnt while it is done: the time left of a whole of phases, and of parts that come again.

left = TimeLeft({"reading": 2, "pruning": 20})     # costs in any one unit: tokens, steps, passes
left.begin("reading"); left.reach("reading", 0.5); left.seconds()
"""

import math
import time
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from statistics import median
from typing import Protocol, runtime_checkable

HORIZON = 300.0  # seconds: how fast work was done longer ago hardly counts; later, half the time that it has taken
LATEST = 5  # parts of a kind: the next takes their median, so that one during which the machine slept says nothing
CALM = 0.1  # what is shown is drawn to the newest estimate within this share of the time left


@runtime_checkable
class Left(Protocol):
    """What knows how long the rest of a piece of work takes."""

    def begin(self, phase: str) -> None: ...

    def reach(self, phase: str, share: float, *, found: bool = False) -> None: ...

    def seconds(self) -> float | None: ...


class TimeLeft:
    """Seconds left of phases whose costs are known beforehand, in any one unit.

    The pace is of all that was done but the first of several steps, what was done longer ago the lighter, so that a
    phase that costs ten times as much is known to take ten times as long before it begins. What is shown runs down with
    the clock and is drawn to the newest estimate: work done and work left together are never announced as less than all
    of it at the fastest pace seen, nor more than all of it at the slowest.
    """

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._costs, self._share = dict(costs), dict.fromkeys(costs, 0.0)
        self._cost = self._seconds = 0.0  # of work that was done now and not found
        self._began = self._last = time.monotonic()
        self._warming = True  # the first step compiles kernels and fills caches: its time is left out
        self._shown: tuple[float, float] | None = None  # when, and what was left then

    def begin(self, phase: str) -> None:
        """The phase's work begins: what went before it is not its time."""
        if phase in self._costs:
            self._last = time.monotonic()

    def reach(self, phase: str, share: float, *, found: bool = False) -> None:
        """The phase is done up to `share`, 0 to 1. found: it was done before, so that its time says nothing of the
        rest. A phase that is none of the whole's counts as nothing."""
        if phase in self._costs:
            now = time.monotonic()
            cost = (share - self._share[phase]) * self._costs[phase]
            self._share[phase] = share
            if not found and share < 1 and self._warming:
                self._warming = False
            elif not found:
                lighter = math.exp((self._last - now) / max(HORIZON, (now - self._began) / 2))
                self._cost, self._seconds = self._cost * lighter + cost, self._seconds * lighter + now - self._last
            self._last = now

    def seconds(self) -> float | None:
        """What the rest may take, as it is shown; None: nothing was done yet."""
        if not self._cost:
            return None
        now = time.monotonic()
        rest = math.fsum(cost * (1 - self._share[phase]) for phase, cost in self._costs.items())
        newest = max(0.0, rest) * self._seconds / self._cost
        if self._shown is not None:
            elapsed = now - self._shown[0]
            newest = drawn(max(0.0, self._shown[1] - elapsed), newest, elapsed)
        self._shown = (now, newest)
        return newest


def drawn(shown: float, newest: float, elapsed: float) -> float:
    """Between what was shown, run down by the clock, and the newest estimate: the nearer to it the more time passed."""
    return newest + (shown - newest) * math.exp(-elapsed / max(1e-9, CALM * newest))


class Parts:
    """What parts of work take that come again and again: as measured where one of its kind was done, else as was
    predicted, by how far predictions were out so far."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, list[float]] = defaultdict(list)
        self._took = self._predicted = 0.0

    def add(self, kinds: Sequence[Hashable], seconds: float, predicted: float) -> None:
        """One was done. kinds: what it is of, the nearest first: (part, model, method), (part, model)."""
        for kind in kinds:
            self._seen[kind].append(seconds)
        self._took += seconds
        self._predicted += predicted

    def of(self, kinds: Sequence[Hashable], predicted: float) -> float:
        """Seconds of one that is still to be done."""
        for kind in kinds:
            if seen := self._seen.get(kind):
                return median(seen[-LATEST:])
        return predicted * (self._took / self._predicted if self._took and self._predicted else 1.0)
