"""The version of calprune."""

__version__ = "0.1.0"
