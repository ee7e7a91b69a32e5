"""What zeros, fewer blocks and fewer neurons are worth in speed, for the demo model.

    python benchmarks/speed.py --out DIR

As `calprune speed demo zeros blocks neurons` says it: prefill and decoding in transformers on this machine, in turns.
Which blocks and neurons go decides what the model can do, and not how fast it is, so methods without data take them.
Results: benchmarks/speed.json, which docs/deploy.md shows.
"""

import argparse
import json
from pathlib import Path

import calprune

MADE = {"zeros": ("2:4", "magnitude"), "blocks": ("blocks:8", "random"), "neurons": ("neurons:25%", "magnitude")}


def main() -> None:
    """Make the models and time all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    for name, (pattern, method) in MADE.items():
        if not (given.out / name).exists():
            calprune.prune("demo", method=method, pattern=pattern).save(given.out / name)
    models = ["demo", *(given.out / name for name in MADE)]
    report = calprune.speed(models, rounds=given.rounds, device="cpu", progress=True)
    record = report.record()
    for model in record["models"]:
        model["name"] = Path(model["name"]).name  # not where it lay
    del record["answer"]
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
