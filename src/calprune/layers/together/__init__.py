"""All batches through one block side by side (pausing, sequential)."""
