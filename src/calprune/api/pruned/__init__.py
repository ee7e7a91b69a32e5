"""The public functions for a model that is pruned: train it, compensate for what went, quantise it; and one that
becomes sparse and low-rank at once."""
