"""Scalar math functions in loops that are compiled as the generated kernels are."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
from numba import types
from numba.core.compiler import Flags, compile_extra
from numba.core.registry import cpu_target

from staticflow.native.math.scalar import FUNCTIONS

FAST = {"reassoc", "contract", "nsz", "arcp"}
FLOAT = {"f4": np.float32, "f8": np.float64}
FORMATS = ("f4", "f8")


class Kernel:
    """`o[i] = expression` compiled as the generated kernels are."""

    def __init__(self, expression: str, format_: str, arity: int) -> None:
        names = "ab"[:arity]
        source = f"def k({', '.join(names)}, o, n):\n for i in range(n): o[i] = {expression}\n"
        namespace = dict(FUNCTIONS)
        exec(source, namespace)
        flags = Flags()
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.noalias = True
        flags.error_model = "numpy"
        flags.fastmath = FAST
        pointer = types.CPointer(types.float32 if format_ == "f4" else types.float64)
        typing_context, target_context = cpu_target.typing_context, cpu_target.target_context
        typing_context.refresh()
        target_context.refresh()
        arguments = (pointer,) * (arity + 1) + (types.int64,)
        compiled = compile_extra(
            typing_context, target_context, namespace["k"], arguments, types.void, flags, {}
        )
        self.library = compiled.library
        self.dtype = FLOAT[format_]
        pointers = [ctypes.c_void_p] * (arity + 3)
        self._call = ctypes.CFUNCTYPE(ctypes.c_int, *pointers, ctypes.c_int64)(
            self.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        )

    def __call__(self, *inputs: Any) -> Any:
        arrays = [np.ascontiguousarray(x, self.dtype) for x in inputs]
        result = np.empty_like(arrays[0])
        scratch = np.zeros(2, np.uintp)  # Numba's return value and exception
        addresses = [a.ctypes.data for a in (*arrays, result)]
        self._call(scratch.ctypes.data, scratch[1:].ctypes.data, *addresses, result.size)
        return result


@functools.cache
def kernel(name: str, format_: str, arity: int = 1) -> Kernel:
    arguments = ", ".join(f"{x}[i]" for x in "ab"[:arity])
    return Kernel(f"{name}_{format_}({arguments})", format_, arity)


@functools.cache
def every_exponent(format_: str) -> Any:
    """Both signs and every exponent with many fractions, and dense points where most happens."""
    random = np.random.default_rng(0)
    bits, fraction, exponents, count = (
        (np.uint32, 23, 255, 2000) if format_ == "f4" else (np.uint64, 52, 2047, 120)
    )
    fractions = random.integers(0, 1 << fraction, (exponents, count), dtype=bits)
    fractions[:, :4] = [0, 1, (1 << fraction) - 1, 1 << (fraction - 1)]
    high = np.arange(exponents, dtype=bits)[:, None] << bits(fraction)
    x = (high | fractions).ravel().view(FLOAT[format_])
    dense = [np.linspace(-1.2, 1.2, 30001), np.linspace(-40, 40, 100001)]
    dense.append(np.linspace(-110, 110, 100001) if format_ == "f4" else 7.2 * dense[1] * 2.7)
    return np.concatenate([x, -x, *dense]).astype(FLOAT[format_])
