"""What a printed program imports: what compiles its functions, and every name that they use.

`session.source` is a module of Python. Its functions become Numba dispatchers here, by the same
units of source as in a session (`program_units`), and so the very code of the session, from the
same cache. Every name of a kernel (`f4`, `tanh_f4`), of a product (`gemm_f4`) and of a routine
(`cholesky_f8`) can be imported from this module.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.native import memory
from staticflow.native.gemm.epilogue_text import parsed_tile
from staticflow.native.gemm.products import product_with_epilogue
from staticflow.native.memory import Array
from staticflow.native.routines.table import ITEM_BYTES, PROVIDED, ROUTINES
from staticflow.native.routines.table import routine as native_routine
from staticflow.native.routines.widen_rows import NARROW_ROUTINES, narrow_routine
from staticflow.native.threads.product_pool import parts_functions
from staticflow.native.toolchain import watch
from staticflow.native.toolchain.code_unit import CodeUnit
from staticflow.native.toolchain.objects import (
    External,
    KernelSource,
    NativeFunction,
    Signature,
    TypedName,
)
from staticflow.native.toolchain.toolchain import Toolchain, toolchain
from staticflow.native.training import row_blocks
from staticflow.runtime.blocked_frame import (
    Block,
    BlockedFrame,
    PartBlocks,
    block_rows,
    frame_of_blocks,
)
from staticflow.runtime.program import Frame
from staticflow.runtime.program_units import (
    BLOCK_SIGNATURE,
    DRIVER_SIGNATURE,
    PRODUCTS,
    by_words,
    driver_unit,
    kernel_unit,
    sum_over_shards,
)

__all__ = [
    "Given",
    "block_rows",
    "decoded",
    "driver",
    "epilogue",
    "isqrt",
    "kernel",
    "loop",
    "part",
]

Decorator = Callable[[Callable[..., Any]], "Compiled"]
# What makes the functions without a dtype.
UNTYPED: Mapping[str, Callable[[Toolchain], External]] = {
    "begin_parts": lambda tools: parts_functions(tools)["begin_parts"],
    "end_parts": lambda tools: parts_functions(tools)["end_parts"],
    "run_blocks": lambda tools: row_blocks.run_blocks(tools).external,
    "stopped": watch.stopped,
}


class Compiled:
    """A function of a printed program, compiled when it is first needed."""

    def __init__(self, unit: KernelSource, words: bool = False) -> None:
        self.unit, self._words = unit, words

    @functools.cached_property
    def function(self) -> NativeFunction:
        """The loaded code."""
        return toolchain().kernel(self.unit)

    @functools.cached_property
    def external(self) -> External:
        """How other functions of the program call it."""
        return by_words(self.function) if self._words else self.function.external

    @functools.cached_property
    def address(self) -> int:
        """Where its code is."""
        return self.function.address

    @functools.cached_property
    def _bound(self) -> Callable[..., Any]:
        return self.function.bind()

    def __call__(self, *arguments: Array | int) -> Any:
        """Call it: arrays are passed by their addresses."""
        return self._bound(*(a if isinstance(a, int) else a.ctypes.data for a in arguments))


def kernel(arguments: str) -> Decorator:
    """A loop nest over pointers and sizes, such as `"f4*, f4*, i8"`."""
    codes = tuple(code.strip() for code in arguments.split(","))

    def decorate(function: Callable[..., Any]) -> Compiled:
        name, text, externals = _parts_of(function)
        return Compiled(kernel_unit(name, text, codes, externals), words=True)

    return decorate


def driver(function: Callable[..., Any]) -> Compiled:
    """What calls kernels in order: i8(T, S), of a table of addresses and one of sizes."""
    name, text, externals = _parts_of(function)
    return Compiled(driver_unit(name, text, DRIVER_SIGNATURE, externals))


def part(function: Callable[..., Any]) -> Compiled:
    """Some rows of a driver's work: i8(T, which part, scratch memory)."""
    name, text, externals = _parts_of(function)
    return Compiled(driver_unit(name, text, BLOCK_SIGNATURE, externals))


def loop(signature: str) -> Decorator:
    """Any other function, such as `"i8(i8*, f8*, i8)"`."""
    result, _, arguments = signature.rstrip(")").partition("(")
    codes = tuple(code.strip() for code in arguments.split(","))

    def decorate(function: Callable[..., Any]) -> Compiled:
        name, text, externals = _parts_of(function)
        return Compiled(driver_unit(name, text, Signature(result, codes), externals))

    return decorate


def epilogue(
    suffix: str, beside: Compiled, own: str, roles: Mapping[str, str], text: str
) -> External:
    """A matrix product that does with its tiles, while they are in registers, what `beside` does
    with an array. This code alone is no Numba source: `gemm.epilogue` makes it of `text`.
    """
    tile = parsed_tile(suffix, own, roles, text)
    unit = CodeUnit(toolchain(), lasting=True)
    return product_with_epilogue(toolchain(), unit, tile, beside.external)


def _parts_of(function: Callable[..., Any]) -> tuple[str, str, dict[str, External]]:
    """A function's name, its source from `def` on, and the compiled functions that it may call."""
    lines = inspect.getsource(function).splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith("def "))
    text = "".join(line for line in lines[start:] if not line.lstrip().startswith("#"))
    found: dict[str, External] = {}
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, Compiled):
            found[name] = value.external
        elif isinstance(value, External):
            found[name] = value
    return function.__name__, text, found


def __getattr__(name: str) -> Any:
    """A name that kernels and drivers use."""
    if name.startswith("__"):
        raise AttributeError(name)
    makers = _makers()
    named = {str(n): n for n in (TypedName(f, s) for f in makers for s in ITEM_BYTES)}
    if name in named:
        return makers[named[name].function](toolchain(), named[name])
    if name in UNTYPED:
        return UNTYPED[name](toolchain())
    names = _intrinsics()
    if name not in names:
        raise AttributeError(f"no kernel uses a name {name!r}")
    return names[name]


def _makers() -> Mapping[str, Callable[[Toolchain, TypedName], External]]:
    """What makes the functions that there are for several dtypes; the user's may have joined."""
    return {
        **dict.fromkeys(PRODUCTS, _product),
        **dict.fromkeys(NARROW_ROUTINES, narrow_routine),
        **dict.fromkeys((*ROUTINES, *PROVIDED), native_routine),
        "all_sum": lambda tools, named: sum_over_shards(tools, named.suffix),
    }


def _product(tools: Toolchain, named: TypedName) -> External:
    return PRODUCTS[named.function](tools, named.suffix)


@functools.cache
def _intrinsics() -> Mapping[str, object]:
    from staticflow.native.kernel_names import cycles, kernel_namespace
    from staticflow.native.toolchain.intrinsics import STANDARD_NAMES

    return {**STANDARD_NAMES, **kernel_namespace(), "cycles": cycles}


def decoded(dtype: str, *digits: str) -> Array:
    """A constant of a printed program, whose bytes are written in hexadecimal."""
    return np.frombuffer(bytes.fromhex("".join(digits)), dtype).copy()


class Given:
    """The arrays of an NPZ file, if the command line names one; random ones for those it lacks."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arrays: dict[str, Array] = {}
        self._results: dict[str, Array] = {}
        self._result = Path(arguments[1]) if len(arguments) > 1 else None
        self._random = np.random.default_rng(0)
        self._kept: list[Array] = []
        self._blocked: list[BlockedFrame] = []
        if arguments:
            with np.load(Path(arguments[0]), allow_pickle=False) as file:
                self.arrays = {name: file[name] for name in file.files}

    def sizes(
        self, declared: Mapping[str, Sequence[str | int]], assumed: Mapping[str, int]
    ) -> dict[str, int]:
        """The named sizes: of the arrays where they are given, else as assumed."""
        found: dict[str, int] = {}
        for name, shape in declared.items():
            for axis, size in enumerate(shape):
                if isinstance(size, str) and name in self.arrays:
                    found.setdefault(size, self.arrays[name].shape[axis])
        return {**assumed, **found}

    def array(self, name: str, shape: Sequence[int], dtype: str, scale: float = 1.0) -> Array:
        """An array by its name: as given, or random numbers (integers: zeros)."""
        shape = tuple(shape)
        value = self.arrays.get(name)
        if value is None:
            floats = np.dtype(dtype).kind == "f"
            value = scale * self._random.standard_normal(shape) if floats else np.zeros(shape)
        elif value.shape != shape:
            fail(GraphError, f"{name} has another shape", f"{value.shape}, not {shape}")
        return self.keep(memory.filled(np.ascontiguousarray(value, dtype), dtype))

    def keep(self, array: Array) -> Array:
        """An array that lives as long as this."""
        self._kept.append(array)
        return array

    def new(self, dtype: str, *shape: int) -> Array:
        """Zeros."""
        return self.keep(memory.zeros(shape, dtype, memory.LINE))

    def place(self, dtype: str, count: int) -> int:
        """The address of so many zeros."""
        return int(self.new(dtype, count).ctypes.data)

    def blocks(
        self,
        step: Compiled,
        outside: Array,
        T: Array,
        sizes: Mapping[int, Array],
        inputs: Mapping[int, int],
        sums: Sequence[tuple[Array, Array]],
    ) -> int:
        """The address of what `run_blocks` goes over: the rows of a batch, block by block.

        `sizes` has the table S of each block by its first row, `inputs` the bytes of a row by the
        number of the buffer; what a block leaves in an array is added up in another one.
        """
        none = memory.aligned(0)
        first = next(iter(sizes.values()))
        frame = Frame(T, first, none, none, (T.ctypes.data, first.ctypes.data))
        blocks = [Block(frame, S, row) for row, S in sizes.items()]
        found = frame_of_blocks([PartBlocks(step.address, blocks, outside)])
        for buffer, row_bytes in inputs.items():
            found.parts[0].bind_rows(buffer, row_bytes)
        for part, total in sums:
            found.add_up([part], total)
        self._blocked.append(found)
        return found.addresses[0]

    def write(self, name: str, value: Any) -> None:
        """Keep a result for the second file of the command line."""
        self._results[name] = np.asarray(value)

    def close(self) -> None:
        """Write that file, if there is one."""
        if self._result is not None:
            np.savez(self._result, allow_pickle=False, **self._results)

    def batches(self, array: Array, axes: Sequence[int], size: int) -> list[int]:
        """The addresses of an array's batches, which are cut along some axes."""
        rows = array.shape[axes[0]]
        cuts = [slice(first, first + size) for first in range(0, rows, size)]
        index = [
            tuple(cut if axis in axes else slice(None) for axis in range(array.ndim))
            for cut in cuts
        ]
        return [self.keep(np.ascontiguousarray(array[i])).ctypes.data for i in index]
