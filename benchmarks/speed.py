"""What zeros and fewer blocks, neurons and heads are worth in speed.

    python benchmarks/speed.py --out DIR                                        the demo model: speed.json
    python benchmarks/speed.py --out DIR --model FOLDER --record half_billion   another: speed_half_billion.json

As `calprune speed MODEL...` says it: prefill and decoding in transformers on this machine, in turns.
Which parts go decides what the model can do, and not how fast it is, so methods without data take them.
docs/deploy.md and docs/pictures/frontier*.svg show the results.
"""

import argparse
import json
from pathlib import Path

import calprune

PATTERNS = ("50%", "2:4", "heads:1", "neurons:12.5%", "neurons:25%", "neurons:37.5%")
BLOCKS = {
    "": ("blocks:4", "blocks:8", "blocks:11"),
    "half_billion": ("blocks:3", "blocks:6", "blocks:9"),
}  # of 30, of 24


def main() -> None:
    """Make the models and time all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--model", default="demo")
    parser.add_argument(
        "--record", choices=list(BLOCKS), default="", help="which model of studies/structured*.yaml it is"
    )
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    patterns = PATTERNS + BLOCKS[given.record]
    folders = {pattern: given.out / pattern.replace(":", "-").replace("%", "") for pattern in patterns}
    for pattern, folder in folders.items():
        if not folder.exists():
            method = "random" if pattern.startswith("blocks") else "magnitude"
            calprune.prune(given.model, method=method, pattern=pattern).save(folder)
    report = calprune.speed([given.model, *folders.values()], rounds=given.rounds, device="cpu", progress=True)
    record = report.record()
    for model, pattern in zip(record["models"], ("dense", *patterns), strict=True):
        model["name"] = pattern  # not where it lay
    del record["answer"]
    ending = f"_{given.record}" if given.record else ""
    Path(__file__).with_name(f"speed{ending}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
