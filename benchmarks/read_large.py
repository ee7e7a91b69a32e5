"""Build a calibration set from one large .jsonl.gz: megabytes a second and peak memory, beside plain gzip and json.

    python benchmarks/read_large.py                    # a file of 2 GB, compressed (about 5.5 GB of JSON)
    python benchmarks/read_large.py --gigabytes 0.2    # the same, smaller

The file is made first: invented text with the word frequencies of a language, one document a line. It repeats itself
every 64 MB, which neither reader can make use of. Both readings go over the same file, each in a process of its own,
taking turns, and the median counts. Plain reading is `for line in gzip.open(path): json.loads(line)`.
"""

import argparse
import gzip
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = 64_000_000  # bytes of JSON that are compressed once and then repeated, each time as a gzip member


def make_file(path: Path, size: int) -> int:
    """Write a .jsonl.gz of about `size` bytes; the bytes of JSON in it."""
    stream = random.Random(0)
    letters = "etaoinshrdlcumwfgypbvk"
    words = ["".join(stream.choices(letters, k=stream.randint(1, 9))) for _ in range(30_000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    lines, held = [], 0
    while held < BLOCK:
        text = " ".join(stream.choices(words, weights, k=min(int(stream.lognormvariate(5.5, 1)) + 5, 20_000)))
        lines.append(json.dumps({"text": text, "url": f"https://example.org/{len(lines)}"}) + "\n")
        held += len(lines[-1])
    raw = "".join(lines).encode()
    member = gzip.compress(raw, 6)
    times = max(1, round(size / len(member)))
    with path.open("wb") as out:
        for _ in range(times):
            out.write(member)
    return len(raw) * times


def plain(path: Path) -> None:
    """What reading costs at least in plain Python."""
    count = 0
    with gzip.open(path) as stream:
        for line in stream:
            count += len(json.loads(line)["text"])


def ours(path: Path) -> None:
    """What `calprune calib build` does: every document is considered, 128 sequences of 2048 tokens are drawn."""
    from calprune.calibration.recipe import build, parse_spec
    from calprune.models import load_tokenizer

    built = build(parse_spec(str(path)), load_tokenizer("demo"))
    print(built.id, built.counts, file=sys.stderr)


def measure(how: str, path: Path) -> tuple[float, float]:
    """Seconds of a whole process, imports included, and its peak memory in MB."""
    command = [sys.executable, __file__, "--how", how, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--how", help=argparse.SUPPRESS)
    parser.add_argument("path", nargs="?", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.how:
        started = time.perf_counter()
        {"plain": plain, "ours": ours}[given.how](Path(given.path))
        seconds = time.perf_counter() - started
        status = Path("/proc/self/status").read_text().splitlines()
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
        print(json.dumps([seconds, int(peak) / 1000]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl.gz"
        size = make_file(path, int(given.gigabytes * 1e9))
        found = [(measure("plain", path), measure("ours", path)) for _ in range(given.times)]
        rates = [[size / 1e6 / run[i][0] for run in found] for i in (0, 1)]
        peaks = [max(run[i][1] for run in found) for i in (0, 1)]
        theirs, own = map(statistics.median, rates)
        print(f"{path.stat().st_size / 1e9:.2f} GB .jsonl.gz, {size / 1e9:.2f} GB of JSON; {platform.machine()}, "
              f"Python {platform.python_version()}, median of {given.times}")  # fmt: skip
        print(f"plain gzip and json  {theirs:6.1f} MB/s  peak {peaks[0]:5.0f} MB")
        print(f"calprune calib build {own:6.1f} MB/s  peak {peaks[1]:5.0f} MB  ratio {own / theirs:.2f} (at least 0.6)")


if __name__ == "__main__":
    main()
