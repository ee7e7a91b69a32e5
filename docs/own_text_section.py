"""The section of docs/explanation/half-billion.md on text of the task that a model is used for."""

from collections.abc import Iterator
from statistics import median

import findings_page
from half_billion_results import HELD, by_text, cell_of, claims_of, findings, judged, lost, verdict_counts, windows_of

from calprune.pages.numbers import listed, number

AFTER_BEGIN, ANYWHERE, STEPS = "own_text_after_begin", "own_text_half_billion", "steps_half_billion"
SIX = {"gsm8k": "GSM8K", "svamp": "SVAMP", "mawps": "MAWPS", "esnli": "e-SNLI", "race": "RACE",
       "winogrande": "WinoGrande"}  # fmt: skip
NINE = ("gsm8k", "svamp", "mawps", "esnli", "anli_r1", "anli_r3", "commonsense_qa", "race", "winogrande")
CHART = {
    "says": "Six tasks' own text, and C4",
    "axis": "nats a token by which the task's own text is better than C4, judged on the task's other rows",
    "difference": True,
}
PICTURE = "own-text-half-billion.svg"


def picture() -> str:
    """By how much each task's own text is better than C4."""
    rows = [{"label": name, "claim": [AFTER_BEGIN, says]}
            for name, (says, *_) in zip(SIX.values(), judged(AFTER_BEGIN), strict=True)]  # fmt: skip
    return findings_page.chart(CHART | {"rows": rows})


def section() -> Iterator[str]:
    """Tasks by what was calibrated on, after the first token; then as windows are cut, where some are lost."""
    yield WORDS
    yield f"![{CHART['says']}: {CHART['axis']}](../pictures/{PICTURE})"
    yield by_text(AFTER_BEGIN, ("c4", *SIX), {f"kl({task}": task for task in SIX})
    means = {task: {source: cell_of(AFTER_BEGIN, source, f"kl({task}").spread.mean for source in ("c4", *SIX)}
             for task in SIX}  # fmt: skip
    best = [SIX[task] for task, of in means.items() if min(of, key=of.__getitem__) == task]
    worse = [of[other] - of["c4"] for task, of in means.items() for other in SIX if other != task]
    yield FOUND.format(best=listed(best), worse=sum(value > 0 for value in worse), others=len(worse),
                       most=number(max(worse), 2))  # fmt: skip
    yield from claims_of(AFTER_BEGIN, HELD_ABOVE_0)
    yield from _anywhere()


def steps() -> Iterator[str]:
    """Two tasks with and without worked steps, judged on general text and on the tasks' rows with their steps."""
    yield STEPS_WORDS
    texts = {"kl(wikitext2": "WikiText-2", "kl(gsm8k:icl_cot": "gsm8k:icl_cot", "kl(esnli:icl_cot": "esnli:icl_cot"}
    yield by_text(STEPS, ("gsm8k:icl", "gsm8k:icl_cot", "esnli:icl", "esnli:icl_cot"), texts)
    yield from claims_of(STEPS, HELD)


def _anywhere() -> Iterator[str]:
    """The study before: nine tasks, windows as they are cut."""
    yield ANYWHERE_WORDS
    yield by_text(ANYWHERE, ("c4", *NINE), {f"kl({task}": task for task in NINE})
    own = [verdict for _, verdict, _ in judged(ANYWHERE)][: len(NINE)]
    yield f"Of nine claims that a task's own text is better than C4: {verdict_counts(own)}."
    found = {(_task(cell.of.evaluation), cell.of.calibration): cell for cell in findings(ANYWHERE).cells}
    tables = {task: [windows_of(found[task, source]) if (task, source) in found else []
                     for source in ("c4", task, f"c4 + {task}")] for task in NINE}  # fmt: skip
    better = sum(median(own) < median(c4) for c4, own, _ in tables.values())
    yield LOST_WORDS.format(better=better, tasks=len(NINE))
    lines = ["| task | C4: median | own: median | half C4: median | C4: lost | own: lost | half C4: lost |"]
    lines += ["|---|" + "---:|" * 6]
    for task, windows in tables.items():
        medians = [number(median(one), 3) if one else "" for one in windows]
        gone = [lost(one) if one else "" for one in windows]
        lines.append(f"| {task} | {' | '.join(medians + gone)} |")
    yield "\n".join(lines)


def _task(evaluation: str) -> str:
    return evaluation.partition("(")[2].partition(",")[0]


WORDS = """\
Six tasks' texts and C4, each calibrated on, and the text of every task judged, by KL after `<|im_start|>`, with which
the model's own inputs begin (2,560 tokens of each, four draws of 32 x 256 tokens, Wanda at 50 %,
[page](../results/own_text_after_begin.html)). A task's own text is **bold**."""
FOUND = """\
By the means a task's own text is the best of the seven for {best}. Text of another task is worse than C4 in {worse}
of {others} cases, by {most} nats at most."""
HELD_ABOVE_0 = """\
"Better" is by more than 0 here. "Held" is after correction over the six, so an interval above 0 can leave a claim
open."""
ANYWHERE_WORDS = """\
Before, nine tasks were judged on windows of 128 tokens as they are cut from anywhere (1,536 tokens of each, three
draws of 32 x 256 tokens, Wanda at 50 %, [page](../results/own_text_half_billion.html))."""
LOST_WORDS = """\
The mean hides two things. In the median window a task's own text is better than C4 for {better} of {tasks} tasks;
but three tasks lose windows by their own text (KL above 1 nat a token), and C4 loses none. In the one that was
looked into, of GSM8K, the first token is a blank line, and its state is no attention sink any more; most windows
that text of one task loses, of any task, begin with a line break. With as much of C4 beside it (three tasks, asked
after this was seen) no window is lost, and the median window is better than by either alone."""
STEPS_WORDS = """\
GSM8K's questions with their answers alone and with the worked steps, and e-SNLI's pairs with their labels alone and
with the explanations, in sequences full of pairs (Wanda at 50 %, four draws of 32 x 256 tokens, 8,192 tokens of each
text judged after `<|im_start|>`, [page](../results/steps_half_billion.html))."""
