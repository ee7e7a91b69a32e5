"""The commands, one file a group. Each parses, calls the library and prints; heavy imports are inside.

`calprune --help` imports no torch.
"""

from calprune.cli import calib, choose, demo, diff, evaluate, prune, similar, sources, study, synth
from calprune.cli.app import app, main

__all__ = [
    "app",
    "calib",
    "choose",
    "demo",
    "diff",
    "evaluate",
    "main",
    "prune",
    "similar",
    "sources",
    "study",
    "synth",
]
