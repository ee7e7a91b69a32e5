"""Get back what pruning cost: train what is left towards the dense model's distributions, under the mask."""
