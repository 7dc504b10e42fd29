"""Steps to source: kernels and drivers as Numba's Python; text is printed here, last.

In: steps and buffers. Out: `DriverText`. May import: ir, lowering, native's names, errors.
"""
