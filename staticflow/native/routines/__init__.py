"""Routines on whole buffers, by name: linear algebra, rows, the user's own functions.

In: a name and a dtype. Out: a compiled function. May import: toolchain, gemm, linalg, memory.
"""
