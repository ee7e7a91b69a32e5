"""Time every method on one block of the demo model, and SparseGPT's solve beside a plain column loop.

    python benchmarks/methods.py [--calibration pydoc_topics] [--pattern 2:4] [--block 10] [--skip sparseswaps]

One thread; processor seconds of the calls alone, the least of three (of one, where a call takes more than a second),
with what linears share (the factor of H) paid in each. What refines a block is timed once, its start and the training
together. Gradients are collected before the clock, and their own time is said. Writes benchmarks/methods.md.
"""

import argparse
import datetime
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calprune.calibration.build import make_set
from calprune.layers.blocks import Block, walk
from calprune.layers.gradients import loss_gradients, output_gradients
from calprune.layers.inputs import InputStats, relative_error
from calprune.layers.products import matmul
from calprune.methods import METHODS, parse_method
from calprune.methods.contract import Method
from calprune.methods.kernels.solve import compiled
from calprune.methods.sparsegpt import SparseGPT
from calprune.models.load import load
from calprune.pattern import Pattern, Unstructured, parse_pattern
from calprune.refine.windows import targets_of

HERE = Path(__file__).parent
GOAL = 5  # times faster than a column loop
SHAPES = [(192, 576), (576, 576), (1536, 576), (576, 1536), (1024, 4096)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calibration", default="pydoc_topics")
    parser.add_argument("--pattern", default="2:4")
    parser.add_argument("--block", type=int, default=10)
    parser.add_argument("--skip", nargs="*", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = [*methods_table(asked), "", *solve_table()]
    (HERE / "methods.md").write_text("\n".join(lines) + "\n")


def methods_table(asked: argparse.Namespace) -> list[str]:
    """Each method on the seven linears of one block."""
    pattern = parse_pattern(asked.pattern)
    root = os.environ.get("CALPRUNE_DATA")
    SparseGPT()(torch.randn(4, 8), stats_of_noise(), parse_pattern("2:4"))  # compiled before the clock
    block, stats, gradients = block_of(asked.calibration, asked.block, Path(root) if root else None)
    times = {}
    for label, method, wanted in examples(pattern, asked.skip):
        times[label] = run(method, block, stats, wanted)
        print(label, times[label], file=sys.stderr, flush=True)
    wanda = times["wanda"][0]
    rows = [f"| {n} | {t:.3f} | {t / wanda:.1f} | {e:.4f} |" for n, (t, e) in sorted(times.items(), key=lambda i: i[1])]
    return [
        "# Every method's time",
        "",
        f"`python {' '.join(['benchmarks/methods.py', *sys.argv[1:]])}`, {datetime.date.today()}; {processor()}, "
        f"one thread, torch {torch.__version__}; numba {'used' if compiled('cpu') else 'not installed'}.",
        "",
        f"Block {asked.block} of the demo model, its {len(stats)} linears, {asked.pattern}, 16 x 256 tokens of "
        f"{asked.calibration}. Error: the mean over linears of ‖(W-Ŵ)X‖²/‖WX‖² on the same tokens.",
        f"Gradients, before the clock: {gradients[0]:.1f} s for those of the loss, of the whole model, once; "
        f"{gradients[1]:.1f} s a block for those of its output.",
        f"Left out: {', '.join(asked.skip) or 'nothing'}.",
        "",
        "| method | processor seconds a block | times Wanda's | error |",
        "|-|-|-|-|",
        *rows,
    ]


def stats_of_noise(width: int = 8) -> InputStats:
    stats = InputStats(width, "gram")
    stats.observe(torch.randn(4 * width, width))
    return stats


def examples(pattern: Pattern, skip: list[str]) -> Iterator[tuple[str, Method, Pattern]]:
    """Every method but those, with its label and the pattern that it takes in place of this one."""
    for name in METHODS:
        if name not in skip:
            method = example(name)
            wanted = pattern_for(method, pattern)
            yield name if wanted == pattern else f"{name} at {wanted}", method, wanted


def example(name: str) -> Method:
    """The method with its defaults; one that has to have a start gets Wanda."""
    return parse_method(f"{name}(start=wanda)" if getattr(METHODS[name], "start", ...) is None else name)


def pattern_for(method: Method, pattern: Pattern) -> Pattern:
    """The pattern, or what the method takes in its place: as many without n:m, or none to zero."""
    if not getattr(method, "prunes", True):
        return Unstructured(0)
    return pattern if getattr(method, "exact_count", True) else Unstructured(pattern.sparsity)


def block_of(
    spec: str, number: int, data_root: Path | None
) -> tuple[Block, dict[str, InputStats], tuple[float, float]]:
    """The block, its inputs' sums with both kinds of gradients, and the processor seconds that each kind took."""
    demo = load("demo")
    data = make_set(spec, demo.tokenizer, data_root=data_root, num_samples=16, max_seq_length=256)
    of_model, loss = timed(lambda: loss_gradients(demo.model, data))
    with torch.no_grad():
        for i, block in enumerate(walk(demo.model, data, propagate="dense", batch_size=8)):
            if i == number:
                of_block, output = timed(lambda: output_gradients(block))  # noqa: B023
                reached = [batch.hidden for batch in block.batches]
                stats = block.collect("gram")
                for batch, hidden in zip(block.batches, reached, strict=True):
                    batch.hidden = hidden  # what a refinement trains on
                found = {
                    name: sums.of_linear({"loss": loss[f"{block.name}.{name}"], "output": output[name]})
                    for name, sums in stats.items()
                }
                return block, found, (of_model, of_block)
    raise SystemExit(f"the model has no block {number}")


def run(method: Method, block: Block, stats: dict[str, InputStats], pattern: Pattern) -> tuple[float, float]:
    """Processor seconds for all linears of the block, and their mean error. The block is left as it was."""
    dense = {site.name: site.weight.float().clone() for site in block.linears()}
    targets = targets_of(block, getattr(method, "windows", "block"))
    spent = 0.0
    for site in block.linears():
        sums = (1.0 * stats[site.name]).of_linear(stats[site.name].gradients)  # a copy that holds no factor yet
        seconds, pruned = least(lambda: method(dense[site.name], sums, pattern))  # noqa: B023
        site.write(pruned)
        spent += seconds
    if hasattr(method, "refine"):
        keep = {site.name: site.weight != 0 for site in block.linears()}
        spent += timed(lambda: method.refine(block, targets, keep))[0]
    errors = [relative_error(dense[site.name], site.weight, stats[site.name]) for site in block.linears()]
    for site in block.linears():
        site.write(dense[site.name])
    return spent, sum(errors) / len(errors)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    found = call()
    return time.process_time() - started, found


def least(call, times: int = 3) -> tuple[float, Any]:
    best = float("inf")
    for _ in range(times):
        started = time.process_time()
        found = call()
        best = min(best, time.process_time() - started)
        if best > 1:
            break
    return best, found


def solve_table() -> list[str]:
    """SparseGPT alone, the factor of H made beforehand, beside Algorithm 1 as a loop over columns in torch, float32."""
    rows, short = [], []
    for out, width in SHAPES:
        numbers = torch.Generator().manual_seed(0)
        mixing = torch.randn(width, width, generator=numbers) * torch.logspace(-1, 1, width) / 30
        stats = InputStats(width, "gram")
        stats.observe(torch.randn(width, width, generator=numbers) @ mixing)
        stats.factor(0.01)
        weight = torch.randn(out, width, generator=numbers)
        for text in ("50%", "2:4"):
            pattern = parse_pattern(text)
            SparseGPT()(weight[:1], stats, pattern)
            loop, expected = least(lambda: column_loop(weight, stats, text))  # noqa: B023
            ours, found = least(lambda: SparseGPT()(weight, stats, pattern))  # noqa: B023
            same = ((found == 0) == (expected == 0)).double().mean().item()
            rows.append(f"| {out} x {width} | {text} | {loop * 1e3:.0f} | {ours * 1e3:.0f} | {loop / ours:.1f} "
                        f"| {same:.4%} |")  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
            short += [f"{out} x {width} at {text}"] if loop < GOAL * ours else []
    return [
        "# SparseGPT's solve beside a plain column loop",
        "",
        "Random weights and correlated inputs, processor milliseconds on one thread, the factor of H made beforehand.",
        f"The goal was {GOAL} times; missed at {', '.join(short) or 'none'}. On a GPU: gpu.md.",
        "The products that update the columns to the right of each block, as the loop does, take "
        f"{products(*SHAPES[-1]):.0f} ms at {SHAPES[-1][0]} x {SHAPES[-1][1]} by themselves.",
        "",
        "| rows x columns | pattern | column loop, ms | calprune, ms | times faster | same fate |",
        "|-|-|-|-|-|-|",
        *rows,
    ]


def products(out: int, width: int, step: int = 128) -> float:
    """Processor milliseconds of the updates of all columns right of each block, by the faster product."""
    U, E = torch.randn(width, width), torch.randn(step, out)
    every = [U[first : first + step, first + step :].T for first in range(0, width - step, step)]
    return least(lambda: [matmul(part, E) for part in every])[0] * 1e3


def column_loop(weight: Tensor, stats: InputStats, pattern: str) -> Tensor:
    """Algorithm 1, a column at a time; blocks of 128 columns, the threshold by a sort."""
    factor = stats.factor(0.01)
    U, W = factor.upper, weight.clone()
    d = U.diagonal()
    for first in range(0, W.shape[1], 128):
        last = min(first + 128, W.shape[1])
        block, errors = W[:, first:last].clone(), W.new_zeros(len(W), last - first)
        score = (block / d[first:last]).square()
        gone = score <= score.flatten().sort().values[score.numel() // 2 - 1]
        for j in range(last - first):
            if pattern == "2:4" and j % 4 == 0:
                score = (block[:, j : j + 4] / d[first + j : first + j + 4]).square()
                gone[:, j : j + 4] = torch.zeros_like(score, dtype=torch.bool).scatter_(
                    1, score.topk(2, dim=1, largest=False).indices, True
                )
            error = torch.where(gone[:, j], block[:, j], 0) / d[first + j]
            block[:, j:] -= error[:, None] @ U[None, first + j, first + j : last]
            block[gone[:, j], j] = 0
            errors[:, j] = error
        W[:, first:last] = block
        W[:, last:] -= errors @ U[first:last, last:]
    return W


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
