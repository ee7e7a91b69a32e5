"""Build a calibration set from one large .jsonl.gz: megabytes a second and peak memory, beside plain gzip and json.

    python benchmarks/read_large.py                    # a file of 2 GB, compressed (about 5.5 GB of JSON)
    python benchmarks/read_large.py --gigabytes 0.2    # the same, smaller

The file is made first: invented text with the word frequencies of a language, one document a line. It repeats itself
every 64 MB, which neither reader can make use of. Both readings go over the same file, each in a process of its own,
taking turns, and the median counts. Plain reading is `for line in gzip.open(path): json.loads(line)`. Processor time
is told beside the clock's, for it says more where others use the machine.
Writes benchmarks/read_large.md.
"""

import argparse
import gzip
import json
import os
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
    from calprune.calibration.build import build
    from calprune.calibration.recipe import parse_spec
    from calprune.models.load import load_tokenizer

    built = build(parse_spec(str(path)), load_tokenizer("demo"))
    print(built.id, built.counts, file=sys.stderr)


def measure(how: str, path: Path) -> list[float]:
    """Of a whole process, imports included: seconds, processor seconds, peak resident memory in MB."""
    command = [sys.executable, __file__, "--how", how, str(path)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def table(path: Path, size: int, runs: list[dict[str, list[float]]], asked: str) -> str:
    """What was measured, as a page."""
    lines = [
        "# Building a calibration set from one large file",
        "",
        f"`python benchmarks/read_large.py {asked}`: {path.stat().st_size / 1e9:.2f} GB of .jsonl.gz, "
        f"{size / 1e9:.2f} GB of JSON; {os.cpu_count()} cores ({platform.machine()}), load average "
        f"{os.getloadavg()[0]:.1f} at the end, Python {platform.python_version()}, median of {len(runs)}. "
        "128 x 2048 tokens are drawn; imports and loading the tokenizer are counted.",
        "",
        "| | MB/s of JSON | MB per CPU second | of a core that it had | peak resident, MB |",
        "|---|---|---|---|---|",
    ]
    found = {}
    for how, name in (("plain", "plain gzip and json"), ("ours", "calprune calib build")):
        seconds, cpu = (statistics.median(run[how][i] for run in runs) for i in (0, 1))
        found[how] = size / 1e6 / cpu, size / 1e6 / seconds, max(run[how][2] for run in runs)
        lines.append(
            f"| {name} | {found[how][1]:.1f} | {found[how][0]:.1f} | {cpu / seconds:.0%} | {found[how][2]:.0f} |"
        )
    cpu, wall = (found["ours"][i] / found["plain"][i] for i in (0, 1))
    peak = found["ours"][2]
    lines += ["", f"calprune / plain: {cpu:.2f} of the speed per CPU second (goal: at least 0.6, {_met(cpu >= 0.6)}); "
                  f"{wall:.2f} by the clock, which is a figure of the readers only where each had a core; peak "
                  f"{peak:.0f} MB (goal: at most 500, {_met(peak <= 500)})."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _met(goal: bool) -> str:
    return "met" if goal else "missed"


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
        print(json.dumps([seconds, time.process_time(), int(peak) / 1000]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl.gz"
        size = make_file(path, int(given.gigabytes * 1e9))
        runs = [{how: measure(how, path) for how in ("plain", "ours")} for _ in range(given.times)]
        text = table(path, size, runs, f"--gigabytes {given.gigabytes:g} --times {given.times}")
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
