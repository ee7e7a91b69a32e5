"""calprune: which calibration data should I prune my language model with, how much does it matter, and do it.

    model = calprune.load("demo")
    report = calprune.prune(model, "c4", method="sparsegpt", pattern="2:4", num_samples=16, max_seq_length=256)
    report.save("pruned")
    calprune.evaluate("pruned", ["perplexity(wikitext2)", "kl(c4)"], dense="demo")

Functions take text or objects, and results show themselves in a notebook. Nothing is imported before it is used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import calprune.calibration
import calprune.writing  # noqa: F401  both register a kind of source with calprune.text; neither imports torch
from calprune.base import __version__

if TYPE_CHECKING:
    from calprune.allocation.alpha import Alpha
    from calprune.allocation.dlp import DLP
    from calprune.allocation.from_file import FromFile
    from calprune.allocation.owl import OWL
    from calprune.allocation.uniform import Uniform
    from calprune.api.accelerate import accelerate
    from calprune.api.archive import pack, unpack
    from calprune.api.build import build
    from calprune.api.choose import ChoiceReport, choose
    from calprune.api.collect import collect
    from calprune.api.evaluate import evaluate
    from calprune.api.models import load
    from calprune.api.prune import prune
    from calprune.api.pruned.compensate import compensate
    from calprune.api.pruned.decompose import decompose
    from calprune.api.pruned.quantize import quantize
    from calprune.api.pruned.recover import recover
    from calprune.api.speed import speed
    from calprune.api.study import StudyReport, study
    from calprune.base.values import UserError
    from calprune.calibration.set import CalibrationSet
    from calprune.choosing.question import Question
    from calprune.deployment.archive import PackReport
    from calprune.deployment.semi_structured import AccelerateReport
    from calprune.deployment.speed import SpeedReport
    from calprune.evaluation.result import EvaluationResult
    from calprune.layers.attention import AttentionConcentration
    from calprune.layers.blocks import walk
    from calprune.layers.saved import Statistics
    from calprune.methods import METHODS
    from calprune.methods.admm import ADMM
    from calprune.methods.alps import ALPS
    from calprune.methods.block_matching import BlockMatching
    from calprune.methods.block_reconstruction import BlockReconstruction
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
    from calprune.models.load import Model
    from calprune.pattern import KeepNofM, Unstructured
    from calprune.pruning.checkpoint import PruneReport
    from calprune.pruning.job import Pruning
    from calprune.quantisation.report import QuantisedReport
    from calprune.recovery.compensated import CompensationReport
    from calprune.recovery.decomposed import DecompositionReport
    from calprune.recovery.report import RecoveryReport
    from calprune.removal.report import RemovalReport

__all__ = [
    "ADMM",
    "ALPS",
    "DLP",
    "GBLM",
    "GPTQ",
    "METHODS",
    "OWL",
    "RIA",
    "ROSE",
    "AccelerateReport",
    "Alpha",
    "AttentionConcentration",
    "BlockMatching",
    "BlockReconstruction",
    "CalibrationSet",
    "ChoiceReport",
    "CompensationReport",
    "DSnoT",
    "DecompositionReport",
    "EvaluationResult",
    "FromFile",
    "KeepNofM",
    "Magnitude",
    "Model",
    "PackReport",
    "PruneReport",
    "PrunerZero",
    "Pruning",
    "QuantisedReport",
    "Question",
    "RecoveryReport",
    "Refit",
    "Regional",
    "RemovalReport",
    "RoundToNearest",
    "SparseGPT",
    "SparseSwaps",
    "SpeedReport",
    "Statistics",
    "StudyReport",
    "Uniform",
    "Unstructured",
    "UserError",
    "Wanda",
    "WandaPlusPlus",
    "WandaVariant",
    "__version__",
    "accelerate",
    "build",
    "choose",
    "collect",
    "compensate",
    "decompose",
    "evaluate",
    "load",
    "pack",
    "prune",
    "quantize",
    "recover",
    "speed",
    "study",
    "unpack",
    "walk",
]

_PLACES = {  # the modules of the public names, imported when a name is first used
    "ADMM": "methods.admm",
    "ALPS": "methods.alps",
    "AccelerateReport": "deployment.semi_structured",
    "Alpha": "allocation.alpha",
    "AttentionConcentration": "layers.attention",
    "BlockMatching": "methods.block_matching",
    "BlockReconstruction": "methods.block_reconstruction",
    "CalibrationSet": "calibration.set",
    "ChoiceReport": "api.choose",
    "CompensationReport": "recovery.compensated",
    "DecompositionReport": "recovery.decomposed",
    "DLP": "allocation.dlp",
    "DSnoT": "methods.dsnot",
    "EvaluationResult": "evaluation.result",
    "FromFile": "allocation.from_file",
    "GBLM": "methods.gblm",
    "GPTQ": "methods.gptq",
    "KeepNofM": "pattern",
    "METHODS": "methods",
    "Magnitude": "methods.magnitude",
    "Model": "models.load",
    "OWL": "allocation.owl",
    "PackReport": "deployment.archive",
    "PruneReport": "pruning.checkpoint",
    "PrunerZero": "methods.pruner_zero",
    "Pruning": "pruning.job",
    "QuantisedReport": "quantisation.report",
    "Question": "choosing.question",
    "RIA": "methods.ria",
    "RecoveryReport": "recovery.report",
    "ROSE": "methods.rose",
    "RemovalReport": "removal.report",
    "Refit": "methods.refit",
    "Regional": "methods.regional",
    "RoundToNearest": "methods.round_to_nearest",
    "SparseGPT": "methods.sparsegpt",
    "SparseSwaps": "methods.sparseswaps",
    "SpeedReport": "deployment.speed",
    "Statistics": "layers.saved",
    "StudyReport": "api.study",
    "Uniform": "allocation.uniform",
    "Unstructured": "pattern",
    "UserError": "base.values",
    "Wanda": "methods.wanda",
    "WandaPlusPlus": "methods.wanda_plus_plus",
    "WandaVariant": "methods.wanda",
    "accelerate": "api.accelerate",
    "build": "api.build",
    "choose": "api.choose",
    "collect": "api.collect",
    "compensate": "api.pruned.compensate",
    "decompose": "api.pruned.decompose",
    "evaluate": "api.evaluate",
    "load": "api.models",
    "pack": "api.archive",
    "prune": "api.prune",
    "quantize": "api.pruned.quantize",
    "recover": "api.pruned.recover",
    "speed": "api.speed",
    "study": "api.study",
    "unpack": "api.archive",
    "walk": "layers.blocks",
}


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            here = sys.modules[__name__]  # from whose names Python says what may have been meant
            raise AttributeError(f"module 'calprune' has no attribute {name!r}", name=name, obj=here)
        found = getattr(import_module(f"calprune.{_PLACES[name]}"), name)
        globals()[name] = found
        return found
