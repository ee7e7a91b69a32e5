"""calprune: which calibration data should I prune my language model with, how much does it matter, and do it.

model = calprune.load("demo")
data = calprune.make_set("pydoc_topics", model.tokenizer, num_samples=16, max_seq_length=256)
report = calprune.prune(model.model, data, calprune.parse_method("sparsegpt"), calprune.parse_pattern("2:4"))
calprune.save(model.model, model.tokenizer, "pruned")
"""

import importlib
from typing import Any

import calprune.calibration
import calprune.writing  # noqa: F401  both register a kind of source with calprune.text; neither imports torch

__version__ = "0.1.0"

_HOMES = {  # the public names and their modules, imported when asked for: `calprune --help` needs no torch
    "CalibrationSet": "calibration.set",
    "METHODS": "methods",
    "Pruning": "pruning.job",
    "Question": "choosing.question",
    "Statistics": "layers.saved",
    "UserError": "base.values",
    "choose": "choosing.choose",
    "load": "models.load",
    "make_set": "calibration.build",
    "parse_capabilities": "choosing.question",
    "parse_method": "methods",
    "parse_pattern": "pattern",
    "prune": "pruning.job",
    "save": "models.load",
    "walk": "layers.blocks",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'calprune' has no attribute {name!r}")
    return getattr(importlib.import_module(f"calprune.{_HOMES[name]}"), name)
