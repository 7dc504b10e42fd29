"""Every op of the op table in ONNX: on both peers, it has our values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.graph.kinds import MapRow
from staticflow.graph.leaves import Leaf
from staticflow.graph.node import Op
from staticflow.graph.op_table import table
from staticflow.graph.pytree import flatten
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret
from staticflow.runtime.saved_names import classes, rows
from staticflow.session.interchange.onnx_out.table import EXPRESSIONS, WHY_NOT
from tests.ops.cases.elementwise import MAPS, operands
from tests.ops.cases.table import CASES, Case
from tests.session.interchange.onnx_runs import Array, check_export
from tests.support.finite_differences import leaves_for

DOMAINS = {
    "number": ("float64", "float32", "int64", "int32"), "float": ("float64", "float32"),
    "integer": ("int64", "int32", "bool"), "whole": ("int64", "int32"), "bool": ("bool",),
    "any": ("float64", "float32", "int32", "bool"),
}  # fmt: skip


def check_function(function: Callable[..., Any], arrays: Sequence[Array]) -> None:
    """A function's value on both peers; that of float32 arrays is exact in float64."""
    xs = leaves_for(arrays)
    outputs = flatten(function(*xs))
    wide = [a.astype("float64") if a.dtype == "float32" else a for a in arrays]
    doubles = leaves_for(wide)
    exact = interpret(flatten(function(*doubles)), dict(zip(doubles, wide, strict=True)), False)
    feeds = {x.name: a for x, a in zip(xs, arrays, strict=True)}
    check_export({f"out_{k}": y for k, y in enumerate(outputs)}, feeds, exact)


@pytest.mark.parametrize("row", MAPS, ids=lambda row: row.name)
def test_a_row(row: MapRow) -> None:
    for dtype in DOMAINS[row.domain]:
        check_function(table()[row.name].function, operands(row, dtype))


GROUPS = sorted({case.op for case in CASES})


@pytest.mark.parametrize("op", GROUPS)
def test_the_cases_of_an_op(op: str) -> None:
    for case in (case for case in CASES if case.op == op):
        for dtype in ("float64", "float32"):
            check_case(case, dtype)


def check_case(case: Case, dtype: str) -> None:
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in case.inputs]
    check_function(case.call, arrays)


PLACES = ("staticflow.ops.", "staticflow.graph.")
F, N = np.array([[0.5, -2.0, np.inf], [1.5, 0.25, -0.5]]), np.array([[3, -1, 3], [2, 0, 2]])
ELSEWHERE: dict[str, Callable[..., Any]] = {
    "cumsum": lambda x, n: [ops.cumsum(x, 0), ops.cumsum(n, 1), ops.cumsum(n)],
    "cumprod": lambda x, n: [ops.cumprod(x, 1), ops.cumprod(n, 0)],
    "sort": lambda x, n: [ops.sort(x, 0), ops.argsort(n, -1, descending=True), ops.sort(n > 1)],
    "top_k": lambda x, n: list(ops.top_k(x, 2)),
    "searchsorted": lambda x, n: [ops.searchsorted(np.array([-1.0, 0.0, 1.0]), x)],
    "einsum": lambda x, n: [ops.einsum("ij,kj->ik", x[:, :2], x[:, :2])],
    "nanmean": lambda x, n: [ops.nanmean(ops.where(n > 2, np.nan, x), 0)],
    "convolve": lambda x, n: [ops.convolve(x[1], x[0, :2], m) for m in ("full", "same", "valid")],
    "quantile": lambda x, n: [ops.quantile(x[1], 0.3)],
    "diag": lambda x, n: [ops.diag(x[1]), ops.diagonal(x, 1), ops.trace(n)],
    "scatter_add": lambda x, n: [ops.scatter_add(x, np.array([0, 2, 0]), x, axis=1)],
    "norm": lambda x, n: [ops.norm(x[1]), ops.kron(x[1:], x[1:]) if hasattr(ops, "kron") else x],
    "power": lambda x, n: [n ** (n % 7), n**3, ops.power(x[1], n[0])],
    "integers": lambda x, n: [n // n, n % n, -7 // n, -7 % n, n // 2, n % -2],
}  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_has_cases_elsewhere(name: str) -> None:
    for float_, whole in (("float64", "int64"), ("float32", "int32")):
        check_function(ELSEWHERE[name], [F.astype(float_), N.astype(whole)])


def test_what_runs_beyond_its_axis_is_moved_into_it() -> None:
    x, i = sf.input("x", ("n", 3)), sf.input("i", (4,), "int64")
    feeds = {"x": np.arange(6, dtype="f4").reshape(2, 3), "i": np.array([0, -1, 7, -9])}
    check_export({"a": ops.take(x, i, 0), "b": ops.take_along_axis(x, i[:, None][:2], 0)}, feeds)


def test_each_op_is_in_the_table_or_refused_for_a_reason() -> None:
    """By name: rows, and classes of ops but for those that a compiled program alone has."""
    families = {"Part", "Map", "Reduce", "ByMode"}  # ByMode is resolved before anything is written
    ops_ = {n: c for n, c in classes().items() if issubclass(c, Op) and not issubclass(c, Leaf)}
    ours = {n for n, c in ops_.items() if c.__module__.startswith(PLACES)} - families
    assert ours | set(rows()) | {"CustomCall"} == set(EXPRESSIONS) | set(WHY_NOT)
    assert not set(EXPRESSIONS) & set(WHY_NOT)


def test_sizes_that_are_known_at_run_time() -> None:
    """Also products, quotients and roots of them."""
    x = sf.input("x", ("batch", "time", 4))
    middle = x[:, : x.shape[1] // 2]
    outputs = {
        "mean": x.mean((0, 1)), "flat": x.reshape(-1, 4), "early": middle,
        "turned": x[:, ::-1].transpose(1, 0, 2), "count": ops.arange(x.shape[0] * x.shape[1]),
        "pairs": ops.concatenate([x, x], 1), "rows": ops.full((x.shape[0], 2), 1.5),
        "shifted": ops.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0))), "std": ops.std(x, 1),
    }  # fmt: skip
    data = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("f4")
    model = check_export(outputs, {"x": data})
    dims = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "time", 4]
    assert leaves(list(outputs.values()), type(x.op)) == [x]
