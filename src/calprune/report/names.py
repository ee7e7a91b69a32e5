"""What rows of a study are called on its page: short names of settings, patterns in order, own texts, numbers."""

import math
import re
from collections.abc import Iterable, Sequence

from calprune.studies.axes import AXES, NO_DATA, varying_axes
from calprune.studies.results import LOWER_IS_BETTER, Result
from calprune.uncertainty.estimate import Estimate

METRICS = {"perplexity": "perplexity", "kl": "KL, nats a token", "accuracy": "accuracy", "exact_match": "exact match"}
UNITS = {"perplexity": "nats a token", "kl": "nats a token", "accuracy": "accuracy", "exact_match": "exact match"}
OWN = " †"  # after a source that is judged on its own text
# all but the source and the draw
SETTING = tuple(name for name in AXES if name != "calibration")
FINE = 2.5
CONTROLS = frozenset({"ellipses", "random_characters", "random_tokens"})  # of the catalogue's kind "control"
OF_DATA = tuple(name for name in SETTING if AXES[name].of_data)


def sparsity_of(pattern: str) -> float:
    """The fraction of zeros that a pattern's text asks for: 0.6 of "60%", 0.5 of "2:4"."""
    if ":" in pattern:
        keep, of = pattern.split(":")
        return 1 - float(keep) / float(of)
    return float(pattern.split("%")[0]) / 100


def in_order(patterns: Iterable[str]) -> list[str]:
    """Patterns by sparsity; of the same, percentages come before n:m."""
    return sorted(set(patterns), key=lambda pattern: (sparsity_of(pattern), ":" in pattern, pattern))


def varying(rows: Sequence[Result]) -> tuple[str, ...]:
    """The fields of a setting in which these rows differ: the others need no place in a name."""
    return varying_axes(row.axes for row in rows)


def setting_name(row: Result, fields: Iterable[str]) -> str:
    """The setting of a row in the words of these fields: "wanda 60%", "sparsegpt owl 2:4 on 128 sequences"."""
    return row.axes.words(set(fields) & set(SETTING))


def own_text(row: Result) -> bool:
    """Whether the evaluation reads a source that the calibration reads too: "gsm8k:icl" and "perplexity(gsm8k)"."""
    return bool(sources_of(row) & _named(row.evaluation))


def is_control(row: Result) -> bool:
    """Whether the calibration holds nothing that was written: full stops, random letters, random tokens."""
    return bool(sources_of(row)) and sources_of(row) <= CONTROLS


def sources_of(row: Result) -> frozenset[str]:
    """The names of the sources that a calibration draws from."""
    return frozenset(row.sources) or _named(row.calibration)


def _named(text: str) -> frozenset[str]:
    """Names that may be sources': "c4*2 + gsm8k:icl" has c4 and gsm8k, "boolq(examples=200)" has boolq."""
    text = re.sub(r":\s*\w+(\([^()]*\))?", "", text)  # formats: ":icl", ":chat(responses)"
    names = (name.removeprefix("bandari/") for name in re.findall(r"[A-Za-z_][\w./-]*(?![\w./-]*\s*=)", text))
    return frozenset(names) - {"perplexity", "kl", NO_DATA}


def number(value: float | None, decimals: int | None = None) -> str:
    """A number with so many decimals, else four digits that count; None was not measured."""
    if value is None:
        return "not measured"
    if not math.isfinite(value):
        return "not finite"
    if decimals is None:
        decimals = 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
        decimals = min(decimals, 6)
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if text.strip("-0.,") == "" else text.replace("-", "−")  # no "−0.0"


def rough(value: float | None) -> str:
    """A number with two digits that count."""
    return number(value, max(0, 1 - math.floor(math.log10(value))) if value else None)


def with_interval(estimate: Estimate | None, percent: bool = False) -> str:
    """ "12.3 [11.9, 12.8]": with decimals until the half-width is at least FINE units of the last."""
    if estimate is None:
        return "not measured"
    factor, unit = (100, " %") if percent else (1, "")
    value = estimate.value * factor
    if estimate.low is None or estimate.high is None:
        return (number(value, 1) if percent else number(value)) + unit
    low, high = estimate.low * factor, estimate.high * factor
    half = (high - low) / 2
    if not (math.isfinite(half) and half > 0):
        return f"{number(value)}{unit} [{number(low)}, {number(high)}]"
    decimals = min(6, max(0, -math.floor(math.log10(half / FINE))))
    return f"{number(value, decimals)}{unit} [{number(low, decimals)}, {number(high, decimals)}]"


def probability(p: float | None) -> str:
    """A p-value; below a thousandth its digits say nothing."""
    if p is None:
        return "not measured"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def oriented(metric: str, value: float) -> float:
    """The value such that higher is better."""
    return -value if metric in LOWER_IS_BETTER else value
