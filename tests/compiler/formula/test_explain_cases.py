"""`explain` on a list of derivatives: right, and no longer than 1.3 times what a person writes.

Each is declared with small ints, large ones and named sizes, and with columns (n, 1) for vectors.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.graph.leaves import Input
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves as leaves_of
from staticflow.graph.traversal import toposort
from staticflow.runtime.interpreter import interpret
from tests.compiler.formula.cases import NUMPY
from tests.compiler.formula.expressions import EXPRESSIONS, GIVEN

N, M, K = 4, 5, 3
SIZES = {"ints": (4, 5, 3), "columns": (4, 5, 3), "named": ("n", "m", "k"), "large": (40, 50, 30)}
# Every second one of those that are not given, too.
COUNTED = [*GIVEN, *sorted(EXPRESSIONS.keys() - GIVEN.keys())[::2]]


def declared(how: str) -> dict[str, Any]:
    n, m, k = SIZES[how]
    shapes: dict[str, tuple[Any, ...]] = {
        **dict.fromkeys("ABCS", (n, n)), **dict.fromkeys("XYD", (m, n)),
        **dict.fromkeys("WV", (n, k)), **dict.fromkeys("URKQ", (m, k)),
        **dict.fromkeys(("x", "y", "w", "h", "mu"), (n,)),
        "b": (m,), "u": (m,), "q": (k,), "lam": (),
    }  # fmt: skip
    if how == "columns":
        shapes = {name: (*s, 1) if len(s) == 1 else s for name, s in shapes.items()}
    found: dict[str, Any] = {name: sf.input(name, s, "float64") for name, s in shapes.items()}
    found["labels"] = sf.input("labels", (m,), "int64")
    return found


def derivative(name: str, leaves: dict[str, Any], n: Any) -> Node:
    text, by, _ = EXPRESSIONS[name]
    f = eval(text, {**leaves, "ops": ops, "tr": ops.trace, "N": n})
    x, _, kind = by.partition(" ")
    result: Node = getattr(sf, kind or "grad")(f, leaves[x])
    return result


def arrays(leaves: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    found: dict[str, Any] = {}
    for name, leaf in leaves.items():
        found[name] = rng.uniform(0.2, 0.9, leaf.shape) if name != "labels" else None
        if leaf.shape == (N, N):
            found[name] = found[name] + 2 * np.eye(N)
    return {**found, "labels": rng.integers(0, K, M)}


def evaluated(text: str, values: dict[str, Any]) -> Any:
    *lines, last = text.split("\n")
    scope = {**NUMPY, "n": N, "m": M, "k": K, **values}
    exec("\n".join(lines), scope)
    return np.asarray(eval(last, scope))


def declarations() -> list[tuple[str, str]]:
    """Each expression with small ints, and with columns if it has vectors."""
    vectors = re.compile(r"\b(x|y|w|h|mu|b|u|q)\b")
    return [(name, how) for name, (f, _, _) in sorted(EXPRESSIONS.items())
            for how in ("ints", "columns") if how == "ints" or vectors.search(f)]  # fmt: skip


def is_short(text: str, name: str) -> bool:
    """Whether a text is as short as a person's."""
    return len(text) <= 1.3 * len(EXPRESSIONS[name][2])


@pytest.mark.parametrize(("name", "how"), declarations())
def test_it_is_right(name: str, how: str) -> None:
    leaves = declared(how)
    values = arrays(leaves)
    node = derivative(name, leaves, N)
    text = str(sf.explain(node))
    (wanted,) = interpret([node], {leaf: values[x] for x, leaf in leaves.items()})
    found = evaluated(text, values)
    if wanted.shape[1::2] == (1, 1):  # a Jacobian by columns is written as a matrix
        wanted = wanted.squeeze((1, 3))
    assert found.shape == wanted.shape, text
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-12, err_msg=text)
    by_hand = EXPRESSIONS[name][2]
    if how == "ints":
        right = evaluated(by_hand, values)
        np.testing.assert_allclose(np.broadcast_to(right, wanted.shape), wanted, rtol=1e-8)
        assert is_short(text, name), text


@pytest.mark.parametrize("how", sorted(SIZES))
def test_nine_in_ten_are_short_however_they_are_declared(how: str) -> None:
    leaves = declared(how)
    texts = {name: str(sf.explain(derivative(name, leaves, SIZES[how][0]))) for name in COUNTED}
    long = {name: text for name, text in texts.items() if not is_short(text, name)}
    assert len(long) <= len(texts) / 10, long
    assert len(long.keys() & GIVEN.keys()) <= len(GIVEN) / 10, long


@pytest.mark.parametrize("name", sorted(EXPRESSIONS))
def test_the_text_is_the_same_for_sizes_of_any_kind(name: str) -> None:
    """It is then right for all of them; where it tells sizes, they are those that were declared.

    Large ints differ from small ones in Jacobians, of which those of few rows are written out.
    """
    numbers = ("ints", "large") if " " in EXPRESSIONS[name][1] else ("ints",)
    texts = {
        how: str(sf.explain(derivative(name, declared(how), SIZES[how][0])))
        for how in ("named", *numbers)
    }
    for how in numbers:
        text = texts["named"]
        for size, value in zip(SIZES["named"], SIZES[how], strict=True):
            text = re.sub(rf"\b{size}\b", str(value), text)
        assert text == texts[how]


def column(name: str, size: int) -> Node:
    return sf.input(name, (size, 1), "float64")


def test_columns_read_as_matrices() -> None:
    A = sf.input("A", (N, N), "float64")
    x, y = column("x", N), column("y", N)
    assert sf.explain(sf.grad((x.T @ A @ x)[0, 0], x)) == "(A + A.T) @ x"
    assert sf.explain(sf.grad((y.T @ A @ x).sum(), A)) == "y @ x.T"
    assert sf.explain(sf.grad(ops.norm(x), x)) == "x / norm(x)"
    lam = sf.input("lam", (), "float64")
    assert sf.explain(sf.grad(lam * (x.T @ x).sum(), x)) == "2 * lam * x"
    b, X = column("b", M), sf.input("X", (M, N), "float64")
    ridge = ((X @ x - b) ** 2).sum() + lam * (x.T @ x).sum()
    assert sf.explain(sf.grad(ridge, x)) == "2 * (lam * x + X.T @ (X @ x - b))"


def test_branches_and_constants_print_what_they_are() -> None:
    x, lam = sf.input("x", (3,), "float64"), sf.input("lam", (), "float64")
    assert sf.explain(sf.cond(lam > 0, lambda: lam, lambda: lam * 100)) == (
        "where(lam > 0, lam, 100 * lam)"
    )
    f = sf.cond(lam > 0, lambda: x.sum(), lambda: (x * x).sum())
    assert sf.explain(sf.grad(f, x)) == "where(lam > 0, ones((3,)), 2 * x)"
    y = sf.input("y", (3,), "float64")
    minus, two = sf.grad(-ops.relu(x).sum(), x), ops.relu(x).sum() + ops.relu(x + y).sum()
    assert same_value(minus) == "-1 * (x > 0)"  # NumPy's booleans have no minus
    assert same_value(sf.grad(two, x)) == "1 * (x + y > 0) + (x > 0)"
    assert same_value(sf.grad(x @ y - ops.relu(x).sum(), x)) == "y - (x > 0)"
    assert same_value(sf.grad((-y * ops.relu(x)).sum(), x)) == "-y * (x > 0)"
    assert sf.explain(x @ np.array([1.0, 2.5, 3.0])) == "x @ array([1.0, 2.5, 3.0])"
    assert sf.explain(x * 0.123456789) == "0.123456789 * x"
    y = sf.input("y", (3,), "float32")
    assert sf.explain(y * sf.const([0.1, 0.2, 0.3], "float32")) == "y * array([0.1, 0.2, 0.3])"
    assert sf.explain(y * sf.const(0.1, "float32")) == "0.1 * y"


def same_value(node: Node) -> str:
    """The text, which has the graph's value and shape."""
    text = str(sf.explain(node))
    rng = np.random.default_rng(4)
    env = {leaf: rng.uniform(0.2, 0.9, leaf.shape) for leaf in leaves_of([node], Input)}
    env = {n: a + 2 * np.eye(N) if n.shape == (N, N) else a for n, a in env.items()}
    (wanted,) = interpret([node], env)
    found = evaluated(text, {leaf.name: value for leaf, value in env.items()})
    assert found.shape == wanted.shape, text
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-12, err_msg=text)
    return text


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("vector", [(N,), (N, 1)])
def test_scalars_may_have_axes_of_size_one(shape: tuple[int, ...], vector: tuple[int, ...]) -> None:
    lam = sf.input("lam", shape, "float64")
    x, y = (sf.input(name, vector, "float64") for name in "xy")
    factor = lam if len(shape) <= len(vector) else lam[0, 0]
    for f in (ops.norm(x - factor * y), (factor * (x * y)).sum()):
        for by in (lam, x):
            gradient = sf.grad(f, by)
            assert gradient.shape == by.shape
            same_value(gradient)
    assert same_value(sf.grad(10 - lam * lam, lam)) == "-2 * lam"


def test_forms_of_columns() -> None:
    x, A = column("x", N), sf.input("A", (N, N), "float64")
    f = x.T @ A @ x
    assert f.shape == (1, 1) and same_value(sf.grad(f, x)) == "(A + A.T) @ x"
    assert sf.hessian(f, x).shape == (N, 1, N, 1)
    assert sf.explain(sf.hessian(f, x)) == "A + A.T"
    for scalar in (ops.trace(f), f.sum(), f[0, 0], f.reshape(())):
        assert same_value(sf.grad(scalar, x)) == "(A + A.T) @ x"
    root = sf.grad(ops.trace(ops.sqrt(f)), x)
    assert same_value(root) == "0.5 * (A + A.T) @ x / sqrt(x.T @ A @ x)"
    assert sf.explain(sf.jacobian(f, x)) == "x.T @ (A + A.T)"
    assert sf.explain(A[:, None, :, None]) == "A[:, None, :, None]"
    lam = sf.input("lam", (1,), "float64")
    assert sf.explain(sf.jacobian(lam * ops.norm(x), x)) == "(lam * x).T / norm(x)"
    assert same_value(sf.grad((A @ x).sum(), x)) == "A.T @ ones((4, 1))"
    row = sf.input("b", (1, N), "float64")
    layer = (ops.tanh(A + row) * A).sum()
    assert same_value(sf.grad(layer, row)) == "ones((1, 4)) @ (A * (1 - tanh(A + b) ** 2))"
    assert same_value(sf.grad((A + row).sum(), row)).endswith("ones((1, 4))")


def test_decompositions_and_systems() -> None:
    A, x = sf.input("A", (N, N), "float64"), sf.input("x", (N,), "float64")
    M = sf.input("M", (M_ROWS, N), "float64")
    assert same_value(sf.jacobian(ops.solve(A, x), x)) == "inv(A)"
    assert same_value(ops.inv(ops.inv(A))) == "A"
    assert same_value(x @ A + A @ x) == "(A + A.T) @ x"
    assert same_value(ops.svd(M)[0]) == "svd(M, full_matrices=False)[0]"
    S = A @ A.T
    for f in (
        ops.log(ops.diagonal(ops.cholesky(S))).sum(),
        ops.log(ops.eigvalsh(S)).sum(),
        (ops.qr(A)[1] ** 2).sum(),
        ops.norm(A, 1),
        ops.norm(x, 3),
        (ops.cumsum(x) * x).sum(),
    ):
        same_value(sf.grad(f, A if A in toposort([f]) else x))
    same_value(sf.hessian(ops.det(A), A))


def test_what_was_a_stack_of_matrices() -> None:
    A, x, y = (sf.input(n, (N,) * k, "float64") for n, k in (("A", 2), ("x", 1), ("y", 1)))
    projected = ops.outer(x, x) @ y
    assert same_value(sf.jacobian(projected, x)) == "sum(x * y) * eye(4) + outer(x, y)"
    assert same_value(sf.jacobian(A @ x, A)) == "eye(4)[:, :, None] * x"
    row, W = sf.input("r", (1, N), "float64"), sf.input("W", (N, 3), "float64")
    assert same_value(sf.grad((row @ W).sum(), W)) == "r.T @ ones((1, 3))"
    order = same_value(sf.grad(ops.sort(x) @ y, x))
    assert order == "y[argsort(argsort(x))]" and same_value(ops.kron(x, y)) == "kron(x, y)"
    assert same_value(sf.grad(ops.stop_gradient(x * x) @ x, x)) == "x ** 2"


M_ROWS = 6
