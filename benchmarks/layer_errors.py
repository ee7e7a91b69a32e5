"""Is a method's fit to its calibration data worth anything elsewhere? Errors of layers, on four kinds of inputs.

    python benchmarks/layer_errors.py --data-root DATA

The demo model, pruned (at 0%: rounded to 4 bits) by the sums of the dense model on 16 x 256 tokens of c4 (draw 0), as
in studies/methods.yaml. The error is ‖(W-Ŵ)X‖² / ‖WX‖², mean over the 21 linears of blocks 5, 10 and 15, where X is
what the dense model gives on

    fit      the tokens that it was pruned by
    other    as many of c4, another draw
    judged   as many of WikiText-2, the first half of what the study judges by
    own      those of `other`, as the blocks before that are pruned alike give them (where it is asked for)

One draw: there are no intervals. Writes benchmarks/layer_errors.md after each case.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from calprune.calibration.build import make_set
from calprune.calibration.part import open_source
from calprune.calibration.set import CalibrationSet
from calprune.choosing.transfer import block_names
from calprune.evaluation.windows import windows_of
from calprune.layers.inputs import InputStats, Needs, relative_error
from calprune.layers.linears import linears
from calprune.layers.saved import BlockStats, Statistics
from calprune.methods import parse_method
from calprune.methods.contract import Method
from calprune.models.load import Model, load
from calprune.pattern import Pattern, parse_pattern
from calprune.text.document import Given

HERE = Path(__file__).parent
JUDGED = (5, 10, 15)
MASK_OF = "mask of "
CASES = {
    "0%": ["gptq", "round_to_nearest"],
    "60%": ["wanda", "sparsegpt", f"{MASK_OF}sparsegpt", "ria"],
    "60%/row": ["ria"],
    "2:4": ["wanda", "sparsegpt", "rose", "dsnot(start=wanda)", "admm", "alps", "sparsegpt(damping=0.1)"],
}
OWN = {("wanda", "60%"), ("sparsegpt", "60%")}
Sums = dict[str, BlockStats]


@dataclass(frozen=True)
class MaskOf:
    """Another method's mask on the dense weights."""

    of: Method
    needs: ClassVar[Needs] = "gram"
    version: ClassVar[int] = 1

    def __call__(self, weight: Tensor, stats: InputStats, pattern: Pattern) -> Tensor:
        return weight * (self.of(weight, stats, pattern) != 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", type=Path, required=True)
    root = parser.parse_args().data_root
    model = load("demo")
    blocks = block_names(model)[: JUDGED[-1] + 1]
    fit, other = (make_set("c4", model.tokenizer, num_samples=16, max_seq_length=256, seed=seed, data_root=root)
                  for seed in (0, 1))  # fmt: skip
    documents = open_source("wikitext2", Given(tokenizer=model.tokenizer, data_root=root), "evaluation").documents()
    judged = CalibrationSet.from_tokens(windows_of(documents, model.tokenizer, 256, 4096))
    texts = {"fit": fit, "other": other, "judged": judged}
    sums = {name: collected(model, text, blocks) for name, text in texts.items()}
    rows = []
    for pattern, methods in CASES.items():
        for written in methods:
            own = other if (written, pattern) in OWN else None
            found = errors(model, blocks, sums, method_of(written), parse_pattern(pattern), own)
            rows.append(f"| {written} | {pattern} | {' | '.join(found)} |")
            print(rows[-1], flush=True)
            write(rows)


def method_of(written: str) -> Method:
    start = parse_method(written.removeprefix(MASK_OF))
    return MaskOf(start) if written.startswith(MASK_OF) else start


def collected(model: Model, text: CalibrationSet, blocks: list[str]) -> Sums:
    """What the model as it is now gives the linears of these first blocks."""
    found: Sums = {}
    for name, stats in Statistics("gram", {}).collecting(model.model, text):
        found[name] = stats
        if name == blocks[-1]:
            break
    return found


@torch.no_grad()
def errors(
    model: Model, blocks: list[str], sums: dict[str, Sums], method: Method, pattern: Pattern, own: CalibrationSet | None
) -> list[str]:
    """The mean error on each kind of inputs, written; the model is as it was afterwards."""
    judged = [blocks[i] for i in JUDGED]
    before: dict[tuple[str, str], Tensor] = {}
    for block in blocks if own else judged:
        for site in linears(model.model.get_submodule(block)):
            before[block, site.name] = site.weight.clone()
            site.write(method(site.weight, sums["fit"][block][site.name], pattern))
    found = dict(sums) | ({"own": collected(model, own, blocks)} if own else {})
    means = {name: _mean(model, judged, before, of) for name, of in found.items()}
    for block in {name for name, _ in before}:
        for site in linears(model.model.get_submodule(block)):
            site.write(before[block, site.name])
    return [f"{means[name]:.4f}" if name in means else "not measured" for name in (*sums, "own")]


def _mean(model: Model, blocks: list[str], before: dict[tuple[str, str], Tensor], sums: Sums) -> float:
    found = [
        relative_error(before[block, site.name], site.weight, sums[block][site.name])
        for block in blocks
        for site in linears(model.model.get_submodule(block))
    ]
    return sum(found) / len(found)


def write(rows: list[str]) -> None:
    heads = ["# Errors of layers, and of what they were not fitted to", "", *(__doc__ or "").splitlines()[2:], ""]
    table = ["| method | pattern | fit | other | judged | own |", "|---|---|---:|---:|---:|---:|", *rows]
    (HERE / "layer_errors.md").write_text("\n".join([*heads, *table]) + "\n")


if __name__ == "__main__":
    main()
