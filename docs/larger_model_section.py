"""The section of docs/explanation/half-billion.md on one and a half billion parameters."""

from collections import Counter
from collections.abc import Iterator

from half_billion_results import cell_of, claims_table

from calprune.pages.numbers import listed, number, with_interval

GENERAL = "kl(wikitext2"
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


def section() -> Iterator[str]:
    """The cells of the three findings, on both models; and the claims on the larger one."""
    lines = ["| what goes | chosen by | judged on | half a billion | one and a half |", "|---|---|---|---:|---:|"]
    for what, text, evaluation, sources, (smaller, patterns) in REPEATED:
        for source in sources:
            found = [cell_of(study, source, evaluation, pattern=pattern)
                     for study, pattern in zip((smaller, LARGER), patterns, strict=True)]  # fmt: skip
            shown = [with_interval(cell.spread.interval) for cell in found]
            lines.append(f"| {' | '.join([what, source, text, *shown])} |")
    yield "\n".join(lines)
    luck = {
        source: _outcomes(cell_of(LARGER, source, GENERAL, pattern="blocks:4").values) for source in ("c4", "gsm8k")
    }
    yield LUCK.format(**luck)
    yield claims_table(LARGER)


def _outcomes(costs: list[float]) -> str:
    """ "0.28 (7 draws) and 0.81 (2)": draws that choose the same blocks cost the same."""
    counts = sorted(Counter(number(cost, 2) for cost in costs).items())
    (first, draws), *others = counts
    return listed([f"{first} ({draws} draws)", *(f"{cost} ({n})" for cost, n in others)])


INTRODUCTION = """\
Three large differences on half a billion parameters, asked again of Qwen2.5-Coder-1.5B-Instruct, as its 4-bit
file holds it: by which text blocks go, by which text neurons go, and padding that counts (three draws of 16 x 256
tokens, nine where blocks go, 4,096 tokens of each text judged, [page](../results/one_and_a_half_billion.html))."""
LUCK = """\
Which blocks go is luck, too. What C4's draws chose costs {c4} nats a token, what GSM8K's chose {gsm8k}. So where
blocks go draw several times, and judge what is left. The first three draws could not tell the first claim; six more
were drawn for it, for which its interval makes no allowance."""
