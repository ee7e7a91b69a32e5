"""MinHash of streamed corpora: documents a second and memory, calprune's signature beside datasketch's.

    python benchmarks/similarity.py [--documents 1000000] [--peer-documents 10000]

Two corpora of a seeded word model (Zipf's law over 100,000 invented words) are made batch by batch and never held: the
documents go to the one and the other in turn. Each side runs in a process of its own and does the whole work, from text
to two signatures of 128 permutations over word 3-grams; only that is timed, not the making. Memory is the process's
peak, imports and making included. Writes benchmarks/similarity.md.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

WORDS, VOCABULARY, BATCH = 100, 100_000, 64
NGRAM, PERMUTATIONS = 3, 128


def corpus(count: int) -> Iterator[list[str]]:
    """Batches of `count` texts of WORDS / 2 to WORDS * 3 / 2 words."""
    stream = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnoprstuvw"))
    vocabulary = ["".join(word) for word in stream.choice(letters, (VOCABULARY, 6))]
    share = np.cumsum(1 / np.arange(4, VOCABULARY + 4))
    for first in range(0, count, BATCH):
        lengths = stream.integers(WORDS // 2, WORDS * 3 // 2, min(BATCH, count - first))
        ranks = np.searchsorted(share, stream.random(lengths.sum()) * share[-1]).tolist()
        drawn = list(map(vocabulary.__getitem__, ranks))
        ends = np.cumsum(lengths).tolist()
        yield [" ".join(drawn[a:b]) for a, b in zip([0, *ends], ends, strict=False)]


class Ours:
    def __init__(self) -> None:
        from calprune.likeness.overlap import Signature

        self.made = [Signature(NGRAM, PERMUTATIONS) for _ in range(2)]

    def add(self, which: int, texts: list[str]) -> None:
        self.made[which].add(texts)


class Peer:
    """As datasketch's documentation does it: update_batch with the n-grams of a document."""

    def __init__(self) -> None:
        from datasketch import MinHash

        self.made = [MinHash(num_perm=PERMUTATIONS) for _ in range(2)]

    def add(self, which: int, texts: list[str]) -> None:
        for text in texts:
            words = text.lower().split()
            grams = zip(*(words[i:] for i in range(NGRAM)), strict=False)
            self.made[which].update_batch([" ".join(gram).encode() for gram in grams])


SIDES: dict[str, Any] = {"calprune": Ours, "datasketch": Peer}


def measure(side: str, count: int) -> dict[str, Any]:
    made = SIDES[side]()
    made.add(0, ["imports and first time work " * 4])
    made = SIDES[side]()
    seconds = cpu_seconds = 0.0
    for number, texts in enumerate(corpus(count)):
        started, cpu = time.perf_counter(), time.process_time()
        made.add(number % 2, texts)
        seconds += time.perf_counter() - started
        cpu_seconds += time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"side": side, "documents": count, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak}


def table(rows: list[dict[str, Any]], load: float) -> str:
    own, other = rows
    by_cpu, by_clock = ((own["documents"] / own[unit]) / (other["documents"] / other[unit])
                        for unit in ("cpu_seconds", "seconds"))  # fmt: skip
    command = f"python benchmarks/similarity.py --documents {own['documents']} --peer-documents {other['documents']}"
    lines = [
        "# MinHash of streamed corpora",
        "",
        f"`{command}`, {os.cpu_count()} cores, load average {load:.1f} at the start, one process after the other. "
        f"Documents of {WORDS // 2} to {WORDS * 3 // 2} words of a seeded word model, to two corpora in turn; word "
        f"{NGRAM}-grams, {PERMUTATIONS} permutations; from text to two signatures, the making of documents not timed.",
        "",
        "| | documents | documents/s | documents per CPU second | peak memory of the process, MB |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {row['side']} | {row['documents']:,} | {row['documents'] / row['seconds']:,.0f} | "
              f"{row['documents'] / row['cpu_seconds']:,.0f} | {row['peak_mb']:,.0f} |"
              for row in rows]  # fmt: skip
    verdict = "met" if own["peak_mb"] < 2000 and own["documents"] >= 1_000_000 else "not shown by this run"
    lines += ["", f"calprune / datasketch: {by_cpu:.1f} times the documents per CPU second, {by_clock:.1f} times per "
                  f"second of the clock. Goal, one million documents within 2 GB: {verdict}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--peer-documents", type=int, default=10_000)
    parser.add_argument("--side", choices=list(SIDES))
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.documents)))
        return
    load = os.getloadavg()[0]
    rows = []
    for side, count in zip(SIDES, (given.documents, given.peer_documents), strict=True):
        command = [sys.executable, __file__, "--side", side, "--documents", str(count)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    text = table(rows, load)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
