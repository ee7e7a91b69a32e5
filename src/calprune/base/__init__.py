"""What every other room builds on: plain data and names, the grammar of calls, whole files, progress."""
