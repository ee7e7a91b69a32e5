"""The section of docs/explanation/half-billion.md on one and a half billion parameters."""

from collections.abc import Iterator

from half_billion_results import cell_of, claims_table

from calprune.pages.numbers import number, with_interval

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
    costs = cell_of(LARGER, "c4", GENERAL, pattern="blocks:4").values
    low, high = min(costs), max(costs)
    cheap = sum(value - low < high - value for value in costs)
    yield LUCK.format(cheap=cheap, draws=len(costs), low=number(low, 2), high=number(high, 2))
    yield claims_table(LARGER)


INTRODUCTION = """\
Three large differences on half a billion parameters, asked again of Qwen2.5-Coder-1.5B-Instruct, as its 4-bit
file holds it: by which text blocks go, by which text neurons go, and padding that counts (three draws of 16 x 256
tokens, nine where blocks go, 4,096 tokens of each text judged, [page](../results/one_and_a_half_billion.html))."""
LUCK = """\
Which blocks go by C4 is luck, too: {cheap} of {draws} draws chose blocks that cost {low} nats a token, and the
others a set that costs {high}, which differs in one block. So where blocks go draw several times, and judge what is
left. The first three draws could not tell the first claim; six more were drawn for it, for which its interval makes
no allowance."""
