"""The inner loop of SparseGPT: in torch's operations (solve), compiled for a CPU (numba) and for a GPU (triton)."""
