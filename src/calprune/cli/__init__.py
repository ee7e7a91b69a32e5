"""The commands, one file a group. Each parses, calls the library and prints; heavy imports are inside.

`calprune --help` imports no torch.
"""

from calprune.cli import calib, choose, demo, evaluate, prune, similar, sources, start, study, synth
from calprune.cli.app import app, main
from calprune.cli.pruned import compensate, quantize, recover

__all__ = [
    "app",
    "calib",
    "choose",
    "compensate",
    "demo",
    "evaluate",
    "main",
    "prune",
    "quantize",
    "recover",
    "similar",
    "sources",
    "start",
    "study",
    "synth",
]
