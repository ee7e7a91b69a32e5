"""The search for a mixture from saved sums, beside collecting anew for each candidate.

    python benchmarks/choose.py [--num-samples 128] [--max-seq-length 2048] [--method wanda] [--candidates 3]
                                [--data-root DATA]

Sources: c4, gsm8k:icl_cot and redpajama_github on the demo model; judged by the layers' relative error on text of
wikitext2, gsm8k and mbpp, as in `calprune choose`. In one process, alternating: a candidate decided from added sums,
and the same candidate as a set that is built, collected by a forward pass and decided. The whole search is timed;
collecting anew for as many candidates is computed from the medians, since it would take hours.
Writes benchmarks/choose.md.
"""

import argparse
import datetime
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from prune import processor

from calprune.calibration.build import make_set
from calprune.calibration.part import open_source
from calprune.choosing.job import spec_of
from calprune.choosing.mixture import exponentiated_gradient, largest, rounded, weighted_mean
from calprune.choosing.search import spread
from calprune.choosing.transfer import Sums, Transfer, block_names, collected, in_turn
from calprune.evaluation.windows import windows_of
from calprune.layers.saved import Statistics
from calprune.methods import parse_method
from calprune.models.load import load
from calprune.pattern import parse_pattern
from calprune.text.document import Given

SOURCES = ("c4", "gsm8k:icl_cot", "redpajama_github")
TEXTS = {"general": "wikitext2", "mathematics": "gsm8k:icl_cot", "code": "mbpp"}
WINDOW = 256


def main() -> None:
    asked = arguments()
    model, method = load("demo"), parse_method(asked.method)
    sizes = {"num_samples": asked.num_samples, "max_seq_length": asked.max_seq_length, "data_root": asked.data_root}
    with tempfile.TemporaryDirectory() as folder:
        held = {name: collected(Path(folder) / name, model, in_turn(read(model, text, asked.data_root))[1], "gram")
                for name, text in TEXTS.items()}  # fmt: skip
        started = time.perf_counter()
        found = {}
        for source in SOURCES:
            given = make_set(source, model.tokenizer, **sizes)
            found[source] = collected(Path(folder) / source, model, given, method.needs)
        collecting = time.perf_counter() - started
        transfer = Transfer(model, method, parse_pattern(asked.pattern), Sums(found), Sums(held))
        blocks = block_names(model)
        few = spread(blocks)
        searching, looked = timed_search(transfer, few)
        from_sums, anew = alternating(asked, transfer, few, model, sizes)
    write(asked, len(few), collecting, searching, looked, from_sums, anew)


def timed_search(transfer: Transfer, blocks: list[str]) -> tuple[float, int]:
    """Seconds of both searches, and how many mixtures they looked at."""
    started, weights = time.perf_counter(), dict.fromkeys(TEXTS, 1 / len(TEXTS))
    least = transfer.loss({SOURCES[0]: 1.0}, blocks)
    seen: dict[tuple, dict[str, float]] = {}

    def regret(shares):
        key = tuple(sorted(shares.items()))
        if key not in seen:
            seen[key] = {t: value / least[t] - 1 for t, value in transfer.loss(shares, blocks).items()}
        return seen[key]

    for objective in (weighted_mean(weights), largest(weights)):
        for _ in exponentiated_gradient(SOURCES, regret, objective):
            pass
    return time.perf_counter() - started, len(seen)


def alternating(asked, transfer: Transfer, blocks: list[str], model, sizes) -> tuple[list[float], list[float]]:
    """Seconds of candidates from sums, and of the same candidates collected anew."""
    from_sums, anew = [], []
    for i in range(asked.candidates):
        shares = rounded(dict(zip(SOURCES, (0.2 + 0.1 * i, 0.3, 0.5 - 0.1 * i), strict=True)))
        started = time.perf_counter()
        transfer.loss(shares, blocks)
        from_sums.append(time.perf_counter() - started)
        started = time.perf_counter()
        given = make_set(spec_of(shares), model.tokenizer, **sizes)
        sums = Sums({"mixture": Statistics.collect(model.model, given, transfer.method.needs)})
        transfer.loss({"mixture": 1.0}, blocks, sums)
        anew.append(time.perf_counter() - started)
        print(f"candidate {i}: {from_sums[-1]:.2f} s from sums, {anew[-1]:.2f} s anew", file=sys.stderr, flush=True)
    return from_sums, anew


def write(asked, blocks: int, collecting: float, searching: float, looked: int, from_sums, anew) -> None:
    one, other = statistics.median(from_sums), statistics.median(anew)
    total, otherwise = collecting + searching, looked * other
    words = " ".join(["benchmarks/choose.py", *(w for w in sys.argv[1:] if "/" not in w and w != "--data-root")])
    lines = [
        "# The search for a mixture",
        "",
        f"`python {words}`, {datetime.date.today()}; {processor()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}.",
        "",
        f"Three sources of {asked.num_samples} x {asked.max_seq_length} tokens, {asked.method} {asked.pattern}, three "
        f"capabilities, {blocks} blocks of the demo model looked at; {looked} mixtures.",
        "",
        "| | from sums | collecting anew | ratio |",
        "|---|---:|---:|---:|",
        f"| one candidate, seconds (median of {len(anew)}) | {one:.2f} | {other:.1f} | {other / one:.1f} |",
        f"| forward passes over a set | {len(SOURCES)} | {looked} | {looked / len(SOURCES):.1f} |",
        f"| the whole search, seconds | {total:.0f} ({collecting:.0f} to collect) | {otherwise:.0f} (computed) | "
        f"{otherwise / total:.1f} |",
        "",
    ]  # fmt: skip
    Path(__file__).with_suffix(".md").write_text("\n".join(lines))
    print("\n".join(lines))


def read(model, text: str, data_root):
    documents = open_source(text, Given(tokenizer=model.tokenizer, data_root=data_root), "evaluation").documents()
    return windows_of(documents, model.tokenizer, WINDOW, 8192)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-samples", type=int, default=128)
    parser.add_argument("--max-seq-length", type=int, default=2048)
    parser.add_argument("--method", default="wanda")
    parser.add_argument("--pattern", default="60%")
    parser.add_argument("--candidates", type=int, default=3)
    root = os.environ.get("CALPRUNE_DATA")
    parser.add_argument("--data-root", type=Path, default=Path(root) if root else None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
