"""Near-duplicate removal: documents a second and memory, calprune's filter beside datasketch.

    python benchmarks/near_duplicates.py [--documents 200000] [--times 3]

Documents are drawn from a seeded word model (Zipf's law over 50,000 invented words), a tenth of them copies with a few
words changed. Each side does the whole work, from text to the list of what is kept: words in lower case, 5-word
n-grams, 128 permutations, threshold 0.8. The sides take turns, each time in a process of its own; the median of each
figure counts. Memory is what the process grew by while it ran, at its peak.
Writes benchmarks/near_duplicates.md.
"""

import argparse
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path

WORDS, VOCABULARY, COPIES, CHANGED = 100, 50_000, 0.1, 3
THRESHOLD, PERMUTATIONS, NGRAM = 0.8, 128, 5
FIGURES = ("kept", "seconds", "cpu_seconds", "grown_mb")


def documents(count: int) -> list[str]:
    """`count` texts of about WORDS words; a tenth are earlier ones with up to CHANGED words replaced."""
    stream = random.Random(0)
    vocabulary = ["".join(stream.choices("abcdefghijklmnoprstuvw", k=stream.randint(2, 10))) for _ in range(VOCABULARY)]
    weights = list(accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))
    made: list[str] = []
    for _ in range(count):
        if made and stream.random() < COPIES:
            words = made[stream.randrange(len(made))].split(" ")
            for _ in range(stream.randint(0, CHANGED)):
                words[stream.randrange(len(words))] = stream.choice(vocabulary)
        else:
            words = stream.choices(vocabulary, cum_weights=weights, k=stream.randint(WORDS // 2, WORDS * 3 // 2))
        made.append(" ".join(words))
    return made


def ours(texts: list[str]) -> int:
    from calprune.text.document import Document, Given
    from calprune.text.encode import batches
    from calprune.text.filters.duplicates import NearDuplicates

    judge = NearDuplicates(THRESHOLD, NGRAM, PERMUTATIONS).open(Given())
    kept = 0
    for batch in batches(Document(text, "") for text in texts):
        kept += sum(not reason for reason in judge(batch))
    return kept


def peer(texts: list[str]) -> int:
    """As datasketch's documentation does it: n-grams as bytes, MinHash.generator (what MinHash.bulk makes its list of)
    with the default permutations, query, insert what is new. The n-grams are cut in plain Python, at once as joined
    words."""
    from datasketch import MinHash, MinHashLSH

    word = re.compile(r"\w+")

    def grams(text: str) -> list[bytes]:
        words = word.findall(text.lower())
        return [" ".join(words[i : i + NGRAM]).encode() for i in range(max(len(words) - NGRAM + 1, 1))]

    index, kept = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), 0
    for number, one in enumerate(MinHash.generator(map(grams, texts), num_perm=PERMUTATIONS)):
        if not index.query(one):
            index.insert(number, one, check_duplication=False)
            kept += 1
    return kept


SIDES = {"calprune": ours, "datasketch": peer}


def measure(side: str, count: int) -> dict:
    texts = documents(count)
    SIDES[side](texts[:200])  # imports and first-time work
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    kept = SIDES[side](texts)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"side": side, "documents": count, "kept": kept, "seconds": seconds, "cpu_seconds": cpu_seconds,
            "grown_mb": grown / 1024}  # fmt: skip


def table(runs: dict[str, list[dict]], load: float) -> str:
    own, other = ({key: statistics.median(run[key] for run in runs[side]) for key in FIGURES} for side in SIDES)
    first = runs["calprune"][0]
    lines = [
        "# Near-duplicate removal",
        "",
        f"`python benchmarks/near_duplicates.py --documents {first['documents']} --times {len(runs['calprune'])}`, "
        f"{os.cpu_count()} cores, load average {load:.1f} at the start, the sides by turns, medians. Documents of "
        f"{WORDS // 2} to {WORDS * 3 // 2} words of a seeded word model, a tenth of them copies with up to {CHANGED} "
        f"words changed; {NGRAM}-word n-grams, {PERMUTATIONS} permutations, threshold {THRESHOLD}; from text to what "
        f"is kept. datasketch {version('datasketch')} is used as its documentation does: n-grams cut in plain Python, "
        f"`MinHash.generator` (the bulk interface), default permutations; calprune hashes n-grams in NumPy and gives "
        f"them to rensa {version('rensa')}.",
        "",
        "| | documents | kept | documents/s | documents per CPU second | of a core that it had | memory grown, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {side} | {first['documents']:,} | {row['kept']:,.0f} | {first['documents'] / row['seconds']:,.0f} | "
              f"{first['documents'] / row['cpu_seconds']:,.0f} | {row['cpu_seconds'] / row['seconds']:.0%} | "
              f"{row['grown_mb']:,.0f} |"
              for side, row in zip(SIDES, (own, other), strict=True)]  # fmt: skip
    ratio, wall = (other[key] / own[key] for key in ("cpu_seconds", "seconds"))
    lines += ["", f"calprune / datasketch: {ratio:.1f} times the documents per CPU second (goal: at least 5, "
                  f"{'met' if ratio >= 5 else 'missed'}); {wall:.1f} times by the clock, which is a figure of the "
                  "programs only where each had a core."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.documents)))
        return
    load = os.getloadavg()[0]
    runs: dict[str, list[dict]] = {side: [] for side in SIDES}
    for _ in range(given.times):
        for side, found in runs.items():
            command = [sys.executable, __file__, "--side", side, "--documents", str(given.documents)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(json.loads(done.stdout))
            print(found[-1], file=sys.stderr, flush=True)
    text = table(runs, load)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
