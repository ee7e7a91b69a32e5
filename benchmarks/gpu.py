"""Time every method on one block of the size of Llama-7B's, on a GPU: random weights, random tokens.

    python benchmarks/gpu.py [--pattern 2:4] [--sequences 128] [--length 2048] [--skip alps] [--most 30]

Seconds by the clock, the GPU waited for before each reading, each once after a first run on a small matrix. A method
that has spent `--most` seconds stops after the linear in hand, and the table says how many it did. Writes
benchmarks/gpu.md, or what `--out` names.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from methods import column_loop, examples, stats_of_noise
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from calprune.layers.blocks import Block, walk
from calprune.layers.gradients import loss_gradients, output_gradients
from calprune.layers.inputs import LADDER, GradientSums, InputStats, relative_error
from calprune.methods import parse_method
from calprune.methods.contract import Method
from calprune.methods.kernels import solve as solving
from calprune.methods.sparsegpt import SparseGPT
from calprune.pattern import Pattern, parse_pattern
from calprune.pruning.job import Pruning
from calprune.refine.windows import targets_of

DEVICE = "cuda"


@dataclass
class RandomTokens:
    tokens: Tensor
    lengths: Tensor
    weights: None = None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pattern", default="2:4")
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--intermediate", type=int, default=11008)
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--most", type=float, default=30)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gpu.md")
    asked = parser.parse_args()
    torch.manual_seed(0)
    lines = [*solve_table(asked), "", *methods_table(asked), "", *whole_jobs(asked)]
    asked.out.write_text("\n".join(lines) + "\n")


def material(asked: argparse.Namespace, blocks: int) -> tuple[LlamaForCausalLM, RandomTokens]:
    """A model of so many blocks on the CPU, and the tokens."""
    config = LlamaConfig(hidden_size=asked.hidden, intermediate_size=asked.intermediate, num_hidden_layers=blocks,
                         num_attention_heads=asked.hidden // 128, vocab_size=4096)  # fmt: skip
    shape = (asked.sequences, asked.length)
    with torch.device(DEVICE):
        model = LlamaForCausalLM(config).to(torch.bfloat16).cpu()
    return model, RandomTokens(torch.randint(0, 4096, shape), torch.full(shape[:1], asked.length))


def whole_jobs(asked: argparse.Namespace, blocks: int = 3) -> list[str]:
    """`prune` from beginning to end: on a model that stands on the GPU, and on one whose blocks visit it."""
    rows = []
    ways = [(name, propagate, where) for name in ("wanda", "sparsegpt") for propagate in ("pruned", "sequential")
            for where in (DEVICE, "cpu")]  # fmt: skip
    for name, propagate, where in ways:
        model, data = material(asked, blocks)
        model.to(where)
        job = Pruning(parse_method(name), parse_pattern(asked.pattern), propagate=propagate)
        seconds, _ = timed(lambda: job.run(model, data, device=DEVICE))  # noqa: B023
        stands = "on the GPU" if where == DEVICE else "in memory, a block at a time on the GPU"
        rows.append(f"| {name} | {stands}{', one pass' if propagate == 'sequential' else ''} "
                    f"| {seconds / blocks:.2f} |")  # fmt: skip
        say(rows[-1])
    return [
        "# Whole jobs",
        "",
        f"`prune` on a model of {blocks} such blocks, {asked.pattern}, two passes where not said, reports included.",
        "",
        "| method | where the model is | seconds a block |",
        "|-|-|-|",
        *rows,
    ]


def methods_table(asked: argparse.Namespace) -> list[str]:
    pattern = parse_pattern(asked.pattern)
    model, data = material(asked, 1)
    model.to(DEVICE)
    with torch.no_grad():
        block = next(walk(model, data, batch_size=max(1, 16384 // asked.length)))
        pass_over(block)
        forward, _ = timed(lambda: pass_over(block))
        moments, _ = timed(lambda: block.collect("moments"))
        gram, stats = timed(lambda: block.collect("gram"))
        output, of_output = timed(lambda: output_gradients(block))
        loss, of_loss = timed(lambda: loss_gradients(model, data))
    stats = {name: s.of_linear({"loss": of_loss[f"{block.name}.{name}"], "output": of_output[name]})
             for name, s in stats.items()}  # fmt: skip
    collecting = {"nothing": 0.0, "moments": moments, "gram": gram, "regional": gram + output}
    collecting["gradients"] = collecting["regional"] + loss
    rows = []
    for label, method, wanted in examples(pattern, asked.skip):
        small = block.linears()[0].weight[:64, :512].clone()
        method(small, of_small(small, method), wanted)  # libraries and kernels are there before the clock
        solve, done, error = solved(method, block, stats, wanted, asked.most)
        sums = collecting[method.needs]
        rows.append((sums + solve, f"| {label} | {sums:.1f} | {solve:.2f} | {done} | {sums + solve:.1f} "
                                   f"| {solve / (sums + solve):.0%} | {error} |"))  # fmt: skip
        say(rows[-1][1])
    return [
        "# Every method on a block of Llama-7B's size",
        "",
        f"`python benchmarks/gpu.py {' '.join(sys.argv[1:])}`, {datetime.date.today()}; "
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}.",
        "",
        f"One decoder block of random weights in bfloat16, {asked.hidden} and {asked.intermediate} channels, "
        f"{len(stats)} linears; {asked.pattern}; {asked.sequences} x {asked.length} random tokens; sums in float32.",
        f"A forward pass alone takes {forward:.2f} s; with sums of x and x² {moments:.2f} s; with the Gram matrix "
        f"{gram:.2f} s, of which {1 - forward / gram:.0%} are the Gram matrices' products; gradients of the block's "
        f"output {output:.2f} s more, of the loss of this model of one block {loss:.2f} s.",
        "Columns: what is collected for the method (a forward pass with its sums), the method itself on all linears "
        "(the factor of H included, paid once where linears share an input), for how many linears it was run, their "
        "sum, the method's share of it, and the mean over the linears done of ‖(W-Ŵ)X‖²/‖WX‖² on these tokens.",
        f"Left out: {', '.join(asked.skip) or 'nothing'}.",
        "",
        "| method | pass, s | method, s | linears | together, s | share | error |",
        "|-|-|-|-|-|-|-|",
        *(row for _, row in sorted(rows)),
    ]


def of_small(weight: Tensor, method: Method) -> InputStats:
    """Sums of noise for a small matrix, with gradients if the method reads them."""
    stats = stats_of_noise(weight.shape[1]).to(DEVICE)
    if LADDER.index(method.needs) > LADDER.index("gram"):
        sums = GradientSums(1.0, weight.float().square() + 1e-3, weight.float().abs() + 1e-3)
        return stats.of_linear({"output": sums, "loss": sums})
    return stats


def pass_over(block: Block) -> None:
    for batch in block.batches:
        block.forward(batch)


def solved(
    method: Method, block: Block, stats: dict[str, InputStats], pattern: Pattern, most: float
) -> tuple[float, str, str]:
    """Seconds, for how many linears, and the mean error of those. The block is left as it was."""
    dense = {site.name: site.weight.clone() for site in block.linears()}
    own: dict[int, InputStats] = {}  # copies that hold no factor yet, one for each input
    spent, done, errors = 0.0, 0, []
    refines = hasattr(method, "refine")
    try:
        targets = targets_of(block, getattr(method, "windows", "block")) if refines else []
        for site in block.linears():
            if spent > most:
                break
            shared = stats[site.name]
            sums = own.setdefault(id(shared.gram), (1.0 * shared)).of_linear(shared.gradients)
            seconds, pruned = timed(lambda: method(dense[site.name], sums, pattern))  # noqa: B023
            site.write(pruned)
            spent, done = spent + seconds, done + 1
            errors.append(relative_error(dense[site.name], pruned, shared))
        if refines:
            keep = {site.name: site.weight != 0 for site in block.linears()}
            spent += timed(lambda: method.refine(block, targets, keep))[0]
    except Exception as e:  # one method that fails loses no other's time
        say(f"{method}: {type(e).__name__}: {str(e)[:500]}")
        return spent, f"{done}, then {type(e).__name__}", "-"
    finally:
        for site in block.linears():
            site.write(dense[site.name])
        torch.cuda.empty_cache()
    return spent, str(done), "after training" if refines else f"{sum(errors) / len(errors):.4f}"


def solve_table(asked: argparse.Namespace) -> list[str]:
    """SparseGPT alone, the factor made beforehand: by the kernel, by torch's operations, and a plain column loop."""
    rows = []
    for out, width in ((asked.hidden, asked.hidden), (asked.intermediate, asked.hidden),
                       (asked.hidden, asked.intermediate)):  # fmt: skip
        stats = InputStats(width, "gram", DEVICE)
        mixing = torch.randn(width, width, device=DEVICE) * torch.logspace(-1, 1, width, device=DEVICE) / 30
        stats.observe(torch.randn(2 * width, width, device=DEVICE) @ mixing)
        stats.factor(0.02)  # the libraries are there before the clock
        factor, _ = timed(lambda: stats.factor(0.01))  # noqa: B023
        weight = torch.randn(out, width, device=DEVICE)
        for text in ("50%", "2:4"):
            solve = lambda: SparseGPT()(weight, stats, parse_pattern(text))  # noqa: B023, E731
            solve()
            ours, found = min((timed(solve) for _ in range(3)), key=lambda t: t[0])
            with torch_alone():
                plain, other = timed(solve)
            loop, expected = timed(lambda: column_loop(weight, stats, text))  # noqa: B023
            same = ((found == 0) == (expected == 0)).double().mean().item()
            rows.append(f"| {out} x {width} | {text} | {factor:.3f} | {ours:.3f} | {plain:.2f} | {loop:.2f} "
                        f"| {loop / ours:.0f} | {same:.4%} |")  # fmt: skip
            say(rows[-1], f"kernel and torch: {((found == 0) == (other == 0)).double().mean().item():.5%}")
    return [
        "# SparseGPT's solve on a GPU",
        "",
        "Seconds; random weights and correlated inputs; the factor of H, made beforehand, in a column of its own. "
        "Without Triton the columns are solved by torch's operations, some for each column, as in the plain loop.",
        "",
        "| rows x columns | pattern | factor | calprune | without Triton | column loop | times faster | same fate |",
        "|-|-|-|-|-|-|-|-|",
        *rows,
    ]


class torch_alone:
    """Inside the block no kernel of our own is used."""

    def __enter__(self):
        self.kernel, solving.compiled = solving.compiled, lambda device: None

    def __exit__(self, *exception):
        solving.compiled = self.kernel


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    started = time.perf_counter()
    found = call()
    wait()
    return time.perf_counter() - started, found


def say(*words: str) -> None:
    print(*words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
