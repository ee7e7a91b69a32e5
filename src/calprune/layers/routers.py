"""What sends tokens to experts: it is small, and an error in it sends a token to other experts, so it stays dense.

No list of families. A *bank* is a module that holds the matrices of several experts. In the module that holds a bank,
outside the bank, these are routers:

- what has a matrix of one row for each expert
- what has a matrix of one row: the gate of a shared expert
- what is called router or gate, and what is in it (LongCat's gives more numbers than there are experts; ZAYA's is an
  MLP)

The module that holds the bank may be the block itself (Gemma 4): then only what is called router or gate.
"""

import re

from torch import nn

from calprune.layers.experts import experts_in, is_fused

NAMED = re.compile(r"(.*_)?(router|gate|gating)")


def routers(block: nn.Module) -> list[str]:
    """The modules that hold the routers' matrices, by their names within the block."""
    modules = dict(block.named_modules())
    banks = {name: count for name, module in modules.items() if (count := _experts(name, module))}
    found = set()
    for bank, count in banks.items():
        parent = bank.rpartition(".")[0]
        for name, module in modules.items():
            outside = not any(name == other or name.startswith(f"{other}.") for other in banks)
            if outside and name.startswith(f"{parent}." if parent else "") and _matrix_rows(module):
                within = name[len(parent) + 1 :] if parent else name
                if _routes(within, _matrix_rows(module), count, is_block=not parent):
                    found.add(name)
    return [name for name in modules if name in found]


def _experts(name: str, module: nn.Module) -> int:
    """How many experts' matrices the module holds; 0: it is no bank."""
    if "expert" in name.rpartition(".")[2] and (numbered := sum(n.isdigit() for n, _ in module.named_children())):
        return numbered
    if is_fused(module):
        return experts_in(module)
    if isinstance(module, nn.modules.conv._ConvNd):
        return 0
    return next((len(p) for p in module.parameters(recurse=False) if p.dim() == 3), 0)


def _matrix_rows(module: nn.Module) -> set[int]:
    return {len(p) for p in module.parameters(recurse=False) if p.dim() == 2}


def _routes(within: str, rows: set[int], experts: int, is_block: bool) -> bool:
    """Whether a module at the path `within` the one that holds the bank routes tokens."""
    first = within.split(".")[0]
    if is_block:
        return bool(NAMED.fullmatch(first))
    if any(NAMED.fullmatch(part) for part in within.split(".")):
        return True
    return bool(rows & {experts, 1}) and not ("shared" in first and "." in within)
