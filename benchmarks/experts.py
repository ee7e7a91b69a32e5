"""What it costs to collect the sums that experts are chosen by, and to choose by them.

    python benchmarks/experts.py

A random Mixtral-like model, float32, the passes alternating, the least of some rounds each: a walk through the dense
blocks alone, the same walk with the sums of every expert, and every method's choice from sums of 32 blocks of 8
experts whose outputs have 4,096 channels.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import MixtralConfig, MixtralForCausalLM

from calprune.base.patterns import Removal
from calprune.calibration.set import CalibrationSet
from calprune.layers.blocks import walk
from calprune.removal import REMOVALS, methods_for
from calprune.removal.methods.experts import in_groups
from calprune.removal.outputs import ExpertSums, expert_sums
from calprune.removal.smaller import banks


def walked(model, data) -> float:
    """Seconds of a dense pass through the blocks."""
    started = time.perf_counter()
    with torch.no_grad():
        for block in walk(model, data, propagate="dense"):
            block.run()
    return time.perf_counter() - started


def collected(model, data) -> float:
    """Seconds of the same with the sums."""
    started = time.perf_counter()
    with torch.no_grad():
        for _ in expert_sums(model, data, banks(model)):
            pass
    return time.perf_counter() - started


def decided(blocks: int, experts: int, width: int) -> tuple[float, int]:
    """Seconds to choose by every method that reads sums, at every number of experts; and how many choices."""
    numbers, tables = torch.Generator().manual_seed(0), []
    for _ in range(blocks):
        empty = ExpertSums.empty(experts, width, "cpu").tensors()
        tables.append(ExpertSums(**{name: torch.rand(t.shape, generator=numbers) for name, t in empty.items()}))
    methods = [REMOVALS[name]() for name in methods_for(Removal("experts", count=1))]
    methods = [one for one in methods if one.needs == "experts"]
    started, count = time.perf_counter(), 0
    for method in methods:
        for table in tables:
            scores = method(table)
            for stay in range(2, experts):
                in_groups(scores, stay, 1)
                count += 1
    return time.perf_counter() - started, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    config = MixtralConfig(
        hidden_size=args.hidden,
        intermediate_size=7 * args.hidden // 2,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        num_local_experts=8,
        vocab_size=256,
    )
    model = MixtralForCausalLM(config).eval()
    data = CalibrationSet.from_tokens(torch.randint(3, 250, (8, 512)))
    times: dict[str, list[float]] = {"walk": [], "with sums": []}
    for _ in range(args.rounds):
        times["walk"].append(walked(model, data))
        times["with sums"].append(collected(model, data))
    plain, sums = (min(found) for found in times.values())
    seconds, choices = decided(32, 8, 4096)
    found = {"hidden": args.hidden, "rounds": args.rounds, "threads": torch.get_num_threads(), "walk": plain,
             "with_sums": sums, "ratio": sums / plain, "decide_seconds": seconds, "choices": choices}  # fmt: skip
    print(json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
