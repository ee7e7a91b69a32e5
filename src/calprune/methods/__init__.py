"""The pruning methods by name. To add one: write a file like wanda.py, add a line here (docs/add-a-method.md)."""

from calprune.base.calls import Registry
from calprune.methods.admm import ADMM
from calprune.methods.alps import ALPS
from calprune.methods.block_matching import BlockMatching
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

_KNOWN: dict[str, type] = {
    "admm": ADMM,
    "alps": ALPS,
    "block_matching": BlockMatching,
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


METHODS = Registry("method", _KNOWN, '"wanda" or "sparsegpt(damping=0.1)"', Method, "docs/add-a-method.md")


def parse_method(text: str) -> Method:
    """Read "wanda", "sparsegpt(damping=0.1)", or a method of your own: "package.module:MyMethod(option=1)"."""
    return METHODS.make(text)
