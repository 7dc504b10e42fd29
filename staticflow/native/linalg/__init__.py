"""Factorisations of our own, and LAPACK's as SciPy brings them.

Sources of routines; `routines.table` names them. May import: toolchain, gemm, memory.
"""
