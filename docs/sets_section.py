"""Sections of docs/explanation/half-billion.md on what a calibration set is made of."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from statistics import median

from half_billion_results import (
    AMOUNTS,
    HELD,
    LENGTH,
    by_amount,
    by_text,
    cell_of,
    claims_of,
    findings,
    lost,
    windows_of,
)
from pictures.curves import Series, curves

from calprune.evaluation.metric import NATS_OF_INTEREST
from calprune.pages.numbers import listed, number, rough, with_interval

LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "ar": "Arabic", "zh": "Chinese"}
TOGETHER = "the five together"
SHARES = {"c4": "none", "an eighth gsm8k": "an eighth", "a quarter gsm8k": "a quarter", "half gsm8k": "half",
          "three quarters gsm8k": "three quarters", "seven eighths gsm8k": "seven eighths", "gsm8k": "all"}  # fmt: skip
SHARES_TITLE, SHARES_PICTURE = "From C4 to a task's own text", "shares-half-billion.svg"
AMOUNTS_TITLE, AMOUNTS_PICTURE = "How much of C4 a method needs", "amounts-half-billion.svg"


def shares() -> Iterator[str]:
    """What general text and GSM8K lose by the share of GSM8K in the set."""
    study = "shares_half_billion"
    yield SHARES_WORDS
    lines = [
        "| share of GSM8K | WikiText-2 | GSM8K | GSM8K: median window | GSM8K: windows lost |",
        "|---|---:|---:|---:|---:|",
    ]
    for source, share in SHARES.items():
        general, own = (cell_of(study, source, text) for text in ("kl(wikitext2", "kl(gsm8k"))
        windows = windows_of(own)
        means = [with_interval(cell.spread.interval) for cell in (general, own)]
        lines.append(f"| {' | '.join([share, *means, number(median(windows), 3), lost(windows)])} |")
    yield f"![{SHARES_TITLE}: what WikiText-2 and GSM8K lose by the share of GSM8K](../pictures/{SHARES_PICTURE})"
    yield "\n".join(lines)
    own = {share: cell_of(study, source, "kl(gsm8k").spread.mean for source, share in SHARES.items()}
    general = {share: cell_of(study, source, "kl(wikitext2").spread.mean for source, share in SHARES.items()}
    free = [share for share, kl in general.items() if kl - general["none"] < NATS_OF_INTEREST]
    near = [share for share, kl in own.items() if kl - min(own.values()) < 0.005]
    of_bandari = {source: cell_of("bandari2024_half_billion", source, "kl(", num_samples="32")
                  for source in ("c4", "c4 + gsm8k")}  # fmt: skip
    six = of_bandari["c4 + gsm8k"].spread.mean - of_bandari["c4"].spread.mean
    yield SHARES_FOUND.format(near=listed(near), free=free[-1], interest=NATS_OF_INTEREST, six=number(six, 3))
    yield from claims_of(study, HELD)


def shares_picture() -> str:
    """The two curves."""
    texts = {"WikiText-2": "kl(wikitext2", "GSM8K": "kl(gsm8k"}
    series = [Series(name, [cell_of("shares_half_billion", source, text).spread.interval for source in SHARES])
              for name, text in texts.items()]  # fmt: skip
    return curves(SHARES_TITLE, "KL to the dense model, nats a token (lower is better)", "share of GSM8K in the set",
                  list(SHARES.values()), series)  # fmt: skip


def languages() -> Iterator[str]:
    """Languages calibrated on by languages judged."""
    study = "languages_half_billion"
    yield LANGUAGES_WORDS
    texts = {f"kl(ud_pud_{code}": name for code, name in LANGUAGES.items()}
    yield by_text(study, (*LANGUAGES.values(), TOGETHER), texts)
    means = {(source, language): cell_of(study, source, text).spread.mean
             for text, language in texts.items() for source in (language, "English", TOGETHER)}  # fmt: skip
    gains = [means["English", one] - means[one, one] for one in LANGUAGES.values() if one != "English"]
    loses = [means[TOGETHER, one] - means[one, one] for one in LANGUAGES.values()]
    yield LANGUAGES_FOUND.format(least=number(min(gains), 2), most=number(max(gains), 2), worst=number(max(loses), 2))
    yield from claims_of(study, HELD)


def mixtures() -> Iterator[str]:
    """What three texts lose by C4, equal shares and a public mixture's shares, at two patterns."""
    study = "mixtures_half_billion"
    yield MIXTURES_WORDS
    texts = {"kl(wikitext2": "WikiText-2", "kl(svamp": "SVAMP", "kl(mbpp": "MBPP"}
    lines = [f"| pattern | calibrated on | {' | '.join(texts.values())} |", "|---|---|" + "---:|" * len(texts)]
    for pattern in ("50%", "2:4"):
        for source in ("c4", "equal shares", "perfectblend's shares"):
            cells = [cell_of(study, source, text, pattern=pattern) for text in texts]
            shown = [with_interval(cell.spread.interval) for cell in cells]
            lines.append(f"| `{pattern}` | {source} | {' | '.join(shown)} |")
    yield "\n".join(lines)
    yield from claims_of(study, HELD)


def solutions() -> Iterator[str]:
    """What a model's own worked solutions and general text lose by what was calibrated on."""
    study = "own_solutions_half_billion"
    yield SOLUTIONS_WORDS
    by = ("c4", "questions alone", "solutions of people", "own solutions with their questions", "own solutions alone")
    yield by_text(study, by, {"kl(sets/own_answers": "its solutions", "kl(wikitext2": "WikiText-2"})
    yield from claims_of(study, HELD)


def selections() -> Iterator[str]:
    """What each selection of documents and each weight of tokens leaves, and how far its draws lie apart."""
    study = "selection_half_billion"
    yield SELECTIONS_WORDS
    lines = ["| documents | tokens | KL | SD of a draw | perplexity |", "|---|---|---:|---:|---:|"]
    found = {}
    for cell in findings(study).cells:
        if cell.of.metric == "kl":
            source, weights = cell.of.calibration, cell.of.setting["token_weights"]
            found[source, weights] = cell.spread
            other = cell_of(study, source, "perplexity(", token_weights=weights).spread
            shown = [with_interval(cell.spread.interval), number(cell.spread.sd, 3), with_interval(other.interval)]
            lines.append(
                f"| {source} | {'by attention' if weights == 'attention' else 'alike'} | {' | '.join(shown)} |"
            )
    yield "\n".join(lines)
    random = found["random", "even"]
    selected = [spread for (source, _), spread in found.items() if source != "random"]
    most = max(random.mean - spread.mean for spread in found.values())
    sds = [number(find(spread.sd for spread in selected), 3) for find in (min, max)]
    yield SELECTIONS_FOUND.format(most=number(most, 3), random=number(random.sd, 3), least=sds[0], largest=sds[1])
    yield from claims_of(study, HELD)


def towards() -> Iterator[str]:
    """What documents herded towards a task leave of it, of code and of general text, beside the task's own text."""
    study, texts = "towards_half_billion", {"kl(gsm8k": "GSM8K", "kl(mbpp": "MBPP", "kl(wikitext2": "WikiText-2"}
    yield TOWARDS_WORDS
    yield by_text(study, ("random", "towards GSM8K", "gsm8k"), texts)
    random, herded, own = (cell_of(study, one, "kl(gsm8k").spread.mean for one in ("random", "towards GSM8K", "gsm8k"))
    yield TOWARDS_FOUND.format(herded=number(random - herded, 3), own=number(random - own, 3))
    yield from claims_of(study, "The first is of any gain, the others of 0.02 nats, after correction over the claims.")


def amounts() -> Iterator[str]:
    """KL and the SD of a draw by tokens and method, drawn."""
    yield AMOUNTS_WORDS
    yield f"![{AMOUNTS_TITLE}: what WikiText-2 loses by the tokens of C4](../pictures/{AMOUNTS_PICTURE})"
    cells = by_amount()
    counts, methods = _amounts_and_methods(cells)
    heads = [f"{method}: KL | SD of a draw" for method in methods]
    lines = [f"| tokens | {' | '.join(heads)} |", "|---:|" + "---:|" * 2 * len(methods)]
    for count in counts:
        spreads = [cells[count, method].spread for method in methods]
        shown = [f"{with_interval(one.interval)} | {rough(one.sd)}" for one in spreads]
        lines.append(f"| {count * LENGTH:,} | {' | '.join(shown)} |")
    yield "\n".join(lines)
    gains = {(method, more): cells[less, method].spread.mean - cells[more, method].spread.mean
             for method in methods for less, more in pairwise(counts)}  # fmt: skip
    yield AMOUNTS_FOUND.format(**{f"{method}{i}": number(gains[method, more], 2 if method == "sparsegpt" else 3)
                                  for method in methods for i, more in enumerate(counts[1:])},
                               worse=number(cells[counts[-1], "sparsegpt"].spread.mean
                                            - cells[counts[-1], "wanda"].spread.mean, 2))  # fmt: skip
    yield from claims_of(AMOUNTS, HELD)


def amounts_picture() -> str:
    """A curve a method."""
    cells = by_amount()
    counts, methods = _amounts_and_methods(cells)
    series = [Series(method, [cells[count, method].spread.interval for count in counts]) for method in methods]
    return curves(AMOUNTS_TITLE, "KL to the dense model, nats a token (lower is better)", "tokens of C4",
                  [f"{count * LENGTH:,}" for count in counts], series)  # fmt: skip


def _amounts_and_methods(cells: Iterable[tuple[int, str]]) -> tuple[list[int], list[str]]:
    counts, methods = zip(*cells, strict=True)
    return sorted(set(counts)), list(dict.fromkeys(methods))


SHARES_WORDS = """\
Sets of C4 and GSM8K, from one to the other, by shares of their tokens, which MixCal calls the sources' weights.
(Wanda at 50 %, three draws of 32 x 256 tokens, 4,096 tokens of each text judged on windows of 256 cut from anywhere,
[page](../results/shares_half_billion.html); a window is lost where KL is above 1 nat a token.)"""
SHARES_FOUND = """\
By the means GSM8K is kept best with these shares of it, which lie within 0.005 nats: {near}. General text stays
within {interest:g} nats of where C4 leaves it up to a share of {free}. In six draws of Bandari et al.'s study half
GSM8K cost it {six} nats."""
LANGUAGES_WORDS = """\
Five languages, each calibrated on and each judged, and a set of all five. Calibrated on are XQuAD's paragraphs,
judged PUD's sentences, each the same in all languages. (Wanda at 50 %, three draws of 16 x 256 tokens, 3,072 tokens
of each judged, [page](../results/languages_half_billion.html).)"""
MIXTURES_WORDS = """\
C4, equal shares of four sources (C4, GSM8K, code, Alpaca), and the shares of the public mixture open-perfectblend
(39 % GSM8K, 39 % code, 22 % Alpaca), judged on other texts: 50 % by Wanda, four draws, and 2:4 by SparseGPT, three.
(32 x 256 tokens, 8,192 tokens of WikiText-2 and 4,096 each of SVAMP and MBPP judged after `<|im_start|>`,
[page](../results/mixtures_half_billion.html).)"""
SOLUTIONS_WORDS = """\
What should a model be calibrated with that is used for its worked solutions? Judged are the solutions that the dense
model wrote to SVAMP's questions, with the questions, as conversations. Calibrated on are questions of GSM8K alone,
the solutions that people wrote to them, and the model's own, with and without the questions, as RAC asks of
reasoning models. The own ones go through the chat template, as what is judged does, and the others do not: how much
of the gain is the template's was not measured. (Wanda at 50 %, three draws of 64 sequences of up to 320 tokens,
8,192 tokens of each text judged after `<|im_start|>`, [page](../results/own_solutions_half_billion.html).)"""
SELECTIONS_WORDS = """\
C4's documents, taken at random, by ZipCal's two rules (of 500 candidates), by COLA's clusters and by herding (of 96,
which the model reads); and random ones whose tokens count by the attention that they receive, as in RSQ. (Wanda at
50 %, six draws of 32 x 256 tokens, 8,192 tokens of WikiText-2 judged after `<|im_start|>`,
[page](../results/selection_half_billion.html).)"""
SELECTIONS_FOUND = """\
By the means none is more than {most} nats better than random documents, and each is shown to gain less than 0.02.
Draws of selected sets lie nearer together (SD {least} to {largest}, random {random}), which was not asked
beforehand. RSQ's paper measures quantisation, ZipCal's and COLA's tasks."""
TOWARDS_WORDS = """\
And documents of The Pile herded *towards* GSM8K's examples: those of 128 that together give the model's linears what
the examples give them (ACDM chooses near a task's activations in the same spirit). (Wanda at 50 %, five draws of 32 x
256 tokens, 4,096 tokens of GSM8K and of MBPP and 8,192 of WikiText-2 judged after `<|im_start|>`,
[page](../results/towards_half_billion.html).)"""
TOWARDS_FOUND = """\
By the means they gain {herded} nats for GSM8K, where its own examples gain {own}; that they gain at all is not
shown. They cost general text nothing."""
AMOUNTS_WORDS = """\
One text, C4, and more and more of it, by two methods at 50 %. A matrix that takes 4,864 inputs has a singular Gram
matrix with fewer tokens, and SparseGPT inverts it, which only damping makes possible. (Three draws, 8,192 tokens of
WikiText-2 judged after `<|im_start|>`, [page](../results/amounts_half_billion.html).)"""
AMOUNTS_FOUND = """\
By the means Wanda gains {wanda0} and {wanda1} nats by four times as many tokens, twice, and SparseGPT {sparsegpt0}
and {sparsegpt1}; more was not tried. With 16,384 tokens SparseGPT is still {worse} worse than Wanda; that it is 0.02
better is ruled out."""
LANGUAGES_FOUND = """\
By the means a language's own text is {least} to {most} nats better for it than English text, and the set of all five
is at most {worst} worse than its own."""
