"""Numbers and short lists as they are read: as many digits as say something, intervals, p-values."""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

ROUNDING = 1e-6  # of the value: a half-width below it is float32's rounding
FINE = 2.5  # the half-width of an interval is at least so many units of the last digit shown
MISSING = "not measured"
LEVEL = 0.05  # a p-value is written on the side of it that it is on (uncertainty.power.SIGNIFICANCE)


@runtime_checkable
class Interval(Protocol):
    """A value with its interval, of `n` values: what `uncertainty.Estimate` is."""

    @property
    def value(self) -> float: ...

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...

    @property
    def n(self) -> int: ...


def number(value: float | None, decimals: int | None = None) -> str:
    """A number with so many decimals, else with four significant digits; None was not measured."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "not finite"
    if decimals is None:
        decimals = _decimals(value, 4)
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if text.strip("-0.,") == "" else text.replace("-", "−")  # no "−0.0"


def alike(*values: float) -> list[str]:
    """Numbers of one sentence with as many decimals as each other: four significant digits of the largest, and two of
    the smallest at least."""
    seen = sorted(abs(value) for value in values if math.isfinite(value) and round(value, 6) != 0)
    decimals = max(_decimals(seen[-1], 4), _decimals(seen[0], 2)) if seen else 0
    return [number(value, decimals) for value in values]


def _decimals(value: float, significant: int) -> int:
    """That show so many significant digits, six at most."""
    return 0 if round(value, 6) == 0 else min(6, max(0, significant - 1 - math.floor(math.log10(abs(value)))))


def rough(value: float | None) -> str:
    """A number with two significant digits."""
    return number(value, max(0, 1 - math.floor(math.log10(value))) if value else None)


def percent(share: float | None, decimals: int = 1) -> str:
    """A share as "12.3 %"."""
    return MISSING if share is None else f"{number(share * 100, decimals)} %"


def with_interval(estimate: Interval | None, as_percent: bool = False) -> str:
    """ "12.3 [11.9, 12.8]": with decimals until the half-width is at least FINE units of the last;
    "12.3 [no spread]" where all that it is made of is equal."""
    if estimate is None:
        return MISSING
    factor, unit = (100, " %") if as_percent else (1, "")
    value = estimate.value * factor
    if estimate.low is None or estimate.high is None:
        return (number(value, 1) if as_percent else number(value)) + unit
    low, high = estimate.low * factor, estimate.high * factor
    half = (high - low) / 2
    if not math.isfinite(half):
        return f"{number(value)}{unit} [{number(low)}, {number(high)}]"
    if half <= ROUNDING * abs(value):
        return f"{number(value)}{unit} [no spread]"
    decimals = min(6, max(0, -math.floor(math.log10(half / FINE))))
    return f"{number(value, decimals)}{unit} [{number(low, decimals)}, {number(high, decimals)}]"


def probability(p: float | None) -> str:
    """A p-value; below a thousandth its digits say nothing."""
    if p is None:
        return MISSING
    if p < 0.001:
        return "< 0.001"
    written = (f"{p:.{digits}f}" for digits in range(3, 9))  # as many as leave it on its side of 5 %
    return next((one for one in written if (float(one) < LEVEL) == (p < LEVEL)), f"{p:g}")


def counted(n: int, word: str) -> str:
    """ "1 trial", "2,000 trials"."""
    return f"{n:,} {word}{'s' * (n != 1)}"


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
