"""The commands about calibration data: sources, sets, how alike they are, and what a model writes itself."""
