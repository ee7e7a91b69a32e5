"""Settings of a study's rows: their fields, short names and order; whether a source is a control, or judged on its own
text."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from calprune.base.patterns import UNIT_KINDS, parse_removal
from calprune.evaluation.metric import METRICS
from calprune.studies.axes import AXES, NO_DATA, varying_axes
from calprune.studies.results import Result

OWN = " †"  # after a source that is judged on its own text
# all but the source and the draw
SETTING = tuple(name for name in AXES if name != "calibration")
CONTROLS = frozenset({"ellipses", "random_characters", "random_tokens"})  # of the catalogue's kind "control"
OF_DATA = tuple(name for name in SETTING if AXES[name].of_data)


def sparsity_of(pattern: str) -> float:
    """The fraction of zeros that a pattern's text asks for: 0.6 of "60%", 0.5 of "2:4"."""
    if ":" in pattern:
        keep, of = pattern.split(":")
        return 1 - float(keep) / float(of)
    return float(pattern.split("%")[0]) / 100


def in_order(patterns: Iterable[str]) -> list[str]:
    """Patterns by sparsity; of the same, percentages come before n:m. Then what is taken out, by kind, shares first."""
    return sorted(set(patterns), key=_order)


def _order(pattern: str) -> tuple[Any, ...]:
    if removal := parse_removal(pattern):
        return UNIT_KINDS.index(removal.kind) + 1, removal.share is None, removal.share or removal.count, pattern
    return 0, sparsity_of(pattern), ":" in pattern, pattern


def varying(rows: Sequence[Result]) -> tuple[str, ...]:
    """The fields of a setting in which these rows differ: the others need no place in a name."""
    return varying_axes(row.axes for row in rows)


def setting_name(row: Result, fields: Iterable[str]) -> str:
    """The setting of a row in the words of these fields: "wanda 60%", "sparsegpt owl 2:4 on 128 sequences"."""
    return row.axes.words(set(fields) & set(SETTING))


def own_text(row: Result) -> bool:
    """Whether the evaluation reads a source that the calibration reads too: "gsm8k:icl" and "perplexity(gsm8k)"."""
    asked = re.sub(r"^[\w.]+:\w+", "", row.evaluation)  # without the place of a class of the user's own
    return bool(sources_of(row) & _named(asked))


def is_control(row: Result) -> bool:
    """Whether the calibration holds nothing that was written: full stops, random letters, random tokens."""
    return bool(sources_of(row)) and sources_of(row) <= CONTROLS


def sources_of(row: Result) -> frozenset[str]:
    """The names of the sources that a calibration draws from."""
    return frozenset(row.sources) or _named(row.calibration)


def _named(text: str) -> frozenset[str]:
    """Names that may be sources': "c4*2 + gsm8k:icl" has c4 and gsm8k, "boolq(examples=200)" has boolq."""
    text = re.sub(r":\s*\w+(\([^()]*\))?", "", text)  # formats: ":icl", ":chat(responses)"
    names = re.findall(r"(?:\.{0,2}/)*[A-Za-z_][\w./-]*(?![\w./-]*\s*=)", text)  # of paths, too
    return frozenset(name.removeprefix("bandari/") for name in names) - set(METRICS) - {NO_DATA}
