"""Products that finish their result in registers, against NumPy: every way, size and role."""

from __future__ import annotations

import ctypes
import itertools

import llvmlite.binding as llvm
import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.steps import KernelStep, ProductStep
from staticflow.compiler.schedule.epilogue import tile_of
from staticflow.native.gemm.epilogue import finish_ir
from staticflow.native.gemm.epilogue_text import (
    FLOAT,
    TRUTH,
    NamedValue,
    Tile,
    Variable,
    vector_value,
)
from staticflow.native.gemm.scratch import GEMM_WORK_BYTES
from staticflow.native.toolchain.llvm_backend import compile_ir
from staticflow.native.toolchain.target import target_machine

SUFFIX = {"float32": "f4", "float64": "f8"}
RELU = {
    "pointers": (("p0", "matrix"), ("p1", "line")),
    "own": "p0",
    "loads": (("v1", "p0"), ("v2", "p1")),
    "lets": (("v0", "(v1 + v2)"), ("v3", "(f4(0) if v0 < f4(0) else v0)")),
    "stores": (("p0", "v3"),),
}
# C * (1 - h * h) * s, left in C and in another matrix, and the largest of that and -0.5 summed.
EVERYTHING = {
    "pointers": (
        ("p0", "matrix"), ("p1", "single"), ("p2", "matrix"), ("p3", "matrix"), ("p4", "sum"),
    ),
    "own": "p2",
    "loads": (("v1", "p0"), ("v4", "p2"), ("v5", "p1")),
    "lets": (
        ("v0", "(v1 * v1)"), ("v2", "(f4(1.0) - v0)"), ("v3", "((v4 * v2) * v5)"),
        ("v6", "max(v3, f4(-0.5))"), ("v7", "(v3 > f4(0))"), ("v8", "(abs(v3) if v7 else -v6)"),
    ),
    "stores": (("p2", "v3"), ("p3", "v8"), ("p4", "v6")),
}  # fmt: skip
MOST = 1 << 22  # multiplications
CASES = [(d, w, t) for d in SUFFIX for w in (64, 32, 16) for t in ("relu", "everything")]


class Epilogue:
    """A compiled product with its own engine, and what it called for what it does not do."""

    def __init__(self, dtype: str, vector_bytes: int, tile: Tile) -> None:
        self.dtype, self.tile = np.dtype(dtype), tile
        self.general = 0
        words = 14
        self.product = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * words)(self._product)
        kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * (len(tile.pointers) + 2))
        self.kernel = kernel(lambda *arguments: None)
        for name, function in (("product_here", self.product), ("kernel_here", self.kernel)):
            llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
        symbols = {"function": "finished", "product": "product_here", "kernel": "kernel_here"}
        code = compile_ir(finish_ir(dtype, vector_bytes, tile, symbols, MOST)).code
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
        self.engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
        self.engine.finalize_object()
        address = self.engine.get_function_address("finished")
        count = words - 1 + len(tile.others)
        self.function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(address)
        self.work = np.full(GEMM_WORK_BYTES + 4096, 77, np.uint8)

    def _product(self, *arguments: int) -> None:
        self.general += 1

    def __call__(self, a, b, c, beside):
        """Run it; whether it did everything itself."""
        size = self.dtype.itemsize
        (m, k), n = a.shape, b.shape[1]
        strides = [s // size for s in (*a.strides, *b.strides)]
        before = self.general
        work = self.work.ctypes.data + -self.work.ctypes.data % 64
        self.function(
            m, n, k, a.ctypes.data, *strides[:2], b.ctypes.data, *strides[2:], c.ctypes.data,
            c.strides[0] // size, work, 0, *(x.ctypes.data for x in beside),
        )  # fmt: skip
        return self.general == before


def typed(tile: Tile, dtype: str) -> Tile:
    """The same tile for elements of a dtype."""
    suffix = SUFFIX[dtype]
    known = {name: Variable(name) for name, _ in tile["loads"]}
    lets = []
    for name, text in tile["lets"]:
        text = text.replace("f4", suffix)
        value = vector_value(text, known, suffix)
        lets.append(NamedValue(name, value, text))
        known[name] = Variable(name, value.kind)
    return Tile(**{**tile, "suffix": suffix, "lets": tuple(lets)})


@pytest.fixture(scope="module", params=CASES, ids=lambda c: "-".join(map(str, c)))
def finished(request):
    dtype, vector_bytes, name = request.param
    tile = typed(RELU if name == "relu" else EVERYTHING, dtype)
    return Epilogue(dtype, vector_bytes, tile)


def matrix(rng, m, n, layout, dtype):
    """Some numbers; column-major with layout "column"."""
    data = rng.standard_normal((m, n)).astype(dtype)
    return np.asfortranarray(data) if layout == "column" else data


def expected(tile, dtype, c, beside):
    """C and what lies beside it, afterwards."""
    if tile.own == "p0":
        return [np.maximum(c + beside[0], 0)]
    h, s = beside[:2]
    v3 = c * (1 - h * h) * s[0]
    v6 = np.maximum(v3, -0.5)
    return [v3, np.where(v3 > 0, np.abs(v3), -v6), v6.sum(0)]


def check(finished, m, n, k, layouts):
    """Compare one product; whether it was made here."""
    rng = np.random.default_rng(m * 10_000 + n * 100 + k)
    dtype, tile = finished.dtype, finished.tile
    a, b = matrix(rng, m, k, layouts[0], dtype), matrix(rng, k, n, layouts[1], dtype)
    guard = 3
    room = np.full(m * n + 2 * guard, 7.0, dtype)
    c = room[guard : guard + m * n].reshape(m, n)
    if tile.own == "p0":
        beside, outputs = [rng.standard_normal(n).astype(dtype)], []
    else:
        h, s = rng.standard_normal((m, n)).astype(dtype), np.array([0.7], dtype)
        outputs = [np.full((m, n), np.nan, dtype), np.full(n + guard, 7.0, dtype)]
        beside = [h, s, *outputs]
    here = finished(a, b, c, beside)
    if not here:
        return False
    product = a.astype(np.float64) @ b.astype(np.float64)
    wanted = expected(tile, dtype, product, [x.astype(np.float64) for x in beside])
    # Each of k products and a few operations more are rounded, at the size of what is added up.
    size = (np.abs(a) @ np.abs(b) + 1) * (1 + np.square(beside[0]))
    bound = (k + 8) * np.finfo(dtype).eps * size
    assert (np.abs(c - wanted[0]) <= bound).all()
    for got, want, most in zip(outputs, wanted[1:], (bound, m * bound.sum(0)), strict=False):
        assert (np.abs(got[: len(want)] - want) <= most).all()
    if outputs:
        assert (outputs[1][n:] == 7).all()
    assert (room[:guard] == 7).all() and (room[guard + m * n :] == 7).all()
    return True


@pytest.mark.parametrize("layouts", [("row", "row"), ("row", "column"), ("column", "row")])
def test_every_size(finished, layouts):
    sizes = [0, 1, 2, 3, 5, 7, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 130]
    made = 0
    for number, (m, n, k) in enumerate(itertools.product(sizes, repeat=3)):
        if number % 7 == 0:
            made += check(finished, m, n, k, layouts)
    assert made > 200


def test_deep_large_and_empty_products_are_made_by_others(finished):
    empty = [(0, 16, 8), (16, 0, 8), (16, 32, 0)]
    for m, n, k in (*empty, (1, 32, 8), (16, 1, 8), (16, 64, 1100), (300, 128, 128)):
        assert not check(finished, m, n, k, ("row", "row"))


def first_product(*outputs):
    """The first product of compiled outputs."""
    steps = compile_graph(outputs).steps
    return next(step for step in steps if isinstance(step, ProductStep))


X = sf.input("x", ("batch", 5))
W = sf.param("w", (5, 40))
B = sf.param("b", (40,))


def test_bias_and_relu_are_finished():
    step = first_product(ops.relu(X @ W + B))
    assert step.epilogue is not None
    assert dict(step.epilogue.tile.pointers).keys() == {"p0", "p1"}
    assert step.epilogue.tile.own == "p0"


def test_the_result_is_kept_for_others():
    """Both the sum and its relu are outputs, so that the product's own value is nowhere else."""
    z = X @ W
    h = ops.relu(z + B)
    x = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    session = sf.Session(outputs={"z": z, "h": h})
    got = session.run({"z": z, "h": h}, {"x": x})
    np.testing.assert_allclose(got["z"], x @ session.params["w"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        got["h"], np.maximum(got["z"] + session.params["b"], 0), rtol=1e-5, atol=1e-6
    )


def test_functions_such_as_tanh_stay_kernels():
    assert first_product(ops.tanh(X @ W + B)).epilogue is None


def test_a_kernel_that_overwrites_an_operand_stays_one():
    """Rows of the product still read what the kernel would write over."""
    s = sf.input("s", ("batch", 40))
    v = sf.param("v", (40, 40))
    h = s * 2.0
    out = ops.relu(h @ v + B) * h
    x = np.random.default_rng(0).standard_normal((70, 40)).astype(np.float32)
    session = sf.Session(outputs={"out": out})
    double = 2 * x
    want = np.maximum(double @ session.params["v"] + session.params["b"], 0) * double
    np.testing.assert_allclose(session.run("out", {"s": x}), want, rtol=1e-4, atol=1e-5)
    for step in compile_graph([out]).steps:
        if isinstance(step, ProductStep) and step.epilogue is not None:
            kernel = step.epilogue.kernel
            assert not kernel.writes & {step.a.place[0], step.b.place[0]}


def test_a_kernel_over_other_rows_stays_one():
    product = first_product(X @ W)
    steps = compile_graph([ops.relu(X[:, :4] + 1.0)]).steps
    kernel = next(step for step in steps if isinstance(step, KernelStep))
    assert tile_of(product, kernel) is None


def test_conditions_of_conditions():
    """Equality of truth values is no comparison of floats."""
    z = X @ W + B
    session = sf.Session(outputs={"y": ops.where(ops.equal(z > 0, z > 1), z, 0.0)})
    x = np.random.default_rng(0).standard_normal((33, 5)).astype(np.float32)
    want = x @ session.params["w"] + session.params["b"]
    want = np.where((want > 0) == (want > 1), want, 0)
    np.testing.assert_allclose(session.run("y", {"x": x}), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "text, kind",
    [
        ("(v0 + f4(1.0))", FLOAT),
        ("(v0 if v1 > f4(-2) else -v0)", FLOAT),
        ("(v0 if t else v1)", FLOAT),
        ("max(v0, v1)", FLOAT),
        ("(v0 > v1)", TRUTH),
        ("(t if t else t)", TRUTH),
        ("(v0 if t else t)", None),
        ("(v0 if v1 else v0)", None),
        ("(t == t)", None),
        ("(t * v0)", None),
        ("max(t, t)", None),
        ("(v0 + 1.0)", None),
        ("(v0 + f8(1.0))", None),
        ("tanh_f4(v0)", None),
        ("(v0 + v9)", None),
        ("f4(n0)", None),
        ("f4(inf)", None),
        ("(v0 // v1)", None),
        ("(v0 < v1 < f4(1))", None),
    ],
)
def test_expressions(text, kind):
    known = {"v0": Variable("v0"), "v1": Variable("v1"), "t": Variable("t", TRUTH)}
    value = vector_value(text, known, "f4")
    assert kind == (None if value is None else value.kind)
