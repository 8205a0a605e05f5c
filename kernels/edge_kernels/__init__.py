"""Numba kernels of the engine: free functions over arrays and addresses.

They import nothing of ours. Every module is named for what it computes; this file names nothing, so
that a process pays only for the kernels it uses.
"""
