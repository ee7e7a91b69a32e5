"""The table of docs/explanation/scale.md that says on paper what larger models would take, from measured parts.

The rates are those of a block of Llama-7B's size in benchmarks/gpu.md. Shapes are the published configurations.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "explanation" / "scale.md"
BEGIN, END = "<!-- on paper: made by docs/generate.py -->\n", "<!-- end of on paper -->\n"
SEQUENCES, LENGTH = 128, 2048
GPU = 139 * 2**30  # bytes of an H200
SPARE = 0.8  # of them for a model that stands there whole


@dataclass(frozen=True)
class Block:
    """Matrices (outputs, inputs) and the widths of distinct inputs, each with how many alike and which share of the
    tokens reaches one."""

    matrices: tuple[tuple[int, int, int, float], ...]
    inputs: tuple[tuple[int, int, float], ...]
    heads: int  # width of all queries, for the products of attention

    def __add__(self, other: "Block") -> "Block":
        return Block(self.matrices + other.matrices, self.inputs + other.inputs, self.heads + other.heads)

    @property
    def parameters(self) -> int:
        return sum(rows * columns * alike for rows, columns, alike, _ in self.matrices)

    @property
    def forward(self) -> float:
        """Operations a token."""
        products = sum(2 * rows * columns * alike * share for rows, columns, alike, share in self.matrices)
        return products + 2 * LENGTH * self.heads

    @property
    def gram(self) -> float:
        """Operations a token for Σ xxᵀ of each distinct input."""
        return sum(2 * width**2 * alike * share for width, alike, share in self.inputs)

    @property
    def solve(self) -> float:
        """Operations of SparseGPT: each column updates those behind it; and a factor of each Gram matrix."""
        updates = sum(rows * columns**2 * alike for rows, columns, alike, _ in self.matrices)
        return updates + sum(width**3 * alike for width, alike, _ in self.inputs)

    @property
    def gram_bytes(self) -> int:
        return sum(4 * width**2 * alike for width, alike, _ in self.inputs)


def attention(width: int, queries: int, keys: int) -> Block:
    """Queries, keys and values of one input, and the output."""
    return Block(((queries, width, 1, 1.0), (keys, width, 2, 1.0), (width, queries, 1, 1.0)),
                 ((width, 1, 1.0), (queries, 1, 1.0)), queries)  # fmt: skip


def latent_attention(width: int, heads: int) -> Block:
    """DeepSeek's: queries and keys through narrow matrices (1,536; 512 and 64 of positions)."""
    into = ((1536, width, 1, 1.0), (576, width, 1, 1.0), (heads * 192, 1536, 1, 1.0), (heads * 256, 512, 1, 1.0))
    inputs = ((width, 1, 1.0), (1536, 1, 1.0), (512, 1, 1.0), (heads * 128, 1, 1.0))
    return Block((*into, (width, heads * 128, 1, 1.0)), inputs, heads * 192)


def feed_forward(width: int, inner: int, experts: int = 1, chosen: int = 1) -> Block:
    share = chosen / experts
    return Block(((inner, width, 2 * experts, share), (width, inner, experts, share)),
                 ((width, experts, share), (inner, experts, share)), 0)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    name: str
    width: int
    blocks: tuple[tuple[int, Block], ...] = field(repr=False)  # how many of each kind

    def total(self, of: Callable[[Block], float]) -> float:
        return sum(many * of(block) for many, block in self.blocks)

    @property
    def parameters(self) -> float:
        return self.total(lambda block: block.parameters)


def _alike(name: str, many: int, width: int, *parts: Block) -> Shape:
    return Shape(name, width, ((many, sum(parts[1:], parts[0])),))


LLAMA = attention(4096, 4096, 4096) + feed_forward(4096, 11008)
DEEPSEEK, KIMI = latent_attention(7168, 128), latent_attention(7168, 64)
SHAPES = (
    Shape("Llama-2-7B", 4096, ((32, LLAMA),)),
    _alike("Llama-2-13B", 40, 5120, attention(5120, 5120, 5120), feed_forward(5120, 13824)),
    _alike("Qwen3-30B-A3B", 48, 2048, attention(2048, 4096, 512), feed_forward(2048, 768, 128, 8)),
    _alike("Llama-3-70B", 80, 8192, attention(8192, 8192, 1024), feed_forward(8192, 28672)),
    _alike("Qwen3-235B-A22B", 94, 4096, attention(4096, 8192, 512), feed_forward(4096, 1536, 128, 8)),
    Shape("DeepSeek-V3", 7168, ((3, DEEPSEEK + feed_forward(7168, 18432)),
                                (58, DEEPSEEK + feed_forward(7168, 2048, 256, 8) + feed_forward(7168, 2048)))),
    Shape("Kimi-K2", 7168, ((1, KIMI + feed_forward(7168, 18432)),
                            (60, KIMI + feed_forward(7168, 2048, 384, 8) + feed_forward(7168, 2048)))),
)  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """Operations a second, of what was measured; and seconds that a number of the hidden states takes to visit."""

    forward: float
    gram: float
    solve: float
    visit: float

    @classmethod
    def measured(cls) -> "Rates":
        text = (HERE.parent / "benchmarks" / "gpu.md").read_text(encoding="utf-8")
        found = re.search(r"alone takes ([\d.]+) s; .*?Gram matrix ([\d.]+) s", text)
        solve = re.search(r"^\| sparsegpt \| [\d.]+ \| ([\d.]+) \|", text, re.M)
        jobs = dict(
            re.findall(r"^\| sparsegpt \| (on|in memory)[^,|]*(?:, a block[^,|]*)? \| ([\d.]+) \|$", text, re.M)
        )
        assert found and solve and len(jobs) == 2, "benchmarks/gpu.md is not as it was"
        tokens, there, visiting = SEQUENCES * LENGTH, float(jobs["on"]), float(jobs["in memory"])
        forward, gram = map(float, found.groups())
        return cls(tokens * LLAMA.forward / forward, tokens * LLAMA.gram / (gram - forward),
                   LLAMA.solve / float(solve[1]), (visiting - there) / 2 / tokens / 4096)  # fmt: skip


def seconds(shape: Shape, rates: Rates, passes: int, *, gram: bool) -> float:
    """All blocks; a model that does not fit has its blocks and the hidden states visit the GPU."""
    tokens = SEQUENCES * LENGTH
    found = passes * tokens * shape.total(lambda block: block.forward) / rates.forward
    if gram:
        found += tokens * shape.total(lambda block: block.gram) / rates.gram
        found += shape.total(lambda block: block.solve) / rates.solve
    if not fits(shape):
        found += passes * tokens * shape.width * sum(many for many, _ in shape.blocks) * rates.visit
    return found


def fits(shape: Shape) -> bool:
    return 2 * shape.parameters < SPARE * GPU


def said(value: float) -> str:
    return f"{value:.0f} s" if value < 100 else f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def section() -> str:
    rates = Rates.measured()
    lines = [
        "| model | parameters in its blocks | where | Wanda, two passes | one | SparseGPT, two passes | one "
        "| Gram matrices of a block | hidden states |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for shape in SHAPES:
        times = [said(seconds(shape, rates, passes, gram=gram)) for gram in (False, True) for passes in (2, 1)]
        largest = max(block.gram_bytes for _, block in shape.blocks) / 2**30
        states = 2 * SEQUENCES * LENGTH * shape.width / 2**30
        where = "on the GPU" if fits(shape) else "visiting"
        lines.append(f"| {shape.name} | {shape.parameters / 1e9:,.1f} billion | {where} | {' | '.join(times)} "
                     f"| {largest:.1f} GiB | {states:.1f} GiB |")  # fmt: skip
    rate = f"{rates.forward / 1e12:.0f} and {rates.gram / 1e12:.0f} TFLOP/s, {rates.solve / 1e12:.1f} for the solve"
    lines += ["", f"The rates: {rate}; {rates.visit * 1e9:.1f} ns for each number of the hidden states that visits."]
    return "\n".join(lines)


def current() -> str:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}{section()}\n{END}{rest.split(END)[1]}"
