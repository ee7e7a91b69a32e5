"""calprune: which calibration data should I prune my language model with, how much does it matter, and do it."""

__version__ = "0.1.0"
