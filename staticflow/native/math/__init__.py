"""Scalar functions that vectorise: formulas in plain Python, traced to LLVM.

In: a format (float32 or float64). Out: Numba intrinsics, by the names that kernels call them. May
import: toolchain.
"""
