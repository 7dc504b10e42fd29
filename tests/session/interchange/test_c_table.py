"""Every op of the op table in C: it has our values, and no compiler has a warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.errors import GraphError
from staticflow.graph.node import Node
from staticflow.graph.op_table import table
from staticflow.graph.pytree import flatten
from staticflow.native.math.scalar import FUNCTIONS
from staticflow.runtime.interpreter import interpret
from staticflow.session.interchange.c_out.math_text import FORMULAS
from staticflow.session.interchange.c_out.text import Module
from tests.fuzz.graphs.checks import seeded
from tests.fuzz.graphs.maker import (
    assert_agree,
    make_graph,
    outputs_of,
    sizes_for,
    values_for,
    with_gradients,
)
from tests.ops.cases.elementwise import MAPS, operands
from tests.ops.cases.table import CASES
from tests.session.interchange.c_runs import COMPILERS, Array, Library, entered, needs_compiler
from tests.support.finite_differences import leaves_for

DOMAINS = {
    "number": ("float64", "float32", "int64", "int32"), "float": ("float64", "float32"),
    "integer": ("int64", "int32", "bool"), "whole": ("int64", "int32"), "bool": ("bool",),
    "any": ("float64", "float32", "int32", "bool"),
}  # fmt: skip
ULPS = 4
NEAR = {"float64": 1e-11, "float32": 2e-5}


class Tried(NamedTuple):
    """Outputs, arrays for their leaves, and the values in float64 if they are to be exact."""

    outputs: Sequence[Node]
    env: Mapping[Node, Array]
    exact: Sequence[Array] | None = None


def values(tried: Mapping[str, Tried], folder: Path, compiler: str, *flags: str) -> dict[str, Any]:
    """What C gives for each, all in one file."""
    module = Module("tried")
    for name, (outputs, env, _) in tried.items():
        entered(module, name, outputs, env)
    library = Library(module, folder, compiler, *flags)
    return {
        name: list(library(name, {x.name: a for x, a in env.items()}).values())
        for name, (_, env, _) in tried.items()
    }


def test_each_function_of_kernels_is_one_of_c() -> None:
    assert set(FUNCTIONS) == {f"{name}_{suffix}" for name in FORMULAS for suffix in ("f4", "f8")}


def _row(function: Callable[..., Any], arrays: Sequence[Array]) -> Tried:
    xs = leaves_for(arrays)
    wide = [a.astype("float64") if a.dtype == "float32" else a for a in arrays]
    doubles = leaves_for(wide)
    exact = interpret([function(*doubles)], dict(zip(doubles, wide, strict=True)), False)
    return Tried([function(*xs)], dict(zip(xs, arrays, strict=True)), exact)


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
def test_rows_of_the_table(compiler: str, tmp_path: Path) -> None:
    tried = {
        f"{row.name}_{dtype}": _row(table()[row.name].function, operands(row, dtype))
        for row in MAPS
        for dtype in DOMAINS[row.domain]
    }
    for name, (found,) in values(tried, tmp_path, compiler, "-O1").items():
        (exact,) = tried[name].exact or ()
        assert found.dtype == tried[name].outputs[0].dtype
        if found.dtype.kind == "f":
            check_ulps(found, exact, name)
        else:
            np.testing.assert_array_equal(found, exact, name)


def check_ulps(found: Array, exact: Array, name: str) -> None:
    """Values are as near as the session's are: special ones equal, results below the normal
    numbers 0 or near them.
    """
    with np.errstate(all="ignore"):
        rounded = exact.astype(found.dtype)
    plain = np.isfinite(rounded)
    np.testing.assert_array_equal(found[~plain], rounded[~plain], name)
    place = np.maximum(np.spacing(np.abs(rounded[plain])), np.finfo(found.dtype).tiny)
    error = np.abs(found[plain].astype("float64") - exact[plain]) / place
    assert error.size == 0 or error.max() <= ULPS, f"{name}: {error.max()} ulp"


@needs_compiler
def test_cases_of_the_ops(tmp_path: Path) -> None:
    tried = {}
    for k, case in enumerate(CASES):
        dtype = ("float64", "float32")[k % 2]
        arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in case.inputs]
        xs = leaves_for(arrays)
        tried[f"case_{k}"] = Tried(flatten(case.call(*xs)), dict(zip(xs, arrays, strict=True)))
    for name, found in values(tried, tmp_path, COMPILERS[0], "-O0").items():
        check_near(tried[name], found, name)


def check_near(tried: Tried, found: Sequence[Array], name: str) -> None:
    """Values of reductions and of products, against NumPy's in the same dtype."""
    for a, b in zip(found, interpret(tried.outputs, tried.env, False), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        near = NEAR.get(a.dtype.name, 0.0)
        np.testing.assert_allclose(a, b, near, near * max(1.0, _largest(b)), err_msg=name)


def _largest(array: Array) -> float:
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max()) if finite.size else 0.0


@needs_compiler
def test_linear_algebra(tmp_path: Path) -> None:
    """Below and beyond the blocks of 32 rows."""
    rng, tried = np.random.default_rng(0), {}
    for n, dtype in ((1, "float32"), (3, "float64"), (40, "float64"), (41, "float32")):
        a = (rng.normal(size=(2, n, n)) + n * np.eye(n)).astype(dtype)
        b = rng.normal(size=(2, n, min(n, 3))).astype(dtype)
        x, y = leaves_for([a, b])
        square = x @ ops.swapaxes(x, 1, 2)
        outputs = [
            ops.cholesky(square), ops.solve(x, y), ops.inv(x), *ops.slogdet(x), *ops.qr(y),
            ops.solve_triangular(x, y), ops.expm(x * (0.1 / n)), ops.sort(x, 1),
            ops.argsort(x, -1), ops.cumsum(x, 1), ops.cumprod(x / n, 2),
        ]  # fmt: skip
        tried[f"of_{n}_{dtype}"] = Tried(outputs, {x: a, y: b})
    for name, found in values(tried, tmp_path, COMPILERS[0], "-O1").items():
        check_near(tried[name], found, name)


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
def test_random_graphs(compiler: str, tmp_path: Path) -> None:
    """Also with no rows at all, and with their derivatives; in one no step of a loop reads where it
    is, in one clang takes a step's carry for that of another, unless it is told that it may be.
    """
    graphs, tried = {}, {}
    for seed, length in (*((seed, 6) for seed in range(60)), (21_407, 9), (1_020_066, 10)):
        choose, name = seeded(seed), f"graph_{seed}"
        graphs[name] = graph = make_graph(choose, "x", length, exact=bool(seed % 2))
        outputs = outputs_of(graph)
        plain = graph.exact or (seed % 4 and seed < 60)
        outputs = outputs if plain else with_gradients(graph, outputs)
        sizes = sizes_for(graph, choose)
        env = values_for(graph, sizes, np.random.default_rng(seed))
        tried[name] = Tried(outputs, env)
    for name, found in values(tried, tmp_path, compiler, "-O2").items():
        outputs, env, _ = tried[name]
        assert_agree(graphs[name], list(outputs), dict(env), found)


def test_what_c_has_no_words_for_is_refused_by_name() -> None:
    x = sf.input("x", (3, 3))
    for y, why in (
        (ops.eigh(x)[0], "eigh cannot be written in C"),
        (ops.svdvals(x), "svd cannot be written in C"),
        (x + ops.random.uniform((3, 3)), "random"),
    ):
        with pytest.raises(GraphError, match=why) as raised:
            entered(Module("refused"), "refused", [y], {x: np.zeros((3, 3))})
        assert "test_c_table.py" in str(raised.value)
