"""Studies: a grid of trials, run where files are missing, and read back as a table."""
