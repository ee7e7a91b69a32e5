"""The commands, one file a group; those about calibration data in `data`. Each parses, calls the library and prints;
heavy imports are inside.

`calprune --help` imports no torch.
"""

from calprune.cli import choose, demo, evaluate, pack, prune, speed, start, study
from calprune.cli.app import app, main
from calprune.cli.data import calib, similar, sources, synth
from calprune.cli.pruned import compensate, decompose, quantize, recover

__all__ = [
    "app",
    "calib",
    "choose",
    "compensate",
    "decompose",
    "demo",
    "evaluate",
    "main",
    "pack",
    "prune",
    "quantize",
    "recover",
    "similar",
    "sources",
    "speed",
    "start",
    "study",
    "synth",
]
