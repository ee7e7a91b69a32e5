"""The methods of removal: which blocks, heads, neurons or experts go."""
