"""Source to machine code: Numba's compiler, LLVM, the cache on disk, loading, unloading.

In: `KernelSource` or LLVM IR of a fixed routine. Out: addresses of functions. Knows no graph. May
import: native.memory, errors.
"""
