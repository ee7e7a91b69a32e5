"""Time every method on one block of the demo model, and SparseGPT's solve beside a plain column loop.

    python benchmarks/methods.py [--calibration pydoc_topics] [--pattern 2:4] [--block 10] [--skip sparseswaps]

One thread; processor seconds of the calls alone, the least of three (of one, where a call takes more than a second),
with what linears share (the factor of H) paid in each. Writes benchmarks/methods.md.
"""

import argparse
import datetime
import os
import platform
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from calprune.blocks import walk
from calprune.calibration.recipe import make_set
from calprune.methods import METHODS, Method, SparseGPT, parse_method
from calprune.methods.sparsegpt_kernel import compiled
from calprune.models import load
from calprune.pattern import parse_pattern
from calprune.stats import InputStats, relative_error

HERE = Path(__file__).parent
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
    matrices = block_of(asked.calibration, asked.block, Path(root) if root else None)
    times = {}
    for name in METHODS:
        method = example(name)
        if name in asked.skip or method is None:
            continue
        seconds, errors = zip(*(run(method, w, s, pattern) for w, s in matrices), strict=True)
        times[name] = (sum(seconds), sum(errors) / len(errors))
        print(name, times[name], file=sys.stderr, flush=True)
    wanda = times["wanda"][0]
    rows = [f"| {n} | {t:.3f} | {t / wanda:.1f} | {e:.4f} |" for n, (t, e) in sorted(times.items(), key=lambda i: i[1])]
    return [
        "# Every method's time",
        "",
        f"`python {' '.join(['benchmarks/methods.py', *sys.argv[1:]])}`, {datetime.date.today()}; {processor()}, "
        f"one thread, torch {torch.__version__}; numba {'used' if compiled() else 'not installed'}.",
        "",
        f"Block {asked.block} of the demo model, its {len(matrices)} linears, {asked.pattern}, 16 x 256 tokens of "
        f"{asked.calibration}. Error: the mean over linears of ‖(W-Ŵ)X‖²/‖WX‖² on the same tokens.",
        "Not timed here: methods that need gradients or a whole block, or take no n:m"
        + f"{', and ' * bool(asked.skip)}"
        f"{', '.join(asked.skip)}.",
        "",
        "| method | processor seconds a block | times Wanda's | error |",
        "|-|-|-|-|",
        *rows,
    ]


def stats_of_noise(width: int = 8) -> InputStats:
    stats = InputStats(width, "gram")
    stats.observe(torch.randn(4 * width, width))
    return stats


def example(name: str) -> Method | None:
    """The method with its defaults; one that has to have a start gets Wanda; None where no matrix alone will do."""
    cls = METHODS[name]
    if cls.needs in ("regional", "gradients") or hasattr(cls, "refine") or not getattr(cls, "exact_count", True):
        return None
    return parse_method(f"{name}(start=wanda)" if getattr(cls, "start", ...) is None else name)


def block_of(spec: str, number: int, data_root: Path | None) -> list[tuple[Tensor, InputStats]]:
    demo = load("demo")
    data = make_set(spec, demo.tokenizer, data_root=data_root, num_samples=16, max_seq_length=256)
    with torch.no_grad():
        for i, block in enumerate(walk(demo.model, data, propagate="dense")):
            if i == number:
                stats = block.collect("gram")
                return [(site.weight.float().clone(), stats[site.name]) for site in block.linears()]
    raise SystemExit(f"the model has no block {number}")


def run(method, weight: Tensor, stats: InputStats, pattern) -> tuple[float, float]:
    seconds, pruned = least(lambda: method(weight, 1.0 * stats, pattern))  # 1.0 *: a copy that holds no factor yet
    return seconds, relative_error(weight, pruned, stats)


def least(call, times: int = 3) -> tuple[float, Tensor]:
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
    rows = []
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
    return [
        "# SparseGPT's solve beside a plain column loop",
        "",
        "Random weights and correlated inputs, processor milliseconds on one thread, the factor of H made beforehand.",
        "The goal was 5 times. On a GPU: not measured.",
        "",
        "| rows x columns | pattern | column loop, ms | calprune, ms | times faster | same fate |",
        "|-|-|-|-|-|-|",
        *rows,
    ]


def column_loop(weight: Tensor, stats: InputStats, pattern: str) -> Tensor:
    """Algorithm 1, a column at a time; blocks of 128 columns, the threshold by a sort."""
    factor = stats.factor(0.01)
    U, W = factor.upper, weight.clone()
    d = U.diagonal()
    for first in range(0, W.shape[1], 128):
        last = min(first + 128, W.shape[1])
        block, errors = W[:, first:last].clone(), torch.zeros(len(W), last - first)
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
