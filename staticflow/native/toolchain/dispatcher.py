"""Kernels as Numba dispatchers.

source -> bytecode, Numba's IR, types -> LLVM IR     here: `kernel_passes` in `kernel_target`
LLVM IR -> object code                               `llvm_backend`, once
"""

from __future__ import annotations

from typing import Any

from numba.core import dispatcher
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.target_extension import dispatcher_registry

from staticflow.native.toolchain.kernel_passes import CallingCompiler, KernelCompiler
from staticflow.native.toolchain.kernel_target import (
    KernelProcessor,
    add_bool_pointers_to_numba,
    kernel_target,
)
from staticflow.native.toolchain.objects import KernelSource


class _FunctionCompiler(dispatcher._FunctionCompiler):  # type: ignore[misc]
    """What a dispatcher compiles with, and the flags that Numba has no option for."""

    noalias = True
    counts_references = False

    def _customize_flags(self, flags: Any) -> Any:
        flags.noalias, flags.nrt = self.noalias, self.counts_references
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        return flags


class KernelDispatcher(CPUDispatcher):  # type: ignore[misc]
    """A kernel as a Numba dispatcher, whose one overload is LLVM IR in an `ObjectLibrary`."""

    targetdescr = kernel_target
    compiler_class: type = KernelCompiler

    def __init__(self, function: Any, kernel: KernelSource) -> None:
        options = {
            "nopython": True, "error_model": "numpy", "fastmath": set(kernel.fastmath) or False,
        }  # fmt: skip
        super().__init__(function, targetoptions=options)
        self._compiler = _FunctionCompiler(
            function, self.targetdescr, options, {}, self.compiler_class
        )
        self._compiler.noalias = kernel.noalias
        self._compiler.counts_references = self.targetdescr is cpu_target

    def add_overload(self, result: Any) -> None:
        """Numba would register the address of its code; this has none yet."""
        self.overloads[tuple(result.signature.args)] = result


dispatcher_registry[KernelProcessor] = KernelDispatcher


class CallingDispatcher(KernelDispatcher):
    """A kernel that calls jitted functions or NumPy, and needs all that Numba knows."""

    targetdescr = cpu_target
    compiler_class = CallingCompiler

    def __init__(self, function: Any, kernel: KernelSource) -> None:
        add_bool_pointers_to_numba()
        super().__init__(function, kernel)
