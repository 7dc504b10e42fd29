"""Matrix products: which way for which sizes (`dispatch`), then one file for each way.

In: a dtype and a vector's width. Out: C symbols that drivers call. May import: toolchain, memory.
"""
