"""What the page tells in words beside its tables: sizes, how numbers were made, what sparsity does not give."""

from collections.abc import Iterable, Mapping
from typing import Any

from calprune.report.findings import Findings
from calprune.report.names import NO_DATA, in_order, listed

BLOCKS = ("command", "commands")  # of what a study tells of itself: lines to copy


def size_of(findings: Findings) -> str:
    """How much the study is, in one line."""
    rows = findings.rows
    draws = {row.draw for row in rows if row.draw is not None}
    said = [(len(findings.sources), "source"), (len({row.method for row in rows}), "method"),
            (len({row.pattern for row in rows}), "pattern"), (len(draws), "draw"),
            (len({row.evaluation for row in rows}), "evaluation"), (len({row.trial for row in rows}), "trial"),
            (len(rows), "result")]  # fmt: skip
    models = listed(sorted({row.model for row in rows})) if rows else "no model yet"
    return f"{models}: " + ", ".join(f"{n:,} {word}{'s' * (n != 1)}" for n, word in said)


def protocols(findings: Findings) -> Iterable[tuple[str, str]]:
    """How each kind of number was made, of those that the page has."""
    metrics = {row.metric for row in findings.rows}
    draws = sorted({len(cell.rows) for cell in findings.cells if cell.of.calibration != NO_DATA})
    few = "" if not draws or draws[0] > 1 else " Cells of one draw have no interval: not known."
    yield "A draw", ("A calibration set of another seed. Everything else is the same, so that the spread over draws is the "
                     f"luck of the draw. Cells here have {listed([f'{n}' for n in draws]) if draws else 'no'} draws.{few}")  # fmt: skip
    yield "Means", "Over draws, with Student's t interval at 95 %, about other draws judged by the same items."
    if "perplexity" in metrics:
        yield (
            "Perplexity",
            "The exponential of the mean nats a token over windows of held-out text; one item is one window.",
        )
    if "kl" in metrics:
        yield "KL", "KL(dense ‖ pruned) of the next-token distributions, nats a token; 0 is the dense model."
    if metrics & {"accuracy", "exact_match"}:
        yield "Tasks", "One outcome an item, 1 or 0; the dense model answered the same items."
    yield "Retention", ("Dense ÷ pruned perplexity, or (accuracy − chance) ÷ (dense − chance); not measurable where the dense "
                        "model's interval touches chance. The interval is over draws and items both. Over several "
                        "evaluations: the mean of the values, and of the intervals' ends, which is never too narrow.")  # fmt: skip
    yield "Does it matter?", ("One-way analysis of variance of the source over draws: the F test, Holm's correction over all "
                              "comparisons of this page, and ε² with the interval from the noncentral F.")  # fmt: skip
    yield "Which is best?", ("Differences between sources are paired by item, with the variance of draws and items (a "
                             "crossed design, Student's t). Win, tie or loss at 5 % after Holm's correction over the pairs "
                             "of sources of one comparison, where the effect is shown at all.")  # fmt: skip
    yield "Patterns", f"{listed(in_order(row.pattern for row in findings.rows))}: the sparsity that was asked for." \
        if findings.rows else "none"  # fmt: skip


def facts(about: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What a study tells of itself: names with values, and commands as lines to copy."""
    points, blocks = [], []
    for name, value in about.items():
        if name in BLOCKS:
            lines = [value] if isinstance(value, str) else list(map(str, value))
            blocks.append((name.capitalize(), "\n".join(lines)))
        else:
            points.append((name, _said(value)))
    return points, blocks


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_said(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_said, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not measured"}[value]
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if isinstance(value, float) else str(value)


def speed() -> tuple[str, ...]:
    """Where zeros make nothing faster: as of 2026."""
    return (
        "A pruned checkpoint is no faster and no smaller by itself. Its zeros are stored and multiplied like any other "
        "number: vLLM, SGLang, TGI and llama.cpp run it at the speed of the dense model.",
        "2:4 can gain where the hardware multiplies it (NVIDIA from Ampere on, by PyTorch's semi-structured tensors or "
        "TensorRT), with large batches and long prompts; one token at a time it is slower there. Unstructured sparsity "
        "gains with special kernels for single streams, or on some CPUs at 70 % and more, and on disk when packed.",
        "So measure on your own machine before you prune for speed; this page measures what is lost, not what is gained.",
    )
