"""What zeros and fewer blocks, neurons and heads are worth in speed, for the demo model.

    python benchmarks/speed.py --out DIR

As `calprune speed demo MODEL...` says it: prefill and decoding in transformers on this machine, in turns.
Which parts go decides what the model can do, and not how fast it is, so methods without data take them.
Results: benchmarks/speed.json, which docs/deploy.md and docs/pictures/frontier.svg show.
"""

import argparse
import json
from pathlib import Path

import calprune

PATTERNS = (
    "50%",
    "2:4",
    "heads:1",
    "neurons:12.5%",
    "neurons:25%",
    "neurons:37.5%",
    "blocks:4",
    "blocks:8",
    "blocks:11",
)


def main() -> None:
    """Make the models and time all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    folders = {pattern: given.out / pattern.replace(":", "-").replace("%", "") for pattern in PATTERNS}
    for pattern, folder in folders.items():
        if not folder.exists():
            method = "random" if pattern.startswith("blocks") else "magnitude"
            calprune.prune("demo", method=method, pattern=pattern).save(folder)
    report = calprune.speed(["demo", *folders.values()], rounds=given.rounds, device="cpu", progress=True)
    record = report.record()
    for model, pattern in zip(record["models"], ("dense", *PATTERNS), strict=True):
        model["name"] = pattern  # not where it lay
    del record["answer"]
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
