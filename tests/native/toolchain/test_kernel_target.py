"""Kernels that Numba compiles give what Python gives, and a number where Python has an error."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.errors import NumbaError

from staticflow.native.kernel_names import kernel_namespace
from staticflow.native.math.random_formulas import draw
from staticflow.native.toolchain import numba_frontend as numba_compile
from staticflow.native.toolchain.intrinsics import declare
from staticflow.native.toolchain.kernel_target import kernel_target
from staticflow.native.toolchain.objects import External, KernelSource, Signature
from staticflow.native.toolchain.target import vector_bytes
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.ops.cast import CASTS

DTYPES = {"f4": np.float32, "f8": np.float64, "i4": np.int32, "i8": np.int64, "b1": np.bool_}


def ir_of(source: KernelSource) -> str:
    return numba_compile._lowered(source, "symbol").text


def function(toolchain: Toolchain, text: str, result: str, *codes: str) -> Any:
    """The compiled function."""
    return toolchain.kernel(KernelSource("f", text, Signature(result, codes))).bind()


def python(text: str) -> Any:
    names: dict[str, Any] = {"math": math}
    exec(text, names)
    return names["f"]


INTEGERS = {
    "division": "def f(x, y):\n    return x // y * 1000 + x % y\n",
    "a constant divisor": "def f(x, y):\n    return x // 3 + 100 * (y % 4) + x // -2 + y % -5\n",
    "extremes": "def f(x, y):\n    return min(x, y) * 100 + max(x, 3) + abs(x) - -y\n",
    "choice": "def f(x, y):\n    return (x if x > y else y + 1) * (2 if x == 3 or y < 2 else 5)\n",
    "steps": """
def f(x, y):
    total = 0
    for i in range(x, 20, y):
        for j in range(i, -9, -2):
            if j % 3 == 1:
                continue
            if j < -5 and i > 2:
                break
            total += i * j
        total -= i
    return total
""",
    "a range is fixed when it begins": """
def f(x, y):
    n = x
    total = 0
    for i in range(n):
        n -= y
        i += 10
        total += i
    return total * 100 + n
""",
    "while": """
def f(x, y):
    n, steps = abs(x) + 1, 0
    while True:
        if n == 1 or steps > 50:
            break
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    while not (steps < y):
        steps -= y
    return steps
""",
    "what comes after a return": """
def f(x, y):
    if x > y:
        return x
        x = 5
    elif x == y:
        pass
    else:
        return -y
    return 7
""",
    "truth": "def f(x, y):\n    return (1 if x else 0) + (10 if not y else 20) + (x > 2) * 100\n",
    "bits": "def f(x, y):\n    return (x & y) + 10 * (x | y) + 100 * (x ^ y)\n",
    "shifts": "def f(x, y):\n    return (x << (y & 7)) + 1000 * (x >> (y & 3))\n",
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_pythons(name: str, toolchain: Toolchain) -> None:
    text = INTEGERS[name].strip() + "\n"
    ours, theirs = function(toolchain, text, "i8", "i8", "i8"), python(text)
    for x, y in itertools.product((-17, -4, -1, 0, 1, 3, 6, 23), (-5, -3, -1, 1, 2, 7)):
        if name in ("steps", "while") and y < 0:
            continue
        assert ours(x, y) == theirs(x, y), (x, y)


def test_the_lowest_word_divided_by_minus_one_wraps(toolchain: Toolchain) -> None:
    """The processor traps, which would end the process."""
    f = function(toolchain, "def f(x, y):\n    return x // y\n", "i8", "i8", "i8")
    g = function(toolchain, "def f(x, y):\n    return x % y\n", "i8", "i8", "i8")
    assert f(-(2**63), -1) == -(2**63) and g(-(2**63), -1) == 0
    assert [f(x, -1) for x in (7, -7)] == [-7, 7] and g(7, -1) == 0


@pytest.mark.parametrize("target", ["i4", "i8"])
@pytest.mark.parametrize("source", ["f4", "f8"])
def test_floats_beyond_the_integers_become_the_nearest(
    target: str, source: str, toolchain: Toolchain
) -> None:
    text = f"def f(x, y):\n    for i in range(8):\n        y[i] = {target}(x[i])\n    return 0\n"
    f = function(toolchain, text, "i8", f"{source}*", f"{target}*")
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, -2.9, 2.9, 0.0], DTYPES[source])
    y = np.ones(8, DTYPES[target])
    f(x.ctypes.data, y.ctypes.data)
    high, low = np.iinfo(y.dtype).max, np.iinfo(y.dtype).min
    np.testing.assert_array_equal(y, [0, high, low, high, low, -2, 2, 0])
    np.testing.assert_array_equal(y, CASTS[y.dtype.name].reference(x))


def test_integer_divisions_by_zero_give_zero(toolchain: Toolchain) -> None:
    f = function(toolchain, INTEGERS["division"], "i8", "i8", "i8")
    assert f(5, 0) == f(-5, 0) == f(0, 0) == 0


FLOATS = (
    "x + y * 2", "x - y / 3", "-x if x < y else y", "abs(x) - abs(y)", "min(x, y) - 2 * max(x, y)",
    "math.sqrt(abs(x)) + math.copysign(x, y)", "math.inf if x > y else -1.5",
    "1.0 if x == y or x != x else 0.0", "0.25 if x <= y and y >= 2 else x",
)  # fmt: skip


@pytest.mark.parametrize("code", ("f4", "f8"))
@pytest.mark.parametrize("expression", FLOATS)
def test_floats_are_pythons(expression: str, code: str, toolchain: Toolchain) -> None:
    text = f"def f(x, y):\n    return {expression}\n"
    ours, theirs = function(toolchain, text, "f8", code, code), python(text)
    for x, y in itertools.product((-2.5, -0.0, 0.0, 1.0, 3.25, math.inf, math.nan), repeat=2):
        np.testing.assert_allclose(ours(x, y), theirs(x, y), rtol=1e-7 if code == "f4" else 1e-15)


OPERATORS = ("+", "-", "*", "/", "//", "%", "==", "!=", "<", ">=", "&", "|", "^")
PAIRS = list(itertools.product(DTYPES, repeat=2))


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_types_mix_as_in_numba(left: str, right: str, toolchain: Toolchain) -> None:
    """The same function by plain Numba, with each operator that it takes for these types."""
    floats = "f" in left + right
    operators = [o for o in OPERATORS if not (floats and (o in "&|^" or "b1" in (left, right)))]
    lines = [f"        d[i * 13 + {k}] = a[i] {o} b[i]" for k, o in enumerate(operators)]
    lines.append("        c[0] = a[i] if i % 2 == 0 else b[i]")
    text = "\n".join(["def f(a, b, c, d, n):", "    for i in range(n):", *lines, ""])
    codes = (f"{left}*", f"{right}*", "f8*", "f8*", "i8")
    source = KernelSource("f", text, Signature("", codes), fastmath=())
    arrays = _operands(left, right)
    ours, theirs = (tuple(a.copy() for a in arrays) for _ in range(2))
    toolchain.kernel(source).bind()(*(a.ctypes.data for a in ours), 40)
    numba.njit(python(text), error_model="numpy")(*theirs, 40)
    np.testing.assert_array_equal(ours[2], theirs[2])
    np.testing.assert_array_equal(ours[3], theirs[3])
    assert not operators or ours[3].any()


def _operands(left: str, right: str) -> list[Any]:
    rng = np.random.default_rng(3)
    a = np.asarray(rng.integers(-9, 9, 40) * (0.5 if "f" in left else 1)).astype(DTYPES[left])
    b = np.asarray(rng.integers(1, 9, 40) * (0.5 if "f" in right else 1)).astype(DTYPES[right])
    return [a, b, np.zeros(1), np.zeros(40 * 13)]


def test_calls_behind_and_and_or_are_made_when_they_decide(toolchain: Toolchain) -> None:
    text = "def count(p):\n    i8ptr(p)[0] += 1\n    return i8ptr(p)[0]\n"
    count = toolchain.kernel(KernelSource("count", text, Signature("i8", ("i8",)), noalias=False))
    text = (
        "def f(x, p):\n    if x > 2 and count(p) > 0 or x < -2 or count(p) > 5:\n"
        "        return 1\n    return count(p) if x == 0 else 0\n"
    )
    source = KernelSource(
        "f", text, Signature("i8", ("i8", "i8")), externals={"count": count.external}, noalias=False
    )
    f = toolchain.kernel(source).bind()
    for x, calls in ((3, 1), (-3, 0), (1, 1), (0, 2)):
        counter = np.zeros(1, np.int64)
        f(x, counter.ctypes.data)
        assert counter[0] == calls


REFUSED = ("    return nothing(x)", "    return x.shape[0]")


@pytest.mark.parametrize("body", REFUSED)
def test_what_no_kernel_knows_is_refused(body: str) -> None:
    with pytest.raises(NumbaError):
        ir_of(KernelSource("f", f"def f(x):\n{body}\n", Signature("i8", ("i8",))))


def test_a_long_driver_takes_a_few_instructions_a_call() -> None:
    signature = Signature("", ("i8",) * 3)
    lengths = []
    for calls in (100, 200, 400):
        lines = [f"    b{i} = T[{i}]" for i in range(calls)]
        lines += [f"    work(b{i}, b{i} + 8 * S[1], S[0])" for i in range(calls)]
        text = "\n".join(["def f(T, S):", *lines, "    return 0", ""])
        source = KernelSource(
            "f", text, Signature("i8", ("i8*", "i8*")),
            externals={"work": External("work_symbol", signature)}, noalias=False,
        )  # fmt: skip
        lengths.append(ir_of(source).count("\n"))
    assert lengths[2] - lengths[1] == 2 * (lengths[1] - lengths[0])


def test_every_function_of_kernels_is_compiled() -> None:
    for name in kernel_namespace():
        base, _, suffix = name.rpartition("_")
        if suffix not in ("f4", "f8") or base in ("lowest", "highest", "room", "local", "abreast"):
            continue
        pairs = ("pow", "arctan2", "hypot", "remainder", "floor_divide")
        draws = base in ("uniform", "normal")
        codes = ("i8",) * 4 if draws else (suffix,) * (2 if base in pairs else 1)
        arguments = ", ".join("abcd"[: len(codes)])
        text = f"def f({arguments}):\n    return {name}({arguments})\n"
        source = KernelSource("f", text, Signature(suffix, codes), namespace=kernel_namespace)
        assert "define" in ir_of(source)


@pytest.mark.parametrize("code", ["f4", "f8"])
def test_loops_over_several_vectors_at_a_time_miss_nothing(code: str, toolchain: Toolchain) -> None:
    text = f"def f(x, n):\n    for i in abreast_{code}(n):\n        x[i] = tanh_{code}(x[i])\n"
    source = KernelSource(
        "f", text, Signature("", (f"{code}*", "i8")),
        namespace=kernel_namespace, namespace_key=(code,),
    )  # fmt: skip
    assert ("llvm.loop.interleave.count" in ir_of(source)) == (vector_bytes() == 64)
    call = toolchain.kernel(source).bind()
    values = np.linspace(-3, 3, 700, dtype=DTYPES[code])
    for count in (0, 1, 7, 63, 64, 65, 127, 128, 129, 255, 256, 500, 640):
        out = values.copy()
        call(out.ctypes.data, count)
        np.testing.assert_allclose(out[:count], np.tanh(values[:count]), rtol=3e-7)
        np.testing.assert_array_equal(out[count:], values[count:])


@pytest.mark.parametrize("name", ["uniform_f4", "uniform_f8", "normal_f4", "normal_f8"])
def test_draws_in_a_loop_have_the_bits_of_the_reference(name: str, toolchain: Toolchain) -> None:
    dist, suffix = name.split("_")
    text = f"def f(o, n):\n    for i in range(n):\n        o[i] = {name}(-3, 2, 7, i)\n"
    source = KernelSource(
        "f", text, Signature("", (f"{suffix}*", "i8")),
        namespace=kernel_namespace, namespace_key=(name,),
    )  # fmt: skip
    out = np.empty(1000, DTYPES[suffix])
    toolchain.kernel(source).bind()(out.ctypes.data, out.size)
    expected = draw(dist, np.dtype(DTYPES[suffix]).name, -3, 2, 7, out.size)
    np.testing.assert_array_equal(out, expected)


def test_an_intrinsic_that_was_typed_elsewhere_is_lowered_all_the_same(
    toolchain: Toolchain,
) -> None:
    """Outside of a compilation Numba takes its own target for the current one."""
    word = declare("word_of_a_test", "i8", ("i8",), lambda builder, x: builder.add(x, x))
    context = kernel_target.typing_context
    kernel_target.target_context.refresh()
    context.resolve_function_type(context.resolve_value_type(word), (numba.int64,), {})
    source = KernelSource(
        "f", "def f(x):\n    return word_of_a_test(x)\n", Signature("i8", ("i8",)),
        namespace=lambda: {"word_of_a_test": word}, namespace_key=("word_of_a_test",),
    )  # fmt: skip
    assert toolchain.kernel(source).bind()(21) == 42


def test_a_very_long_driver_runs_without_optimisation(toolchain: Toolchain) -> None:
    lines = [f"    a{i} = T[0] * {i} + S[0]" for i in range(3000)]
    lines += [f"    T[1] += a{i}" for i in range(3000)]
    text = "\n".join(["def f(T, S):", *lines, "    return T[1]", ""])
    source = KernelSource("f", text, Signature("i8", ("i8*", "i8*")), noalias=False)
    assert ir_of(source).count("\n") > numba_compile.LONG
    table, sizes = np.array([2, 0]), np.array([5])
    f = toolchain.kernel(source).bind()
    assert f(table.ctypes.data, sizes.ctypes.data) == sum(2 * i + 5 for i in range(3000))
