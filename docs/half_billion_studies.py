"""Sections of docs/explanation/half-billion.md: languages, shares, selections, amounts, a larger model."""

from collections.abc import Iterator
from statistics import median

from half_billion_results import by_text, cell_of, claims_table, findings, verdicts

from calprune.pages.numbers import number, rough, with_interval
from calprune.report.findings import Cell

GENERAL = "kl(wikitext2"
LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "ar": "Arabic", "zh": "Chinese"}
TOGETHER = "the five together"
SHARES = {"c4": "none", "an eighth gsm8k": "an eighth", "a quarter gsm8k": "a quarter", "half gsm8k": "half",
          "three quarters gsm8k": "three quarters", "seven eighths gsm8k": "seven eighths", "gsm8k": "all"}  # fmt: skip
LARGER = "one_and_a_half_billion"
REPEATED = (  # what goes, text, evaluation, by which sources, the smaller model's study, patterns on both models
    ("3 of 24, 4 of 28 blocks", "WikiText-2", GENERAL, ("c4", "gsm8k"),
     ("structured_half_billion", ("blocks:3", "blocks:4"))),
    ("a quarter of the neurons", "MBPP", "kl(mbpp", ("c4", "code"),
     ("structured_half_billion", ("neurons:25%", "neurons:25%"))),
    ("a quarter of the neurons", "WikiText-2", GENERAL, ("c4", "code"),
     ("structured_half_billion", ("neurons:25%", "neurons:25%"))),
    ("half of the weights", "WikiText-2", GENERAL, ("esnli:zero", "esnli:zero, as published"),
     ("bandari2024_half_billion", ("50%", "50%"))),
)  # fmt: skip
LOST = 1.0  # nats a token: a window that loses more is counted as lost


def languages() -> Iterator[str]:
    """Languages calibrated on by languages judged; and what became of the claims."""
    study = "languages_half_billion"
    texts = {f"kl(ud_pud_{code}": name for code, name in LANGUAGES.items()}
    yield by_text(study, (*LANGUAGES.values(), TOGETHER), texts)
    yield f"Of its claims: {verdicts(study)}."
    yield claims_table(study)


def shares() -> Iterator[str]:
    """What general text and GSM8K lose by the share of GSM8K in the set."""
    study = "shares_half_billion"
    lines = [
        "| share of GSM8K | WikiText-2 | GSM8K | GSM8K: median window | GSM8K: windows lost |",
        "|---|---:|---:|---:|---:|",
    ]
    for source, share in SHARES.items():
        general, own = (cell_of(study, source, text) for text in (GENERAL, "kl(gsm8k"))
        windows = [value for row in own.rows for value in row.items]
        lost = f"{sum(value > LOST for value in windows)} of {len(windows)}"
        means = [with_interval(cell.spread.interval) for cell in (general, own)]
        lines.append(f"| {' | '.join([share, *means, number(median(windows), 3), lost])} |")
    yield "\n".join(lines)
    yield f"Of its claims: {verdicts(study)}."
    yield claims_table(study)


def selections() -> Iterator[str]:
    """What each selection or weight leaves."""
    study = "selection_half_billion"
    lines = ["| documents | tokens | KL | perplexity |", "|---|---|---:|---:|"]
    for cell in _cells(study, GENERAL):
        source, weights = cell.of.calibration, cell.of.setting["token_weights"]
        text = cell_of(study, source, "perplexity(", token_weights=weights)
        shown = [with_interval(one.spread.interval) for one in (cell, text)]
        lines.append(f"| {source} | {'by attention' if weights == 'attention' else 'alike'} | {' | '.join(shown)} |")
    yield "\n".join(lines)
    yield claims_table(study)


def amounts() -> Iterator[str]:
    """KL and the SD of a draw by tokens and method."""
    study = "amounts_half_billion"
    cells = {(cell.of.num_samples or 0, cell.of.setting["method"]): cell for cell in _cells(study, GENERAL)}
    methods = list(dict.fromkeys(method for _, method in cells))
    heads = [f"{method}: KL | SD of a draw" for method in methods]
    lines = [f"| tokens | {' | '.join(heads)} |", "|---:|" + "---:|" * 2 * len(methods)]
    for sequences in sorted({n for n, _ in cells}):
        spreads = [cells[sequences, method].spread for method in methods]
        shown = [f"{with_interval(one.interval)} | {rough(one.sd)}" for one in spreads]
        lines.append(f"| {sequences * 256:,} | {' | '.join(shown)} |")
    yield "\n".join(lines)
    yield claims_table(study)


def larger() -> Iterator[str]:
    """The cells of the three findings, on both models; and the claims on the larger one."""
    lines = ["| what goes | chosen by | judged on | half a billion | one and a half |", "|---|---|---|---:|---:|"]
    for what, text, evaluation, sources, (smaller, patterns) in REPEATED:
        for source in sources:
            found = [cell_of(study, source, evaluation, pattern=pattern)
                     for study, pattern in zip((smaller, LARGER), patterns, strict=True)]  # fmt: skip
            shown = [with_interval(cell.spread.interval) for cell in found]
            lines.append(f"| {' | '.join([what, source, text, *shown])} |")
    yield "\n".join(lines)
    costs = cell_of(LARGER, "c4", GENERAL, pattern="blocks:4").values
    low, high = min(costs), max(costs)
    cheap = sum(value - low < high - value for value in costs)
    yield LUCK.format(cheap=cheap, draws=len(costs), low=number(low, 2), high=number(high, 2))
    yield claims_table(LARGER)


def _cells(study: str, evaluation: str) -> list[Cell]:
    return [cell for cell in findings(study).cells if cell.of.evaluation.startswith(evaluation)]


LARGER_WORDS = """\
The three largest differences on half a billion parameters, asked again of Qwen2.5-Coder-1.5B-Instruct, as its 4-bit
file holds it: by which text blocks go, by which text neurons go, and padding that counts (three draws of 16 x 256
tokens, nine where blocks go, 4,096 tokens of each text judged, [page](../results/one_and_a_half_billion.html))."""
LUCK = """\
Which blocks go by C4 is luck, too: {cheap} of {draws} draws chose blocks that cost {low} nats a token, and the others a
set that costs {high}, though the scores of the two sets are nearly the same. So where blocks go draw several times, and
judge what is left. The first three draws could not tell the first claim; six more were drawn for it."""
