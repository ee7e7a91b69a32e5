"""The pruning methods by name. To add one: write a file like wanda.py, add a line here (docs/add-a-method.md)."""

import importlib
from collections.abc import Mapping

from calprune.base.values import ConfigError, parse_call
from calprune.methods.admm import ADMM
from calprune.methods.alps import ALPS
from calprune.methods.block_reconstruction import BlockReconstruction
from calprune.methods.contract import Method
from calprune.methods.dsnot import DSnoT
from calprune.methods.gblm import GBLM
from calprune.methods.gptq import GPTQ
from calprune.methods.magnitude import Magnitude
from calprune.methods.pruner_zero import PrunerZero
from calprune.methods.refit import Refit
from calprune.methods.regional import Regional
from calprune.methods.ria import RIA
from calprune.methods.rose import ROSE
from calprune.methods.round_to_nearest import RoundToNearest
from calprune.methods.sparsegpt import SparseGPT
from calprune.methods.sparseswaps import SparseSwaps
from calprune.methods.wanda import Wanda, WandaVariant
from calprune.methods.wanda_plus_plus import WandaPlusPlus

METHODS: dict[str, type] = {
    "admm": ADMM,
    "alps": ALPS,
    "block_reconstruction": BlockReconstruction,
    "dsnot": DSnoT,
    "gblm": GBLM,
    "gptq": GPTQ,
    "magnitude": Magnitude,
    "pruner_zero": PrunerZero,
    "refit": Refit,
    "regional": Regional,
    "ria": RIA,
    "rose": ROSE,
    "round_to_nearest": RoundToNearest,
    "sparsegpt": SparseGPT,
    "sparseswaps": SparseSwaps,
    "wanda": Wanda,
    "wanda_plus_plus": WandaPlusPlus,
    "wanda_variant": WandaVariant,
}


def parse_method(text: str, known: Mapping[str, type] = METHODS) -> Method:
    """Read "wanda", "sparsegpt(damping=0.1)", or a method of your own: "package.module:MyMethod(option=1)"."""
    place, colon, call = text.partition(":")
    if not colon:
        return parse_call(text, known, "method")
    name = call.split("(")[0].strip()
    try:
        cls = getattr(importlib.import_module(place.strip()), name)
    except (ImportError, AttributeError) as e:
        raise ConfigError(
            f'cannot import method {text!r} ({e}); write it like "package.module:MyMethod(option=1)"'
        ) from None
    if missing := [a for a in ("needs", "version", "__call__") if not hasattr(cls, a)]:
        raise ConfigError(f"{text!r} is no method: it has no {missing[0]} (docs/add-a-method.md)")
    return parse_call(call, {**known, name: cls}, "method")
