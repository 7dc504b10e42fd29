"""Code that goes with its last user: it stays callable meanwhile, and leaves no memory behind."""

from __future__ import annotations

import ctypes
import gc
import sys

import pytest

from staticflow.native.toolchain.llvm_backend import compile_ir
from staticflow.native.toolchain.loader import UNITS_AN_ENGINE, Loader
from staticflow.native.toolchain.objects import KernelSource, ObjectCode, Signature
from staticflow.native.toolchain.toolchain import Toolchain
from tests.support.growth_run import size_of_process

KIND = Signature("", ("f4*", "i8"))


def numbered(number: int) -> ObjectCode:
    """A function that returns its number."""
    name = f"numbered_{number}"
    return compile_ir(f"define i64 @{name}() {{\n  ret i64 {number}\n}}")


def call(address: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(address)())


def test_code_outlives_the_engine_that_others_take_the_place_of() -> None:
    loader = Loader()
    kept, gone = {}, []
    for number in range(3 * UNITS_AN_ENGINE):
        tracker, addresses = loader.link([numbered(number)], {})
        if number % UNITS_AN_ENGINE in (0, 5, UNITS_AN_ENGINE - 1):
            kept[number] = tracker, addresses[f"numbered_{number}"]
        else:
            gone.append(tracker)
    for tracker in gone:
        loader.unload(tracker)
    loader.link([numbered(1000)], {})  # which is when code is unloaded
    gc.collect()
    assert all(call(address) == number for number, (_, address) in kept.items())
    for tracker, _ in kept.values():
        loader.unload(tracker)
    tracker, addresses = loader.link([numbered(0)], {})
    assert call(addresses["numbered_0"]) == 0
    loader.unload(tracker)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_what_is_linked_and_unloaded_leaves_no_memory() -> None:
    loader, entry = Loader(), numbered(5)

    def link_many(count: int) -> int:
        for _ in range(count):
            tracker, _ = loader.link([entry], {})
            loader.unload(tracker)
        return size_of_process()["kilobytes"]

    before = link_many(100)
    assert link_many(1000) - before < 2000  # 8000, as long as LLVM keeps something of each


def test_what_numba_knows_of_a_kernel_goes_with_it(toolchain: Toolchain) -> None:
    """Its conversions and the functions that it calls are types of its own to Numba."""

    def compile_many(first: int, count: int) -> int:
        for number in range(first, first + count):
            name = f"made_{number}"
            loop = f"    for i in range(n):\n        a[i] = f4(i8(a[i]) + {number})\n"
            text = f"def {name}(a, n):\n{loop}"
            toolchain.compiled_kernel(KernelSource(name, text, KIND))
        gc.collect()
        return len(gc.get_objects())

    before = compile_many(0, 5)
    assert compile_many(5, 20) - before < 20 * 15  # some 130 a kernel, where they stay
