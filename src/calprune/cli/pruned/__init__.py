"""Commands for a model that is pruned: recover, compensate, quantize."""
