"""A study that never was: 4 sources and a control × 2 methods × 2 patterns × 3 draws, judged by 3 evaluations."""

import math
import random

from calprune.evaluation.metric import METRICS
from calprune.studies.axes import AXES, Setting
from calprune.studies.results import Failure, LikenessRow, Result, Results

SOURCES = ("c4", "gsm8k:icl", "wikitext2", "slimpajama")
EVALUATIONS = (("perplexity(wikitext2)", "perplexity", "general"), ("kl(gsm8k)", "kl", "mathematics"),
               ("boolq(examples=200)", "accuracy", "knowledge"))  # fmt: skip
WORSE = {"c4": 0.0, "gsm8k:icl": 0.12, "wikitext2": 0.05, "slimpajama": 0.02, "random_tokens": 0.5}  # nats a token


def setting_of(**axes) -> Setting:
    """The demo model with these values, elsewhere as usual."""
    return Setting({name: axis.usual for name, axis in AXES.items()} | {"model": "demo"}
                   | {name: str(value) for name, value in axes.items()})  # fmt: skip


def made_up(apart: float = 1.0, draws: int = 3, sources: tuple[str, ...] = SOURCES, **options) -> Results:
    """Results in which sources lie `apart` times as far from each other as WORSE says; 0: they are all alike."""
    methods = options.get("methods", ("wanda", "sparsegpt"))
    patterns = options.get("patterns", ("60%", "2:4"))
    amounts = options.get("amounts", (128,))
    stream = random.Random(options.get("seed", 0))
    cells = [
        (s, m, p, n, d)
        for s in (*sources, "random_tokens")
        for m in methods
        for p in patterns
        for n in amounts
        for d in range(draws)
    ]
    rows = [row for cell in cells for row in _rows(cell, apart, stream)]
    rows += [row for p in patterns for row in _rows(("none", "magnitude", p, None, None), 0.0, stream)]
    similarity = tuple(
        LikenessRow(s, "Jaccard of word 3-grams to c4", 1 / (1 + i), True) for i, s in enumerate(sources)
    )
    return Results(
        title="Which data for a <small> model?",
        question="Four sources & two controls: is any of them better than the default?",
        rows=tuple(rows),
        failed=(Failure("f" * 16, "gsm8k:icl wanda 60% draw 2", "RuntimeError: <script>alert(1)</script> 'q' \"p\""),),
        missing=2,
        similarity=similarity,
        about={"trials": 51, "passes that sharing saved": 24, "seconds": 812.5, "versions": ["torch 2.13 calprune 0.1"],
               "commands": ["calprune study run study.yaml --runs runs/made-up"]},
    )  # fmt: skip


def _rows(cell: tuple, apart: float, stream: random.Random) -> list[Result]:
    source, method, pattern, amount, draw = cell
    luck = stream.gauss(0.0, 0.01)
    harm = 0.4 + apart * WORSE.get(source, 0.1) + 0.3 * (method == "magnitude") + 0.2 * (pattern == "2:4")
    harm += 3.0 / (amount or 128) - 0.1 * (method == "sparsegpt") + luck
    trial = "-".join(map(str, cell))
    found = []
    for evaluation, metric, capability in EVALUATIONS:
        difficult = random.Random(evaluation)  # the same items for every trial
        if metric == "accuracy":
            dense_items = tuple(float(difficult.random() < 0.8) for _ in range(200))
            kept = [difficult.random() for _ in range(200)]
            items = tuple(float(d if k > harm / 3 + stream.gauss(0, 0.01) else 1 - d)
                          for d, k in zip(dense_items, kept, strict=True))  # fmt: skip
            value, dense, chance = sum(items) / 200, sum(dense_items) / 200, 0.5
        else:
            dense_items = tuple(difficult.gauss(2.3, 0.3) if metric == "perplexity" else 0.0 for _ in range(40))
            items = tuple(d + harm * (1 + 0.05 * stream.gauss(0, 1)) for d in dense_items)
            mean = math.fsum(items) / 40
            value, chance = (math.exp(mean) if metric == "perplexity" else mean), None
            dense = math.exp(math.fsum(dense_items) / 40) if metric == "perplexity" else 0.0
        found.append(Result(
            trial=trial, axes=setting_of(calibration=source, method=method, pattern=pattern, num_samples=amount or ""),
            tokens=None if amount is None else amount * 256, draw=draw,
            evaluation=evaluation, measures=METRICS[metric], capability=capability, value=value, items=items,
            dense=dense, dense_items=dense_items, chance=chance,
        ))  # fmt: skip
    return found
