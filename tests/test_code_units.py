"""Code that goes with its last user: it stays callable meanwhile, and leaves no memory behind."""

from __future__ import annotations

import ctypes
import gc
import sys

import pytest
from growth_run import size_of_process

from staticflow.native.llvm_compile import compile_ir
from staticflow.native.loader import UNITS_AN_ENGINE, Loader
from staticflow.native.objects import ObjectCode


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
