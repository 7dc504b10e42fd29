"""Derivatives of what has none: matrices without an inverse, wrong operands, and no path at all.

Values that have no result are infinite or NaN, and so are their derivatives; nothing raises in
compiled code, and no neighbour in a batch is touched. What can be known before is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, ops

SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])
GOOD = np.array([[2.0, 0.5], [0.5, 1.0]])


def run(build: Callable[..., Any], *arrays: Any) -> Any:
    xs = [sf.input(f"x{k}", np.shape(a), np.asarray(a).dtype) for k, a in enumerate(arrays)]
    return sf.function(xs, build(*xs))(*arrays)


def every_derivative(f: Callable[[Node], Node]) -> Callable[[Node], list[Node]]:
    """Reverse, forward, and second order in both ways, of the sum of f's elements."""

    def build(a: Node) -> list[Node]:
        y = f(a).sum()
        gradient, tangent = sf.grad(y, a), np.ones(a.shape)
        forward = sf.jvp(y, a, tangent)
        return [gradient, forward, sf.jvp(gradient, a, tangent), sf.grad(forward, a)]

    return build


FUNCTIONS: dict[str, tuple[Callable[[Node], Node], Any]] = {
    "inv": (ops.inv, SINGULAR),
    "solve": (lambda a: ops.solve(a, np.ones(2)), SINGULAR),
    "logdet": (ops.logdet, SINGULAR),
    "slogdet": (lambda a: ops.slogdet(a)[1], SINGULAR),
    "cholesky": (ops.cholesky, INDEFINITE),
    "cholesky of a singular matrix": (ops.cholesky, SINGULAR),
    "triangular": (
        lambda a: ops.solve_triangular(a, np.ones(2), lower=False), np.array([[1.0, 2.0], [0, 0]]),
    ),
    "qr": (lambda a: ops.qr(a)[0], np.array([[1.0, 2.0], [0, 0]])),
    "eigenvectors": (lambda a: ops.eigh(a)[1], np.eye(2)),
    "singular vectors": (lambda a: ops.svd(a)[0], np.eye(2)),
    "matrix_power": (lambda a: ops.matrix_power(a, -1), SINGULAR),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_not_finite(name: str) -> None:
    f, bad = FUNCTIONS[name]
    for array in run(every_derivative(f), bad):
        assert not np.isfinite(array).all(), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_neighbours_in_a_batch_are_not_touched(name: str) -> None:
    """The gradient of the good matrices is what it is without the bad one."""
    f, bad = FUNCTIONS[name]
    if name in ("solve", "triangular"):
        solve = ops.solve if name == "solve" else ops.solve_triangular
        f = lambda a: solve(a, np.ones((a.shape[0], 2, 1)))  # noqa: E731
    given = GOOD if name != "triangular" else np.tril(GOOD)
    together = run(lambda a: sf.grad(f(a).sum(), a), np.stack([given, bad.T, given]))
    alone = run(lambda a: sf.grad(f(a).sum(), a), np.stack([given, given, given]))
    assert np.isfinite(alone).all()
    np.testing.assert_array_equal(together[[0, 2]], alone[[0, 2]])
    assert not np.isfinite(together[1]).all()


def test_a_determinant_is_right_where_the_matrix_is_singular() -> None:
    gradient, forward, *second = run(every_derivative(ops.det), SINGULAR)
    np.testing.assert_allclose(gradient, [[4.0, -2.0], [-2.0, 1.0]], atol=1e-14)
    np.testing.assert_allclose(forward, 1.0, atol=1e-14)
    for array in second:
        np.testing.assert_allclose(array, [[1.0, -1.0], [-1.0, 1.0]], atol=1e-14)


def test_numerics_are_found_in_training() -> None:
    """With `check_numerics`, the first node that is not finite is named."""
    a, w = sf.input("a", (2, 2)), sf.param("w", (2,), "ones")
    session = sf.Session((ops.inv(a) @ w).sum(), optimizer=sf.optim.SGD(0.1), check_numerics=True)
    session.step({"a": GOOD})
    with pytest.raises(sf.NumericsError, match=r"test_bad_derivatives\.py"):
        session.step({"a": SINGULAR})


# What is not reached


def unreached(kind: str, x: Node, w: Node) -> Node:
    """Values of x, in whose making w stands somewhere, without a say."""
    if kind == "nowhere":
        return ops.sin(x)
    if kind == "stopped":
        return ops.sin(x) * ops.stop_gradient(w).sum()
    if kind == "compared":
        return ops.where(w.sum() > 0, x, 2.0 * x)
    if kind == "rounded":
        return x * ops.floor(w).sum()
    if kind == "index":
        return ops.take(x, ops.argmax(w), 0) * x
    if kind == "scan":
        last, _ = sf.scan(lambda h, row: (ops.tanh(h + x), w * row), x, ops.ones((4, 2), "float64"))
        return last
    if kind == "cond":
        return sf.cond(w[0] > 0, lambda: ops.sin(x), lambda: ops.cos(x))  # type: ignore[no-any-return]
    return sf.while_loop(lambda v: v.sum() < 9.0, lambda v: v + 1.0, x, max_steps=9)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "kind", ["nowhere", "stopped", "compared", "rounded", "index", "scan", "cond", "while_loop"]
)
def test_what_is_not_reached_has_zeros(kind: str) -> None:
    """Of the shape of `wrt`, in every mode and order."""

    def build(x: Node, w: Node) -> list[Node]:
        y = unreached(kind, x, w)
        g = sf.grad(y.sum(), [x, w])
        return [
            g[1], sf.jvp(y, w, np.ones(2)), sf.jacobian(y, w), sf.hessian(y.sum(), w),
            sf.jacobian(g[0], w), sf.hvp(y.sum(), w, np.ones(2)), g[0],
        ]  # fmt: skip

    *zeros, own = run(build, np.array([0.5, 1.5, 0.2]), np.array([1.3, 1.7]))
    shapes = [(2,), (3,), (3, 2), (2, 2), (3, 2), (2,)]
    for array, shape in zip(zeros, shapes, strict=True):
        np.testing.assert_array_equal(array, np.zeros(shape))
    assert np.abs(own).sum() > 0


def test_zeros_of_sizes_known_at_run_time() -> None:
    x, w = sf.input("x", ("n",), "float64"), sf.input("w", ("m", 2), "float64")
    f = sf.function([x, w], [sf.grad((x * x).sum(), w), sf.jacobian(x[:1], w)])
    for m in (0, 1, 5):
        gradient, jacobian = f(np.ones(3), np.ones((m, 2)))
        np.testing.assert_array_equal(gradient, np.zeros((m, 2)))
        np.testing.assert_array_equal(jacobian, np.zeros((1, m, 2)))


# What is refused

X, W = sf.input("x", (3,), "float64"), sf.input("w", (2, 3), "float64")
N, K = sf.input("n", ("n",), "float64"), sf.input("k", (3,), "int64")
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "cotangent shape": (
        lambda: sf.vjp(W @ X, X, np.ones(3)), sf.ShapeError, r"\[3\].* for .*\[2\]"),
    "cotangent of a named size": (lambda: sf.vjp(N, N, np.ones(3)), sf.ShapeError, "cotangent"),
    "cotangent rank": (lambda: sf.vjp(X, X, 1.0), sf.ShapeError, "cotangent"),
    "cotangent dtype": (
        lambda: sf.vjp(X, X, sf.input("g", (3,), "int64")), sf.DTypeError, "cotangent"),
    "complex cotangent": (lambda: sf.vjp(X, X, np.ones(3) * 1j), sf.DTypeError, "not complex"),
    "tangent shape": (lambda: sf.jvp(X, X, np.ones((3, 1))), sf.ShapeError, "tangent"),
    "tangents": (lambda: sf.jvp(W @ X, [W, X], [np.ones((2, 3))]), sf.GraphError, "one tangent"),
    "vector of hvp": (lambda: sf.hvp(X.sum(), X, np.ones(4)), sf.ShapeError, "tangent"),
    "integer wrt": (lambda: sf.grad((K * X).sum(), K), sf.DTypeError, "only floats"),
    "integer among wrt": (lambda: sf.grad((K * X).sum(), [X, K]), sf.DTypeError, "only floats"),
    "integer value": (lambda: sf.jvp(K, X, np.ones(3)), sf.DTypeError, "only floats"),
    "boolean value": (lambda: sf.vjp(X > 0, X, np.ones(3)), sf.DTypeError, "only floats"),
    "array by grad": (lambda: sf.grad(W @ X, X), sf.ShapeError, "scalar"),
    "array by hessian": (lambda: sf.hessian(W @ X, X), sf.ShapeError, "scalar"),
    "array as wrt": (lambda: sf.grad(X.sum(), np.ones(3)), sf.GraphError, "nodes"),
    "number as value": (lambda: sf.grad(3.0, X), sf.GraphError, "nodes"),
    "not square": (lambda: sf.grad(ops.det(W), W), sf.ShapeError, "square"),
    "while_loop without a bound": (
        lambda: sf.grad(sf.while_loop(lambda v: v.sum() < 9, lambda v: 2 * v, X).sum(), X),
        sf.GraphError, "needs a bound"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, kind, message = REFUSED[name]
    with pytest.raises(kind, match=f"(?s){message}") as caught:
        make()
    assert "test_bad_derivatives.py" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (np.ones(3) * 1j, sf.DTypeError, "complex"),
        (np.ones(4), sf.ShapeError, r"x.*\(3,\).*\(4,\)"),
        (np.array(["a", "b", "c"]), sf.DTypeError, "x"),
    ],
)
def test_what_a_compiled_derivative_is_given(given: Any, kind: type, message: str) -> None:
    f = sf.function([X], sf.grad((X * X).sum(), X))
    with pytest.raises(kind, match=f"(?s){message}"):
        f(given)
    np.testing.assert_array_equal(f(np.array([1, 2, 3])), [2.0, 4.0, 6.0])


def test_floats_are_no_indices() -> None:
    f = sf.function([X, K], sf.grad(ops.take(X, K, 0).sum(), X))
    with pytest.raises(sf.DTypeError, match="k"):
        f(np.ones(3), np.array([0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(f(np.ones(3), np.array([0, 1, 1], "uint8")), [1.0, 2.0, 0.0])


def test_errors_name_the_transform_that_was_called() -> None:
    x, count = sf.input("x", (3,), "float64"), sf.input("count", (3,), "int64")
    y = ops.square(x).sum()
    calls: dict[str, list[Callable[[], Any]]] = {
        "grad": [lambda: sf.grad(y, count), lambda: sf.grad(y, 3.0), lambda: sf.grad(x, x)],
        "jvp": [lambda: sf.jvp(y, [x], x), lambda: sf.jvp(y, x, np.ones(2))],
        "hvp": [lambda: sf.hvp(y, x, np.ones(2)), lambda: sf.hvp(y, [x, x], [x])],
    }
    for name, each in calls.items():
        for call in each:
            with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
                call()
