"""docs/explanation/half-billion.md: what was measured on two larger models, from docs/results."""

import math
from collections import defaultdict
from collections.abc import Iterator

import by_method_section
import larger_model_section
import own_text_section
import power_section
import sets_section
from half_billion_results import findings, judged, judged_by_draws, table, verdict_counts

from calprune.pages.numbers import listed, number, percent, with_interval
from calprune.report.findings import Cell
from calprune.uncertainty.spread import spread_between

PAPERS = {  # a paper's study on the smaller model -> its name, its studies on this one: a later one judges again
    "bandari2024": ("Bandari et al.", {"bandari2024_half_billion": "half a billion"}),
    "ji2025": ("Ji et al.", {"ji2025_half_billion": "half a billion", "ji2025_after_begin": "after `<|im_start|>`"}),
    "williams2024": ("Williams and Aletras", {"williams2024_half_billion": "half a billion"}),
    "shin2024": ("Shin et al.", {"shin2024_half_billion": "half a billion"}),
}
FIRST_DRAWS = 6  # of a cell that got more later
ADDED = {  # a study -> its claims that did
    "bandari2024_half_billion": (
        "C4 is not the best of the pre-training sources",
        "It is no matter where sequences of examples begin "
        "(here, by less than 0.02 nats; the model has no begin-of-text)",
        "More pairs in context are better (25 against 5)",
    ),
    "ji2025_after_begin": ("C4 is better than Wikipedia at 60 %",),
}
TEXTS = {"kl(wikitext2": "WikiText-2", "kl(gsm8k": "GSM8K", "kl(mbpp": "MBPP"}
OWN_TEXT = {"kl(gsm8k": "gsm8k", "kl(mbpp": "code"}  # a text -> the source that is of its use
OF_KINDS = ("structured_half_billion", "kinds_half_billion")  # of the same sources, draws and texts
GOES = {"wanda": "weights", "gptq": "bits", "flap": "neurons", "block_influence": "blocks"}


def page() -> str:
    parts = [INTRODUCTION, "## What can be told", *power_section.section(),
             "## Do the papers' claims hold?", CLAIMS, *_claims(),
             "## Is it so by other methods and at 2:4?", *by_method_section.finalists(),
             "## Which method?", *by_method_section.methods(),
             "## Does reconstruction help?", *by_method_section.reconstruction(),
             "## Does a task's own text serve that task?", *own_text_section.section(),
             "## Do worked steps help?", *own_text_section.steps(),
             "## How much of a task's own text?", *sets_section.shares(),
             "## Which shares, for several uses?", *sets_section.mixtures(),
             "## Does a language need text of its own?", *sets_section.languages(),
             "## Does a model's own writing serve what it writes?", *sets_section.solutions(),
             "## How much of a text is enough?", *sets_section.amounts(), *by_method_section.halves(),
             "## Does it help to select documents?", *sets_section.selections(),
             *sets_section.towards(),
             "## For which kind of pruning does the text matter most?", KINDS, *_kinds(),
             "## What a text begins with", FIRST, *_first_words(),
             "## On one and a half billion parameters", larger_model_section.INTRODUCTION,
             *larger_model_section.section(), "## What was not measured", MISSING]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _claims() -> Iterator[str]:
    """A row a claim, on both models; and how many of them the larger one leaves open, where it was judged last."""
    verdicts: list[str] = []
    tables = []
    for study, (paper, larger) in PAPERS.items():
        small = {words: verdict for says, verdict, _ in judged(study) for words in (_key(says), says)}
        found = [{says: (verdict, measured) for says, verdict, measured in judged(one)} for one in larger]
        links = ", ".join(f"[{one}](../results/{one}.html)" for one in larger)
        lines = [f"**{paper}** ({links})", "", f"| claim | 135 million | {' | '.join(larger.values())} | measured |"]
        lines += ["|---|---|" + "---|" * (len(larger) + 1)]
        for says in dict.fromkeys(says for one in found for says in one):
            last = [one[says] for one in found if says in one][-1]
            verdicts.append(last[0])
            shown = [f"**{one[says][0]}**" if says in one else "—" for one in found]
            before = small.get(says, small.get(_key(says), "—"))
            lines.append(f"| {says} | {before} | {' | '.join(shown)} | {last[1]} |")
        tables.append("\n".join(lines))
    yield f"Of {len(verdicts)} claims, as they were judged last: {verdict_counts(verdicts)}."
    yield from tables
    yield from _added()


def _added() -> Iterator[str]:
    """The claims that got more draws: by the first ones, by the added ones alone, by all."""
    lines = ["| claim | six draws | the added alone | all |", "|---|---|---|---|"]
    for study, claims in ADDED.items():
        found = [judged_by_draws(study, keep) for keep in (lambda n: n < FIRST_DRAWS, lambda n: n >= FIRST_DRAWS,
                                                           lambda n: True)]  # fmt: skip
        for says in claims:
            estimates = [(one[says].judgement.estimate, one[says].judgement.verdict) for one in found]
            shown = [f"{with_interval(estimate)}: {verdict}" for estimate, verdict in estimates]
            lines.append(f"| {says} | {' | '.join(shown)} |")
    yield ADDED_WORDS
    yield "\n".join(lines)


def _key(says: str) -> str:
    """A claim without what it adds in brackets for one model."""
    return says.partition(" (")[0]


def _kinds() -> Iterator[str]:
    """What each kind of pruning costs, and how far apart three sources leave it, on three texts."""
    rows: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    shares: dict[str, list[float]] = defaultdict(list)
    for method, kind, text, cells in _of_kinds():
        cost = math.fsum(cell.spread.mean for cell in cells.values()) / len(cells)
        apart = spread_between({source: cell.values for source, cell in cells.items()})
        shares[method].append(apart.value / cost)
        rows[kind][text] = (number(cost, 2), with_interval(apart), percent(apart.value / cost, 0))
    heads = ["what goes"]
    for name in TEXTS.values():
        heads += [f"{name}: cost", "SD between sources", "of the cost"]
    yield table(heads, [[kind, *(one for text in TEXTS for one in cells[text])] for kind, cells in rows.items()])
    spans = [f"{percent(min(shares[method]), 0)} to {percent(max(shares[method]), 0)} where {what} go"
             for method, what in GOES.items()]  # fmt: skip
    yield f"So the SD between sources is, of the cost, {listed(spans)}."
    yield from _own_text_by_kind()


def _own_text_by_kind() -> Iterator[str]:
    """Of each kind what GSM8K and code lose by C4 and by text of their own."""
    rows: dict[str, list[str]] = defaultdict(list)
    better = dict.fromkeys(OWN_TEXT, 0)
    for _, kind, text, cells in _of_kinds():
        if text in OWN_TEXT:
            pair = [cells[source].spread for source in ("c4", OWN_TEXT[text])]
            better[text] += pair[1].mean < pair[0].mean
            rows[kind] += [with_interval(spread.interval) for spread in pair]
    yield OWN_BY_KIND.format(kinds=len(rows), gsm8k=better["kl(gsm8k"], mbpp=better["kl(mbpp"])
    heads = [f"{TEXTS[text]} by {source}" for text, own in OWN_TEXT.items() for source in ("C4", own)]
    yield table(["what goes", *heads], [[kind, *cells] for kind, cells in rows.items()])


def _of_kinds() -> Iterator[tuple[str, str, str, dict[str, Cell]]]:
    """Of each kind of pruning, in the order of GOES, and text: the method, the kind in words, the text, the cell of
    each of three sources."""
    found = []
    for one in (one for study in OF_KINDS for one in findings(study).comparisons):
        if one.of.metric == "kl" and len(one.cells) == 3:
            method = one.of.setting["method"].partition("(")[0]
            kind = "4 bits" if method == "gptq" else f"`{one.of.setting['pattern']}`"
            text = next(text for text in TEXTS if one.of.evaluation.startswith(text))
            cells = {cell.of.calibration: cell for cell in one.cells}
            found.append((method, f"{kind}, {method}", text, cells))
    yield from sorted(found, key=lambda one: list(GOES).index(one[0]))


def _first_words() -> Iterator[str]:
    """Of each model and set: what plain text loses, and what it loses after a first token."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for cell in findings("first_words").cells:
        after = cell.of.evaluation.partition("begin=")[2].rstrip(")")
        found[cell.of.setting["model"], cell.of.calibration][after] = with_interval(cell.spread.interval)
    firsts = list(dict.fromkeys(after for row in found.values() for after in row))
    heads = [f"after `{after}`" if after else "as it is cut" for after in firsts]
    rows = [
        f"| {model} | {source} | {' | '.join(row[after] for after in firsts)} |"
        for (model, source), row in found.items()
    ]
    yield "\n".join([f"| model | calibrated on | {' | '.join(heads)} |", "|---|---|" + "---:|" * len(firsts), *rows])


INTRODUCTION = """\
# On half a billion parameters

Most of these pages rest on SmolLM2-135M, which is at chance in most tasks. Here the same is asked of
Qwen2.5-Coder-0.5B-Instruct. What is pruned is the model that a 4-bit file of it holds (GGUF, Q4_K_M), as bfloat16,
not the original; it was trained on code above all. Everything ran on two cores of an Intel Xeon with AMX. KL is to
the dense model, nats a token, lower is better; a *gain* is by how much less KL the first has. Brackets are 95 %
intervals; "held" and "not held" are meant after [Holm's correction](../words.md) over the claims of a study. How
each study was run: [results](../results/README.md). Methods and patterns: [methods](../methods.md). Sources like
`gsm8k:icl`, and "as published": [choosing calibration data](../choosing-calibration-data.md#formats). "demo" is the
model of 135 million parameters, "code" RedPajama's part of GitHub.

In short:

- **Padding** that counts does harm. Examples in context do not help once it is left out.
- **A task**'s own text is the best of seven for each of six tasks by zeros at 50 %, by the means; that it is better
  than C4 is shown for three. Where blocks go GSM8K's does
  [harm](#for-which-kind-of-pruning-does-the-text-matter-most). Of shares, half to seven eighths GSM8K serve GSM8K
  alike, by the means, and half costs general text 0.02 nats at most.
- **Several uses**: [equal shares](../choose.md#measured-on-half-a-billion-parameters) of four sources are shown to
  be better than C4 over three uses together, and for code alone; by the means they cost general text 0.02 nats at 50
  %, and 0.19 at 2:4, which is shown.
- **Worked steps** in the set gain less than 0.02 nats for e-SNLI's explanations and for general text; for GSM8K's
  solutions they gain 0.02 by the mean, which cannot be told.
- **A language** is served better by its own text than by English text, by up to 0.3 nats, which is shown for three
  of four. A set of five languages is up to 0.05 worse than a language's own by the means, which is not shown.
- **Without text of your own**: at 60 %, judged on Alpaca-GPT4's texts, what the model writes itself is better than
  the text that it goes on from.
- **The model's worked solutions** (to SVAMP) are kept better by its own solutions to GSM8K, with the questions and
  its chat template, than by C4 or by people's solutions: shown. Without the questions they are worse than any, by
  the means.
- **Selecting documents** gains less than 0.02 nats with Wanda at 50 %, and so do 32,768 tokens in place of 8,192.
  SparseGPT seems to need more tokens.
- **[Method](#which-method) by pattern**, by the means: Wanda at 50 %, ADMM at 60 % (one draw) and 2:4; of these
  three SparseGPT comes before Wanda at 2:4 alone. (60 % with 32 x 256 tokens, [the
  others](../methods.md#where-no-method-is-named) with 16 x 256.)
- **With SparseGPT the text matters more** than with Wanda: [three sources](#is-it-so-by-other-methods-and-at-24) lie
  up to 0.24 nats apart at 50 % and 0.42 at 2:4, with Wanda 0.08 and 0.04. That it is more is shown.
- **2:4 against 4 bits**: sources and draws change a pruned model more than a quantised one, as Williams and Aletras
  found; shown.
- **[Reconstruction](#does-reconstruction-help)** of one block after the other, after SparseGPT at 60 %, gains 0.14
  nats on text like what it is trained on and 0.15 on WikiText-2, which is shown, and 0.08 on GSM8K by the means.
  With the dense model's targets it does no harm there: shown.
- **Beside what pruning costs**, which text is taken matters most for blocks, then neurons, then 4 bits and zeros, by
  the means.
- **`<|endoftext|>` before a text** costs more than any choice of text for zeros."""
CLAIMS = """\
"Better" is by more than 0.02 nats here (in each paper's first claim: above 0), so that "not held" can be an answer:
then the difference is smaller, or on the other side. Draws: five to eight where a small difference is to be told (up
to 26 where six could not tell), three where padding counts and of Shin et al.'s. "N draws would tell" assumes that
the difference found is the true one and that the judged text grows with the draws. Bandari et al.'s are judged on
general text (WikiText-2), Williams and Aletras's by its perplexity; Shin et al.'s are of SparseGPT at 60 %, on C4's
texts where nothing else is said, and of one epoch. Ji et al.'s are judged on Alpaca-GPT4's texts: first on windows
cut from anywhere, of which some sources lost two nats and more in up to four of 32 at 60 % and six at 2:4, always
the same ones, which hides the rest (at 70 % the model is ruined: KL 3.5); then, when this had been seen, after
`<|im_start|>`, with which the model's own inputs begin. RedPajama stands for SlimPajama there. Two sources count as
alike where their SD is under 0.02, so where they lie less than 0.04 apart."""
ADDED_WORDS = """\
Four claims could not be told with six draws. They got as many as their pages said would tell, or up to three more,
fixed before they were run. An interval of all draws makes no allowance for that second look; the one of the added
draws alone needs none."""
KINDS = """\
Cost: the mean KL with three sources (C4, GSM8K, code). SD: how far the three lie apart. (16 x 256 tokens, three
draws, pages [of units and zeros](../results/structured_half_billion.html) and [of 60 % and 4
bits](../results/kinds_half_billion.html). The 4 bits are of weights that the 4-bit file had rounded before. Zeros
are by Wanda. This model has no experts.)"""
OWN_BY_KIND = """\
Does text of the use itself serve it best? By the means GSM8K does better than C4 for GSM8K in {gsm8k} of {kinds}
kinds, and code does for MBPP in {mbpp}: with neurons both do; with blocks GSM8K does much harm, and at 60 % both are
worse than C4, on windows cut from anywhere, of which some are lost. No claim was written down for this table."""
FIRST = """\
The first token of a sequence is the attention sink, and neither model has a begin-of-text that always stands there.
One text, WikiText-2, judged three times: as it is cut, and with a token before every window (Wanda at 50 %, 32 x 256
tokens, three draws, [page](../results/first_words.html)). On the 0.5B model text after `<|endoftext|>` loses more
than one nat a token more, whatever was calibrated on. No sequence that was calibrated on begins with it; whether
that would mend it was not measured. So look at what your tools put before a text. `begin=` judges after it:
`kl(wikitext2, begin=<|endoftext|>)`."""
MISSING = """\
- What 0.02 or 0.3 nats are in accuracy, or to a user; what is left of them after [recovery](../recover.md).
- Sets of 128 x 2,048 tokens, for which there is no GPU here: nearly all of this is 16 or 32 sequences of 256 tokens.
- The original weights in place of the 4-bit file's.
- Whether sequences that are calibrated on should begin with `<|im_start|>`; shares for other tasks than GSM8K, at 60
  % and 2:4; conversations by the model's own writing.
- `choose` judged by tasks (a point of accuracy takes more questions than tasks have), and with the model's own text."""
