"""How the numbers of a study were made, what failed, how to make them again, and what sparsity does not give."""

from collections.abc import Mapping
from typing import Any

from calprune.base.patterns import parse_removal
from calprune.evaluation.metric import METRICS
from calprune.pages.numbers import listed
from calprune.pages.page import Section, TextBlock
from calprune.pages.table import Column, Table
from calprune.report.findings import Findings
from calprune.report.settings import in_order, is_control
from calprune.studies.axes import NO_DATA
from calprune.studies.folder import in_a_line
from calprune.studies.results import STUDY
from calprune.uncertainty.retention import AT_FEW_DRAWS

COMMANDS = ("command", "commands")  # of what a study records of itself: lines to copy
ROOT = "Data sets that are on the disk are found by --data-root, or by CALPRUNE_DATA in the environment."

A_DRAW = (
    "A calibration set of another seed. Everything else is the same, so the spread over draws is the luck of the draw."
)
MEANS = (
    "Over draws, with Student's t interval at 95 %, about other draws judged by the same items; of perplexity by its "
    "logarithm."
)
RETENTION = (
    "Dense ÷ pruned perplexity, or (accuracy − chance) ÷ (dense − chance); not measurable where the dense model's "
    "interval touches chance. The interval is over draws and items both. Over several evaluations: their "
    f"mean, with a draw's luck shared between them; {AT_FEW_DRAWS}."
)
EFFECT = (
    "One-way analysis of variance of the source over draws: the F test, Holm's correction over all comparisons of "
    "this page, and ω² with the interval from the noncentral F."
)
CONTROLS = (
    "Full stops, random characters or random tokens. They are shown, but they are no text that one would choose: "
    "neither the effect nor the best counts them."
)
BEST = (
    "Differences between sources are paired by item, with the variance of draws and items (a crossed design, "
    "Student's t). Win, tie or loss at 5 % after Holm's correction over the pairs of sources of one setting and "
    "evaluation, and only where the effect is shown."
)
SPEED = (
    "A pruned checkpoint is not faster or smaller. Its zeros are stored and multiplied like any other "
    "number: vLLM, SGLang, TGI and llama.cpp run it at the speed of the dense model.",
    "2:4 can gain where the hardware multiplies it (NVIDIA from Ampere on, by PyTorch's semi-structured tensors or "
    "TensorRT), with large batches and long prompts; one token at a time it is slower there. Unstructured sparsity "
    "gains with special kernels for single streams, or on some CPUs at 70 % and more, and on disk when packed.",
    "So measure on your own machine before you prune for speed: this page measures what is lost, not what is gained.",
)


SMALLER = (
    "Where blocks, neurons, heads or experts are taken out, the checkpoint is smaller, and any runtime that reads it "
    "has less to do. How much faster that is, is to be measured on your machine."
)


def made(findings: Findings) -> Section:
    """How each kind of number was made."""
    return Section("made", "How each number was made", facts=tuple(_protocols(findings)))


def failures(findings: Findings) -> Section:
    """Trials that failed, and results that are not finite."""
    rows = [(one.trial, one.label, in_a_line(one.error)) for one in findings.results.failed]
    for row in findings.not_finite:
        what = f"{row.calibration} {findings.setting(row)} draw {row.draw}: {row.evaluation}"
        rows.append((row.trial, what, "a value is not finite, so the result is in no mean"))
    table = Table("failures", "Trials that failed", (Column("trial"), Column("what"), Column("error")), tuple(rows))
    return Section("failed", "What failed", tables=(table,))


def again(findings: Findings) -> Section:
    """The study's file and commands, to copy; and what else the study records of itself."""
    about = findings.results.about
    blocks = [TextBlock.of(STUDY, about[STUDY])] if about.get(STUDY) else []
    for name in (name for name in COMMANDS if name in about):
        lines = [about[name]] if isinstance(about[name], str) else list(map(str, about[name]))
        blocks.append(TextBlock.of(name.capitalize(), "\n".join(lines)))
    facts = tuple((name, _shown(value)) for name, value in about.items() if name not in (STUDY, *COMMANDS))
    lead = (f"Write {STUDY}, then run the commands beside it. {ROOT}",) if about.get(STUDY) else ()
    return Section("again", "Reproduce", lead, facts=facts, blocks=tuple(blocks))


def speed(findings: Findings) -> Section:
    """What a reader may expect of sparsity in vain, and of a smaller model with reason."""
    smaller = [parse_removal(row.pattern) is not None for row in findings.rows]
    lines = (*(SPEED if not all(smaller) or not smaller else ()), *((SMALLER,) if any(smaller) else ()))
    return Section("speed", "What it gives in speed and size" if any(smaller) else "What sparsity does not give", lines)


def _protocols(findings: Findings) -> list[tuple[str, str]]:
    there = {row.measures for row in findings.rows}
    metrics = [one for one in METRICS.values() if one in there]
    metrics += sorted(there - set(metrics), key=lambda one: one.name)
    draws = sorted({len(cell.rows) for cell in findings.cells if cell.of.calibration != NO_DATA})
    if not draws:
        return []
    few = "" if draws[0] > 1 else " With one there is no interval."
    patterns = in_order(row.pattern for row in findings.rows)
    taken = ", or the share or number that is taken out" if any(map(parse_removal, patterns)) else ""
    words = {
        "A draw": f"{A_DRAW} Cells here have {listed([str(n) for n in draws])}.{few}",
        "Patterns": f"{listed(patterns)}: the requested sparsity{taken}.",
        "Means": MEANS,
        **{one.group[0].upper() + one.group[1:]: one.about for one in metrics},
        "Retention": RETENTION if any(one.retention for one in metrics) else "",
        "Does it matter?": EFFECT if findings.comparisons else "",
        "Controls": CONTROLS if any(map(is_control, findings.rows)) else "",
        "Which is best?": BEST if findings.comparisons else "",
    }
    return [(name, text) for name, text in words.items() if text]


def _shown(value: Any) -> str:
    match value:
        case Mapping():
            return "; ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
        case list() | tuple():
            return ", ".join(map(_shown, value)) or "none"
        case None:
            return "not measured"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.6g}"
    return str(value)
