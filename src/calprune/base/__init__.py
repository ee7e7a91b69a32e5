"""What every other room builds on: plain data and names, the grammar of calls, whole files, progress."""

__version__ = "0.1.0"  # here, so that no room imports the package's door
