"""Whether transformers can load and run a model whose linears hold codes in place of weights.

It gives such a linear its weights when it is first called. A model that reads them by itself before, as Mamba does
where it sets up its blocks, ends in an AttributeError. Both are tried on the model's outline, which holds no numbers.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from calprune.base.values import UserError
from calprune.models.load import quiet_transformers


def check_coded(model: Any, linears: Collection[str]) -> None:
    """Raise UserError where transformers reads the weights of one of these before the linear is called."""
    with quiet_transformers(), torch.device("meta"):
        outline = type(model)(model.config).eval()
        tokens = torch.zeros(1, 4, dtype=torch.long)
    coded = {outline.get_submodule(name): name for name in linears}
    weights = {module: module._parameters["weight"] for module in coded}
    for module, weight in weights.items():
        _take_weight(module, weight)
    read: dict[str, str] = {}  # by the last part of a linear's name, the first that is called so
    for step in (outline.initialize_weights, lambda: outline(input_ids=tokens, use_cache=False)):
        while (found := _read_by_itself(step)) is not None and (name := coded.get(found)) is not None:
            kind = name.rpartition(".")[2]
            read.setdefault(kind, name)
            for module, other in coded.items():
                if other.rpartition(".")[2] == kind:
                    module._parameters["weight"] = weights[module]
    if read:
        ignored = " ".join(f"--ignore '*.{kind}'" for kind in read)
        first = next(iter(read.values()))
        raise UserError(f"{first}: {type(model).__name__} reads its weights without calling it, and where codes "
                        "stand for them transformers could not load or run what is written; leave such linears out: "
                        f"{ignored}")  # fmt: skip


def _take_weight(module: nn.Module, weight: nn.Parameter | None) -> None:
    """As transformers has a linear of codes: without weights until it is called."""
    del module._parameters["weight"]
    module.register_forward_pre_hook(lambda one, _: one._parameters.update(weight=weight))


def _read_by_itself(step: Callable[[], Any]) -> Any:
    """The module whose weights the step misses. None: it misses none, or cannot be tried without numbers."""
    try:
        with quiet_transformers(), torch.no_grad():
            step()
    except AttributeError as e:
        return e.obj if e.name == "weight" else None
    except Exception:  # what is worked out from numbers, and as many kinds as there are families
        return None
    return None
