"""The public functions for a model that is pruned: train it, compensate for what went, quantise it."""
