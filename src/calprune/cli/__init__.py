"""The commands, one file a group. Each parses, calls the library and prints; heavy imports are inside.

What imports nothing heavy at the top starts at once: `calprune --help` imports no torch.
"""

from calprune.cli import calib
from calprune.cli.app import app, main

__all__ = ["app", "calib", "main"]
