"""The commands, one file a group. Each parses, calls the library and prints; heavy imports are inside.

`calprune --help` imports no torch.
"""

from calprune.cli import calib, check, choose, compare, demo, evaluate, export, prune, similar, sources, study, synth
from calprune.cli.app import app, main

__all__ = [
    "app",
    "calib",
    "check",
    "choose",
    "compare",
    "demo",
    "evaluate",
    "export",
    "main",
    "prune",
    "similar",
    "sources",
    "study",
    "synth",
]
