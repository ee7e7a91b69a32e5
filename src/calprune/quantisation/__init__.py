"""Quantise a model under its mask, and write the codes as other programs read them."""
