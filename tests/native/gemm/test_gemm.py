"""The emitted matrix product against NumPy: every stride pattern, tail, size class and width."""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm
import numpy as np
import pytest

import staticflow as sf
from staticflow.compiler.ir.steps import Operand, ProductStep
from staticflow.native.gemm.dispatch import gemm_ir
from staticflow.native.gemm.prepacked import SPARE_ROWS, WIDEST
from staticflow.native.gemm.scratch import GEMM_WORK_BYTES
from staticflow.native.toolchain.llvm_backend import compile_ir
from staticflow.native.toolchain.target import target_machine
from staticflow.runtime.reentrant import scratch_conditions

SUFFIX = {"float32": "f4", "float64": "f8"}


def load_gemm(dtype, vector_bytes):
    """The compiled product in an engine of its own, since all widths have the same symbol."""
    entry = compile_ir(gemm_ir(dtype, vector_bytes))
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(entry.code))
    engine.finalize_object()
    address = engine.get_function_address(f"sf_gemm_{SUFFIX[dtype]}")
    return engine, ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 13)(address)


@pytest.fixture(
    scope="module",
    params=[
        ("float32", 64),
        ("float32", 32),
        ("float32", 16),
        ("float64", 64),
        ("float64", 32),
        ("float64", 16),
    ],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def gemm(request):
    dtype, vector_bytes = request.param
    engine, function = load_gemm(dtype, vector_bytes)
    work = np.zeros(GEMM_WORK_BYTES + 4096 + 128, np.uint8)
    start = -work.ctypes.data % 64
    work[start + GEMM_WORK_BYTES :] = 77

    def run(a, b, c, accumulate):
        (m, k), n = a.shape, b.shape[1]
        size = a.itemsize
        function(
            m,
            n,
            k,
            a.ctypes.data,
            a.strides[0] // size,
            a.strides[1] // size,
            b.ctypes.data,
            b.strides[0] // size,
            b.strides[1] // size,
            c.ctypes.data,
            c.strides[0] // size,
            accumulate,
            work.ctypes.data + start,
        )
        assert (work[start + GEMM_WORK_BYTES :] == 77).all(), "wrote beyond the work buffer"

    run.dtype = np.dtype(dtype)
    run.work = work[start : start + GEMM_WORK_BYTES]
    run.engine = engine
    return run


def matrix(rng, rows, columns, layout, dtype):
    """A rows x columns view of the given layout, with NaN in the memory around it."""
    pad = 3
    if layout == "row":
        base = np.full((rows + 1, columns + pad), np.nan, dtype)
        view = base[:rows, :columns]
    elif layout == "column":
        base = np.full((columns + 1, rows + pad), np.nan, dtype)
        view = base[:columns, :rows].T
    elif layout == "spread":
        base = np.full((2 * rows + 1, 3 * columns + pad), np.nan, dtype)
        view = base[: 2 * rows : 2, : 3 * columns : 3]
    elif layout == "reversed":
        base = np.full((rows + 2, columns + pad), np.nan, dtype)
        view = base[1 : rows + 1, 1 : columns + 1][::-1, ::-1]
    else:
        base = np.full((1, columns), np.nan, dtype)
        view = np.lib.stride_tricks.as_strided(base, (rows, columns), (0, base.itemsize))
    view[...] = rng.standard_normal(view.shape)
    return view


def check(gemm, m, n, k, a_layout="row", b_layout="row", accumulate=0, c_pad=5):
    rng = np.random.default_rng([m, n, k])
    a = matrix(rng, m, k, a_layout, gemm.dtype)
    b = matrix(rng, k, n, b_layout, gemm.dtype)
    frame = rng.standard_normal((m + 2, n + c_pad)).astype(gemm.dtype)
    if not accumulate:
        frame[1 : m + 1, :n] = np.nan
    before = frame.copy()
    gemm(a, b, frame[1 : m + 1, :n], accumulate)
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    start = before[1 : m + 1, :n].astype(np.float64) if accumulate else 0.0
    bound = (abs(a64) @ abs(b64) + abs(start)) * (k + 2) * np.finfo(gemm.dtype).eps
    error = abs(frame[1 : m + 1, :n] - (a64 @ b64 + start))
    assert (error <= bound).all(), (m, n, k, a_layout, b_layout, accumulate, np.max(error))
    frame[1 : m + 1, :n] = before[1 : m + 1, :n]
    np.testing.assert_array_equal(frame, before)  # nothing beside C was touched


LAYOUTS = ["row", "column", "spread", "reversed", "repeated"]


@pytest.mark.parametrize("b_layout", LAYOUTS)
@pytest.mark.parametrize("a_layout", LAYOUTS)
def test_layouts(gemm, a_layout, b_layout):
    for m, n, k in [(5, 7, 3), (17, 35, 19), (33, 1, 20), (1, 40, 37), (1, 1, 50), (16, 64, 1)]:
        for accumulate in (0, 1):
            check(gemm, m, n, k, a_layout, b_layout, accumulate)


@pytest.mark.parametrize("b_layout", ["row", "column"])
@pytest.mark.parametrize("a_layout", ["row", "column"])
def test_every_small_size(gemm, a_layout, b_layout):
    sizes = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33]
    for number, (m, n, k) in enumerate((m, n, k) for m in sizes for n in sizes for k in sizes):
        if number % 5 == 0 or 0 in (m, n, k) or 1 in (m, n, k):
            check(gemm, m, n, k, a_layout, b_layout, number % 2, c_pad=number % 3)


@pytest.mark.parametrize("a_layout", ["row", "column", "reversed"])
def test_few_columns(gemm, a_layout):
    """Rows in groups with a rest, C's rows following each other (a pad of 0) or not."""
    sizes = [(m, n, k) for m in (8, 9, 15, 16, 70) for n in range(1, 10) for k in (1, 3, 4, 9, 40)]
    for number, (m, n, k) in enumerate(sizes):
        check(gemm, m, n, k, a_layout, "row", number % 2, c_pad=number % 3)


@pytest.mark.parametrize("b_layout", ["row", "column"])
@pytest.mark.parametrize("a_layout", ["row", "column"])
def test_scratch_is_touched_only_where_callers_without_any_are_warned(gemm, a_layout, b_layout):
    """`Session.jit` makes room for it only where `scratch_conditions` says so."""
    rng = np.random.default_rng(0)
    sizes = [1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 32, 64, 100]
    for m, n, k in rng.choice(sizes, (1000, 3)):
        a, b = matrix(rng, m, k, a_layout, gemm.dtype), matrix(rng, k, n, b_layout, gemm.dtype)
        (a_row, a_column), (b_row, b_column) = (
            [s // x.itemsize for s in x.strides] for x in (a, b)
        )
        left = Operand((0, 0), a_row, a_column, ())
        right, result = Operand((1, 0), b_row, b_column, ()), Operand((2, 0), n, 1, ())
        step = ProductStep(gemm.dtype.name, m, n, k, left, right, result, (), sf.const(0.0))
        said = any(eval(text) for text in scratch_conditions(step))
        gemm.work[:] = 77
        gemm(a, b, np.zeros((m, n), gemm.dtype), 0)
        assert said or (gemm.work == 77).all(), (m, n, k)


@pytest.mark.parametrize("b_layout", ["row", "column", "spread"])
@pytest.mark.parametrize("a_layout", ["row", "column"])
def test_large(gemm, a_layout, b_layout):
    for m, n, k in [
        (128, 300, 1024),
        (300, 1025, 70),
        (2, 700, 513),
        (700, 3, 300),
        (1, 900, 800),
        (900, 1, 800),
        (129, 257, 515),
        (3, 5, 2000),
        (784, 128, 33),
        (20, 784, 128),
        (300, 1024, 270),
    ]:
        check(gemm, m, n, k, a_layout, b_layout, 0)
        check(gemm, m, n, k, a_layout, b_layout, 1)


@pytest.mark.parametrize("a_layout", LAYOUTS)
def test_few_rows_times_transposed(gemm, a_layout):
    for m, n, k in [
        (1, 16, 9),
        (3, 40, 40),
        (15, 50, 64),
        (16, 64, 65),
        (17, 33, 90),
        (32, 47, 128),
    ]:
        for accumulate in (0, 1):
            check(gemm, m, n, k, a_layout, "column", accumulate)


@pytest.mark.parametrize("a_transposed", [False, True])
def test_rows_whole_pages_apart(gemm, a_transposed):
    m, n, k = 260, 1024, 1024
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k)).astype(gemm.dtype)
    if a_transposed:
        frame = np.zeros((k, 1024), gemm.dtype)
        frame[:, :m] = a.T
        a = frame[:, :m].T
    b = rng.standard_normal((k, n)).astype(gemm.dtype)
    c = np.ones((m, n), gemm.dtype)
    gemm(a, b, c, 1)
    error = abs(c - (a.astype(np.float64) @ b.astype(np.float64) + 1))
    assert error.max() <= k * np.finfo(gemm.dtype).eps * 40


def test_the_same_numbers_give_the_same_bits(gemm):
    rng = np.random.default_rng(1)
    for m, n, k in [(20, 37, 29), (64, 300, 400)]:
        b = rng.standard_normal((k, n + 3)).astype(gemm.dtype)
        frames = [rng.standard_normal((m, k + pad)).astype(gemm.dtype) for pad in (0, 1, 5)]
        results = []
        for frame in (*frames, frames[0]):  # other distances and alignments, the same numbers
            frame[:, :k] = frames[0][:, :k]
            results.append(np.zeros((m, n), gemm.dtype))
            gemm(frame[:, :k], b[:, :n], results[-1], 0)
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


def test_turned(gemm):
    """Whole blocks, blocks that overlap, and matrices narrower than a block, either way round."""
    address = gemm.engine.get_function_address(f"sf_turn_{SUFFIX[gemm.dtype.name]}")
    turn = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(address)
    sizes = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50, 100]
    for rows in sizes:
        for columns in sizes:
            x = np.arange(rows * columns, dtype=gemm.dtype).reshape(rows, columns)
            room = np.full(rows * columns + 40, -1, gemm.dtype)
            turn(x.ctypes.data, room[20:].ctypes.data, rows, columns)
            y = room[20 : 20 + rows * columns].reshape(columns, rows)
            np.testing.assert_array_equal(y, x.T)
            assert (room[:20] == -1).all() and (room[20 + rows * columns :] == -1).all()


@pytest.mark.parametrize("layout", ["row", "column", "spread"])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_panels(gemm, layout, accumulate):
    """Products with panels that were made once: all widths, and k in more than one slab."""
    suffix = SUFFIX[gemm.dtype.name]
    functions = []
    for name, count in (("pack", 6), ("packed", 10)):
        address = gemm.engine.get_function_address(f"sf_{name}_{suffix}")
        functions.append(ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(address))
    pack, packed = functions
    for m, n, k in [(2, 8, 8), (5, 16, 3), (17, 67, 19), (33, 128, 32), (8, 200, 600), (1, 1, 1)]:
        rng = np.random.default_rng([m, n, k])
        a, b = matrix(rng, m, k, "row", gemm.dtype), matrix(rng, k, n, layout, gemm.dtype)
        room = np.full((k + SPARE_ROWS) * (n + WIDEST) + 64, 77, gemm.dtype)
        size = a.itemsize
        strides = [s // size for s in b.strides]
        pack(b.ctypes.data, room.ctypes.data, *strides, k, n)
        assert (room[-64:] == 77).all(), "wrote beyond the room for panels"
        c = rng.standard_normal((m, n + 3)).astype(gemm.dtype)
        before = c.astype(np.float64)
        a_strides = [s // size for s in a.strides]
        packed(
            m, n, k, a.ctypes.data, *a_strides, room.ctypes.data, c.ctypes.data, n + 3, accumulate
        )
        a64, b64 = a.astype(np.float64), b.astype(np.float64)
        expected = a64 @ b64 + (before[:, :n] if accumulate else 0.0)
        bound = (abs(a64) @ abs(b64) + abs(before[:, :n])) * (k + 2) * np.finfo(gemm.dtype).eps
        assert (abs(c[:, :n] - expected) <= bound).all(), (m, n, k)
        np.testing.assert_array_equal(c[:, n:], before[:, n:])
