"""Native kernels over raw pointers, calls between objects, intrinsics, loading, forks."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest

from staticflow.native.toolchain import (
    llvm_backend as llvm_compile,
)
from staticflow.native.toolchain import (
    numba_frontend as numba_compile,
)
from staticflow.native.toolchain.intrinsics import declare
from staticflow.native.toolchain.llvm_backend import compile_ir
from staticflow.native.toolchain.objects import (
    External,
    KernelSource,
    NativeFunction,
    ObjectCode,
    Signature,
)
from staticflow.native.toolchain.toolchain import Toolchain, symbol_suffix

DTYPES = {"f4": "float32", "f8": "float64", "i4": "int32", "i8": "int64", "b1": "bool"}


def kernel(
    toolchain: Toolchain, text: str, result: str, *arguments: str, **options: Any
) -> NativeFunction:
    name = text.split("(")[0].split()[-1]
    source = KernelSource(name, text, Signature(result, arguments), **options)
    return toolchain.kernel(source)


@pytest.mark.parametrize("code", DTYPES)
def test_each_kind_of_pointer_is_read_and_written(toolchain: Toolchain, code: str) -> None:
    text = "def copy(a, b, n):\n    for i in range(n):\n        b[i] = a[n - 1 - i]\n"
    function = kernel(toolchain, text, "", f"{code}*", f"{code}*", "u8").bind()
    source = (np.arange(100) * 7 % 5 - 2).astype(DTYPES[code])
    target = np.zeros_like(source)
    function(source.ctypes.data, target.ctypes.data, len(source))
    np.testing.assert_array_equal(target, source[::-1])
    if code == "b1":
        assert set(target.view(np.uint8)) == {0, 1}


def test_bools_work_in_conditions_and_from_comparisons(toolchain: Toolchain) -> None:
    text = (
        "def choose(mask, a, out, flags, n):\n    for i in range(n):\n"
        "        out[i] = a[i] if mask[i] else f4(0)\n        flags[i] = a[i] > f4(0.5)\n"
    )
    function = kernel(toolchain, text, "", "b1*", "f4*", "f4*", "b1*", "u8").bind()
    a = np.random.default_rng(0).random(77, np.float32)
    mask, out, flags = a > 0.3, np.zeros_like(a), np.zeros(77, bool)
    function(mask.ctypes.data, a.ctypes.data, out.ctypes.data, flags.ctypes.data, 77)
    np.testing.assert_array_equal(out, np.where(mask, a, 0))
    np.testing.assert_array_equal(flags, a > 0.5)


@pytest.mark.parametrize("code", ["f4", "f8", "i4", "i8", "u8", "b1"])
def test_each_kind_of_scalar_is_passed_and_returned(toolchain: Toolchain, code: str) -> None:
    function = kernel(toolchain, "def same(x):\n    return x\n", code, code).bind()
    assert function(1) == 1
    assert function(0) == 0


ARITHMETIC = """
def f(x, n):
    t = 0.0
    for i in range(n, 0, -1):
        t += math.sqrt(x) * i + math.exp(-x) + abs(x) // 2 + max(i, 3) + i % 3
        t += x ** 3 + i ** 2 + (x % 0.75) + i // 2 + (i << 1) + (not i) + math.floor(x)
        if i == 2 or x > 3 and i < 5:
            continue
        t += 0.25
    return t
"""


def test_arithmetic(toolchain: Toolchain) -> None:
    names: dict[str, Any] = {"math": math}
    exec(ARITHMETIC, names)
    function = kernel(toolchain, ARITHMETIC.strip(), "f8", "f8", "i8").bind()
    for x in (2.5, 3.25):
        assert function(x, 7) == pytest.approx(names["f"](x, 7))


@pytest.mark.parametrize("code", ["f4", "f8", "i4", "i8", "u8"])
def test_min_and_max_are_pythons(toolchain: Toolchain, code: str) -> None:
    text = "def f(x, y):\n    return min(x, y) * 100 + max(x, y)\n"
    function = kernel(toolchain, text, "f8", code, code).bind()
    assert function(3, 5) == function(5, 3) == 305
    if code != "u8":
        assert function(-3, 5) == function(5, -3) == -295
    if code.startswith("f"):
        text = "def f(x, y):\n    return min(x, y)\n"
        function = kernel(toolchain, text, "f8", code, code).bind()
        assert math.isnan(function(math.nan, 1.0))
        assert function(1.0, math.nan) == min(1.0, math.nan) == 1.0


def test_divisions_by_zero_do_not_raise(toolchain: Toolchain) -> None:
    function = kernel(toolchain, "def f(x, y):\n    return x / y\n", "f8", "f8", "f8").bind()
    assert function(1.0, 0.0) == math.inf
    assert math.isnan(function(0.0, 0.0))


def test_what_only_numba_knows_still_compiles(toolchain: Toolchain) -> None:
    text = "def f(x):\n    t = (x, 2 * x)\n    return t[0] + t[1] + np.sign(x)\n"
    function = kernel(toolchain, text, "f8", "f8", namespace=lambda: {"np": np}).bind()
    assert function(-3.0) == -10.0


def test_kernels_call_each_other_by_symbol(toolchain: Toolchain) -> None:
    double = kernel(toolchain, "def double(x):\n    return x + x\n", "i8", "i8")
    text = "def twice(x):\n    return d(d(x))\n"
    twice = kernel(toolchain, text, "i8", "i8", externals={"d": double.external})
    text = "def both(x):\n    return d(x) + t(x)\n"
    externals = {"d": double.external, "t": twice.external}
    both = kernel(toolchain, text, "i8", "i8", externals=externals)
    assert both.bind()(5) == 30


def test_an_unknown_external_does_not_end_the_process(toolchain: Toolchain) -> None:
    nowhere = External("staticflow_no_such_function", Signature("i8", ("i8",)))
    text = "def lost(x):\n    return g(x)\n"
    with pytest.raises(RuntimeError, match="staticflow_no_such_function"):
        kernel(toolchain, text, "i8", "i8", externals={"g": nowhere})


def test_an_error_in_a_source_is_reported_with_the_line(toolchain: Toolchain) -> None:
    with pytest.raises(numba.core.errors.NumbaError, match="undefined_name"):
        kernel(toolchain, "def wrong(x):\n    return undefined_name(x)\n", "i8", "i8")


def test_jitted_functions_and_numba_intrinsics_in_the_namespace(toolchain: Toolchain) -> None:
    @numba.njit
    def average(x: float, y: float) -> float:
        if y < 0:
            raise ValueError("negative")
        values = np.zeros(2)
        values[0], values[1] = x, y
        return float(values.mean())

    text = "def f(x, y):\n    return i8(average(x, y))\n"
    options = {"namespace": lambda: {"average": average}, "error_result": -7}
    function = kernel(toolchain, text, "i8", "f8", "f8", **options).bind()
    assert function(2.0, 6.0) == 4
    assert function(2.0, -6.0) == -7


def test_an_intrinsic_of_ours_beside_a_jitted_function(toolchain: Toolchain) -> None:
    """Declared after Numba's contexts were filled, and taking several arguments."""
    test_jitted_functions_and_numba_intrinsics_in_the_namespace(toolchain)
    minus = declare("minus", "i8", ("i8", "i8"), lambda builder, x, y: builder.sub(x, y))
    names = {"minus": minus, "double": numba.njit(lambda x: 2 * x)}
    text = "def f(x):\n    return minus(double(x), 1)\n"
    function = kernel(
        toolchain, text, "i8", "i8", namespace=lambda: names, namespace_key=("minus",)
    )
    assert function.bind()(4) == 7


def test_jitted_functions_keep_their_options_and_kernels_theirs(toolchain: Toolchain) -> None:
    @numba.njit
    def quotient(x: float, y: float) -> float:
        return x / y

    text = "def f(x, y):\n    return quotient(x, 2.0) / y\n"
    options = {"namespace": lambda: {"quotient": quotient}, "error_result": -7}
    function = kernel(toolchain, text, "f8", "f8", "f8", **options).bind()
    assert function(1.0, 0.0) == math.inf
    with pytest.raises(ZeroDivisionError):
        quotient(1.0, 0.0)
    assert "fast" not in quotient.inspect_llvm(quotient.signatures[0])
    assert "reassoc" not in quotient.inspect_llvm(quotient.signatures[0])


def test_only_what_a_source_uses_of_its_namespace_counts() -> None:
    names = {"unused": numba.njit(lambda x: x), "double": numba.njit(lambda x: 2 * x)}
    text = "def f(x):\n    return x\n"
    source = KernelSource("f", text, Signature("i8", ("i8",)), namespace=lambda: names)
    assert numba_compile._lowered(source, "symbol").linked == []
    assert not names["unused"].signatures


def test_a_module_of_ir(toolchain: Toolchain) -> None:
    key = ("add", "1")
    name = f"add_{symbol_suffix(key)}"
    text = (
        f"define i64 @{name}(i64 %a, i64 %b) {{\n"
        "  %c = call i64 @inner(i64 %a, i64 %b)\n  ret i64 %c\n}\n"
        "define internal i64 @inner(i64 %a, i64 %b) {\n  %c = add i64 %a, %b\n  ret i64 %c\n}\n"
    )
    made: list[int] = []

    def build() -> str:
        made.append(1)
        return text

    addresses = toolchain.module(build, key)
    assert toolchain.module(build, key) == addresses and len(made) == 1
    assert list(addresses) == [name]
    signature = Signature("i8", ("i8", "i8"))
    assert NativeFunction(name, addresses[name], signature).bind()(20, 22) == 42


def test_the_same_source_is_loaded_once(toolchain: Toolchain) -> None:
    before = toolchain.counts.compiled
    text = "def once(x):\n    return x * 11\n"
    assert len({kernel(toolchain, text, "i8", "i8").address for _ in range(5)}) == 1
    assert toolchain.counts.compiled == before + 1


def test_many_threads_compile_at_once(toolchain: Toolchain) -> None:
    results: list[int] = []

    def work(offset: int) -> None:
        for k in range(4):
            text = f"def plus(x):\n    return x + {k}\n"
            results.append(kernel(toolchain, text, "i8", "i8").bind()(offset) - offset - k)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 16


def test_loops_over_distinct_pointers_vectorise_without_checks() -> None:
    arrays = [f"p{i}" for i in range(14)]  # far more than the optimiser would check for overlap
    lines = [f"        {p}[i] = {p}[i] * f4(0.5) + {q}[i]" for p, q in pairwise(arrays)]
    head = f"def wide({', '.join(arrays)}, lo, hi):\n    for i in range(lo, hi):\n"
    signature = Signature("", (*["f4*"] * 14, "u8", "u8"))
    source = KernelSource("wide", head + "\n".join(lines) + "\n", signature)
    lowered = numba_compile._lowered(source, "wide_symbol")
    module = llvm.parse_assembly(lowered.text)
    llvm_compile._internalise(module, {"wide_symbol"})
    llvm_compile._optimise(module, llvm_compile._machine())
    assert " x float>" in str(module)
    assert "vector.memcheck" not in str(module)


def test_memory_by_address_and_calls_by_address(toolchain: Toolchain) -> None:
    triple = kernel(toolchain, "def triple(x):\n    return 3 * x\n", "i8", "i8")
    text = (
        "def f(table, fn):\n    t = i8ptr(table)\n    f4ptr(t[0])[2] = f4(call1(fn, t[1]))\n"
        "    one = i8(f4_from_bits(i4(1065353216)))\n"
        "    return bits_f4(f4(1)) + bits_f8(f8_from_bits(9)) + one\n"
    )
    function = kernel(toolchain, text, "i8", "i8", "i8").bind()
    floats = np.zeros(4, np.float32)
    table = np.array([floats.ctypes.data, 14])
    assert function(table.ctypes.data, triple.address) == 0x3F800000 + 9 + 1
    assert floats.tolist() == [0, 0, 42, 0]


def test_atomics_and_copies(toolchain: Toolchain) -> None:
    text = (
        "def f(p, q):\n    a = atomic_add(p, 5)\n    store_release(p + 8, load_acquire(p) * 2)\n"
        "    b = swap_if_zero(p + 16, 77)\n    c = swap_if_zero(p + 16, 78)\n    pause()\n"
        "    yield_processor()\n    copy_bytes(q, p, 24)\n    return a * 10000 + b * 100 + c\n"
    )
    function = kernel(toolchain, text, "i8", "i8", "i8").bind()
    p, q = np.array([3, 0, 0]), np.zeros(4, np.int64)
    assert function(p.ctypes.data, q.ctypes.data) == 30077
    assert p.tolist() == [8, 16, 77] and q.tolist() == [8, 16, 77, 0]


def test_sleepers_wake_when_told_and_when_their_time_is_over(toolchain: Toolchain) -> None:
    wait = kernel(toolchain, "def f(p, v, us):\n    wait_while(p, v, us)\n", "", "i8", "i8", "i8")
    wake = kernel(toolchain, "def f(p):\n    store_release(p, 2)\n    wake_all(p)\n", "", "i8")
    word = np.array([1])
    began = time.perf_counter()
    wait.bind()(word.ctypes.data, 1, 20_000)
    assert time.perf_counter() - began > 0.015
    sleeper = threading.Thread(target=wait.bind(), args=(word.ctypes.data, 1, 900_000))
    began = time.perf_counter()
    sleeper.start()
    wake.bind()(word.ctypes.data)
    sleeper.join()
    assert word[0] == 2
    if sys.platform == "linux":
        assert time.perf_counter() - began < 0.8


def test_denormals_are_flushed_between_set_and_restore(toolchain: Toolchain) -> None:
    text = (
        "def f(p):\n    x = f4ptr(p)\n    x[1] = x[0] * f4(0.5)\n    old = flush_denormals()\n"
        "    x[2] = x[0] * f4(0.5)\n    restore_denormals(old)\n    x[3] = x[0] * f4(0.5)\n"
    )
    function = kernel(toolchain, text, "", "i8").bind()
    x = np.array([np.finfo(np.float32).tiny, 0, 0, 0], np.float32)
    function(x.ctypes.data)
    assert x[1] > 0 and x[3] == x[1] and x[2] in (0, x[1])


def test_compiled_ir_names_what_it_needs() -> None:
    text = (
        "declare double @cos(double)\ndefine double @f(double %x) {\n"
        "  %r = call double @cos(double %x)\n  ret double %r\n}\n"
    )
    entry = compile_ir(text)
    assert isinstance(entry, ObjectCode)
    assert (entry.symbols, entry.requires) == (("f",), ("cos",))


def in_child(action: Callable[[], bool]) -> bool:
    """Whether `action` gives True in a forked child, within a minute."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if action() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_runs_old_code_and_compiles_new(toolchain: Toolchain) -> None:
    old = kernel(toolchain, "def old(x):\n    return x + 1\n", "i8", "i8")

    def action() -> bool:
        text = "def new(x):\n    return g(x) * 2\n"
        new = kernel(toolchain, text, "i8", "i8", externals={"g": old.external})
        return old.bind()(1) == 2 and new.bind()(1) == 4

    assert in_child(action)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_while_another_thread_compiles(tmp_path: Path) -> None:
    toolchain = Toolchain(tmp_path)
    stop = threading.Event()

    def compile_on() -> None:
        k = 0
        while not stop.is_set():
            kernel(toolchain, f"def busy(x):\n    return x + {k}\n", "i8", "i8")
            k += 1

    thread = threading.Thread(target=compile_on)
    thread.start()
    try:
        text = "def child(x):\n    return x - 1\n"
        for _ in range(10):
            assert in_child(lambda: kernel(toolchain, text, "i8", "i8").bind()(3) == 2)
    finally:
        stop.set()
        thread.join()
