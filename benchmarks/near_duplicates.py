"""Near-duplicate removal: documents a second and memory, calprune's filter beside datasketch.

    python benchmarks/near_duplicates.py [--documents 200000] [--peer-documents 200000]

Documents are drawn from a seeded word model (Zipf's law over 50,000 invented words), a tenth of them copies with a few
words changed. Each side runs in a process of its own and does the whole work, from text to the list of what is kept:
5-word n-grams (cut by the same code, timed alone too), 128 permutations, threshold 0.8. Memory is what the process
grew by while it ran, at its peak.
Writes benchmarks/near_duplicates.md.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path

WORDS, VOCABULARY, COPIES, CHANGED = 100, 50_000, 0.1, 3
THRESHOLD, PERMUTATIONS, NGRAM = 0.8, 128, 5


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
    from calprune.calibration.document import Document
    from calprune.calibration.encode import batches
    from calprune.calibration.judge import Opening
    from calprune.calibration.near_duplicates import NearDuplicates

    judge = NearDuplicates(THRESHOLD, NGRAM, PERMUTATIONS).open(Opening())
    kept = 0
    for batch in batches(Document(text, "") for text in texts):
        kept += sum(not reason for reason in judge(batch))
    return kept


def peer(texts: list[str]) -> int:
    """As datasketch's documentation does it: update_batch, query, insert what is new. The n-grams are cut by our code,
    so that what is compared is the MinHash and its index."""
    from datasketch import MinHash, MinHashLSH

    from calprune.calibration.near_duplicates import shingles

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    empty, kept = MinHash(num_perm=PERMUTATIONS), 0
    for number, text in enumerate(texts):
        one = empty.copy()
        one.update_batch(shingles(text, NGRAM))
        if not index.query(one):
            index.insert(number, one, check_duplication=False)
            kept += 1
    return kept


def cut(texts: list[str]) -> int:
    """The part that both sides share."""
    from calprune.calibration.near_duplicates import shingles

    for text in texts:
        shingles(text, NGRAM)
    return len(texts)


SIDES = {"calprune": ours, "datasketch": peer, "n-grams alone": cut}


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


def table(rows: list[dict], load: float) -> str:
    own, other, _ = rows
    ratio = (own["documents"] / own["cpu_seconds"]) / (other["documents"] / other["cpu_seconds"])
    wall = (own["documents"] / own["seconds"]) / (other["documents"] / other["seconds"])
    lines = [
        "# Near-duplicate removal",
        "",
        f"`python benchmarks/near_duplicates.py`, {os.cpu_count()} cores, load average {load:.1f} at the start, one "
        f"process after the other. Documents of {WORDS // 2} to {WORDS * 3 // 2} words of a seeded word model, a tenth "
        f"of them copies with up to {CHANGED} words changed; {NGRAM}-word n-grams, {PERMUTATIONS} permutations, "
        f"threshold {THRESHOLD}; from text to what is kept. Both sides cut n-grams by the same code.",
        "",
        "| | documents | kept | documents/s | documents per CPU second | memory grown, MB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {row['side']} | {row['documents']:,} | {row['kept']:,} | {row['documents'] / row['seconds']:,.0f} | "
              f"{row['documents'] / row['cpu_seconds']:,.0f} | {row['grown_mb']:,.0f} |" for row in rows]  # fmt: skip
    verdict = "met" if ratio >= 5 else "missed"
    lines += ["", f"calprune / datasketch: {ratio:.1f} times the documents per CPU second, {wall:.1f} times per second "
                  f"of the clock (goal: at least 5, {verdict})."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--peer-documents", type=int, default=200_000)
    parser.add_argument("--side", choices=list(SIDES))
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.documents)))
        return
    load = os.getloadavg()[0]
    rows = []
    counts = given.documents, given.peer_documents, given.documents
    for side, count in zip(SIDES, counts, strict=True):
        command = [sys.executable, __file__, "--side", side, "--documents", str(count)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    text = table(rows, load)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
