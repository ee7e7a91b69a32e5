"""What of a model can be pruned: its decoder blocks, and the linears inside them. No code per family."""

from dataclasses import dataclass
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from calprune.config import UserError


class ModelError(UserError):
    """A model whose blocks or linears cannot be found or pruned."""


@dataclass(frozen=True)
class Linear:
    """One prunable matrix, always seen as (out, in), whatever the module stores."""

    name: str  # within the block: "mlp.down_proj"
    module: nn.Module
    transposed: bool  # GPT-2's Conv1D stores (in, out)

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        weight = cast(Tensor, self.module.weight).data
        return weight.T if self.transposed else weight

    def write(self, weight: Float[Tensor, "out in"]) -> None:
        self.weight.copy_(weight)


def linears(block: nn.Module) -> list[Linear]:
    """The block's linears, in the order in which the module names them."""
    found = []
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear):
            found.append(Linear(name, module, transposed=False))
        elif type(module).__name__ == "Conv1D":  # transformers' own class of GPT-2: named here, not imported
            found.append(Linear(name, module, transposed=True))
    return found


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The decoder blocks and their name: the ModuleList that holds the most parameters."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    if not lists:
        raise ModelError(f"{type(model).__name__} has no list of blocks (no ModuleList), so it cannot be walked")
    return max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))
