"""What zeros and what fewer blocks are worth in speed: the demo model, half of its weights zero, and a quarter shorter.

    python benchmarks/speed.py --out DIR

As `calprune speed demo zeros shorter` says it: prefill and decoding in transformers on this machine, in turns. `zeros`
is pruned to 2:4 by magnitude. `shorter` is the demo model without its blocks 20 to 27 of 30: which ones go decides what
it can do, and not how fast it is. Results: benchmarks/speed.json, which docs/deploy.md shows.
"""

import argparse
import json
from pathlib import Path

import calprune

GONE = range(20, 28)


def main() -> None:
    """Make the two models and time all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    zeros, shorter = given.out / "zeros", given.out / "shorter"
    if not zeros.exists():
        calprune.prune("demo", method="magnitude", pattern="2:4").save(zeros)
    if not shorter.exists():
        demo = calprune.load("demo")
        blocks = demo.model.model.layers
        demo.model.model.layers = type(blocks)(block for i, block in enumerate(blocks) if i not in GONE)
        demo.model.config.num_hidden_layers = len(demo.model.model.layers)
        demo.model.save_pretrained(shorter)
        demo.tokenizer.save_pretrained(shorter)
    report = calprune.speed(["demo", zeros, shorter], rounds=given.rounds, device="cpu", progress=True)
    record = report.record()
    for model in record["models"]:
        model["name"] = Path(model["name"]).name  # not where it lay
    del record["answer"]
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
