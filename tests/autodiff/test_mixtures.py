"""Derivatives of derivatives, in mixtures, through loops, branches and linear algebra, against JAX.

A mixture is written once, with `d`, the transforms of either library on functions of one value.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import staticflow as sf  # noqa: E402
from staticflow import ops  # noqa: E402
from staticflow.compiler.compile import compile_graph  # noqa: E402
from tests.support.libraries import our_library, their_library  # noqa: E402
from tests.support.source_interpreter import run_loops  # noqa: E402

pytestmark = pytest.mark.peers
Function = Callable[..., Any]
MODULES = our_library(), their_library()
OURS = SimpleNamespace(
    grad=lambda f: lambda x: sf.grad(f(x), x),
    jvp=lambda f, x, t: sf.jvp(f(x), x, t),
    vjp=lambda f, x, g: sf.vjp(f(x), x, g),
    hvp=lambda f, x, v: sf.hvp(f(x), x, v),
    jacobian=lambda f: lambda x: sf.jacobian(f(x), x),
    hessian=lambda f: lambda x: sf.hessian(f(x), x),
)
THEIRS = SimpleNamespace(
    grad=jax.grad,
    jvp=lambda f, x, t: jax.jvp(f, (x,), (t,))[1],
    vjp=lambda f, x, g: jax.vjp(f, x)[1](g)[0],
    hvp=lambda f, x, v: jax.jvp(jax.grad(f), (x,), (v,))[1],
    jacobian=lambda f: _rows(jax.grad, f),
    hessian=lambda f: _rows(jax.grad, jax.grad(f)),
)


def _rows(grad: Any, f: Function) -> Function:
    """A Jacobian row by row: what branches on values cannot be mapped over a batch."""

    def rows(x: Any) -> Any:
        y = f(x)
        made = [grad(lambda x, k=k: f(x).reshape(-1)[k])(x) for k in range(y.size)]
        return jax.numpy.stack(made).reshape((*y.shape, *x.shape))

    return rows


X = np.array([0.3, -0.7, 0.5])
T = np.array([0.9, 0.4, -1.1])
W = np.array([[0.2, -0.5, 0.4], [0.7, 0.1, -0.3], [-0.6, 0.8, 0.2]])
S = np.array([[1.4, 0.3], [0.3, 0.9]])
ROWS = np.array([[0.4, -0.2, 0.9], [-0.8, 0.5, 0.1], [0.3, 0.6, -0.4], [-0.1, -0.9, 0.7]])


def branching_scan(m: Any, x: Any) -> Any:
    """A scan with a branch in each step."""

    def step(h: Any, row: Any) -> Any:
        new = m.cond(row[0] > 0, lambda: m.tanh(h * row + x), lambda: m.sin(h @ W) * row)
        return new, new * x

    last, ys = m.scan(step, x, ROWS)
    return m.sum(ys * ys) + m.sum(last)


def cholesky_scan(m: Any, s: Any) -> Any:
    """The log likelihood of a walk whose covariance is carried and factored in each step."""

    def step(cov: Any, row: Any) -> Any:
        factor = m.cholesky(cov)
        white = m.solve_triangular(factor, row, lower=True)
        value = -0.5 * m.sum(white * white) - m.sum(m.log(m.diagonal(factor)))
        return 0.5 * cov + s @ s.T, value

    return m.sum(m.scan(step, s @ s.T + np.eye(2), ROWS[:, :2])[1])


def repeated(m: Any, x: Any) -> Any:
    """A bounded loop that ends by the value."""
    return m.while_loop(
        lambda v: m.sum(v * v) < 50.0, lambda v: 2.0 * v + m.sin(v * x), x, max_steps=12
    )


def newton(m: Any, x: Any) -> Any:
    """The root y of y + tanh(W y) / 2 = x, by Newton's iteration with a system in each step."""

    def residual(y: Any) -> Any:
        return y + 0.5 * m.tanh(W @ y) - x

    def step(y: Any) -> Any:
        slope = np.eye(3) + 0.5 * (1.0 - m.tanh(W @ y) ** 2)[:, None] * W
        return y - m.solve(slope, residual(y))

    return m.while_loop(lambda y: m.sum(residual(y) ** 2) > 1e-28, step, 0.0 * x, max_steps=9)


def ordered_scan(m: Any, x: Any) -> Any:
    """Sorting, a gather by the order, and a scatter-add in each step."""

    def step(h: Any, row: Any) -> Any:
        order = m.argsort(h * row)
        new = m.tanh(m.scatter_add(m.sort(h), order, m.take(x * row, order, 0)))
        return new, m.take(new, np.array([2, 0, 2]), 0) * x

    last, ys = m.scan(step, x, ROWS, reverse=True)
    return ys @ last


def descent(m: Any, d: Any, rate: Any) -> Any:
    """Gradient descent as a scan, its steps along a gradient taken inside."""

    def loss(w: Any) -> Any:
        return m.sum(m.softplus(ROWS @ w)) + 0.5 * m.sum(w * w)

    last, _ = m.scan(lambda w, row: (w - rate * d.grad(loss)(w), m.sum(w)), X + 0.0 * rate, ROWS)
    return loss(last)


def nested_scan(m: Any, x: Any) -> Any:
    def step(h: Any, row: Any) -> Any:
        inner, ys = m.scan(lambda c, w: (m.tanh(c * h + w), c * w), row * x, W)
        return inner, m.sum(ys * ys)

    last, ys = m.scan(step, x, ROWS)
    return m.sum(last) + m.sum(ys)


def third(d: Any, f: Function, x: Any, t: Any) -> Any:
    """The gradient of t' H t."""
    return d.grad(lambda x: (t * d.grad(lambda x: (t * d.grad(f)(x)).sum())(x)).sum())(x)


MIXTURES: dict[str, tuple[np.ndarray[Any, Any], Callable[[Any, Any, Any], Any]]] = {
    "grad of jvp of a scan with branches": (
        X, lambda m, d, x: d.grad(lambda x: d.jvp(lambda x: branching_scan(m, x), x, T))(x)),
    "jvp of jvp of jvp of it": (
        X, lambda m, d, x: d.jvp(lambda x: d.jvp(lambda x: d.jvp(
            lambda x: branching_scan(m, x), x, T), x, T), x, X)),
    "jvp of grad along itself": (
        X, lambda m, d, x: d.jvp(d.grad(lambda x: branching_scan(m, x)), x, x * 2.0)),
    "hessian of a scan of factors": (
        S, lambda m, d, s: d.hessian(lambda s: cholesky_scan(m, s))(s)),
    "third derivative of a scan of factors": (
        S, lambda m, d, s: third(d, lambda s: cholesky_scan(m, s), s, S[::-1])),
    "jacobian of a while_loop": (X, lambda m, d, x: d.jacobian(lambda x: repeated(m, x))(x)),
    "hessian of a while_loop": (
        X, lambda m, d, x: d.hessian(lambda x: m.sum(m.sin(repeated(m, x))))(x)),
    "third derivative of a while_loop": (
        X, lambda m, d, x: third(d, lambda x: m.sum(m.sin(repeated(m, x))), x, T)),
    "jacobian of Newton's iteration": (X, lambda m, d, x: d.jacobian(lambda x: newton(m, x))(x)),
    "hvp of Newton's iteration": (
        X, lambda m, d, x: d.hvp(lambda x: m.sum(newton(m, x) ** 2), x, T)),
    "jacobian of grad through orders": (
        X, lambda m, d, x: d.jacobian(d.grad(lambda x: m.sum(ordered_scan(m, x) ** 2)))(x)),
    "vjp of a jacobian through orders": (
        X, lambda m, d, x: d.vjp(d.jacobian(lambda x: ordered_scan(m, x)), x, np.outer(T, T)[
            [0, 1, 2, 0]] + 0.1)),
    "grad of a descent by its rate": (
        np.array(0.1), lambda m, d, r: d.grad(lambda r: descent(m, d, r))(r)),
    "second derivative of a descent": (
        np.array(0.1), lambda m, d, r: d.grad(d.grad(lambda r: descent(m, d, r)))(r)),
    "hessian of a nested scan": (X, lambda m, d, x: d.hessian(lambda x: nested_scan(m, x))(x)),
    "third derivative of a nested scan": (
        X, lambda m, d, x: third(d, lambda x: nested_scan(m, x), x, T)),
    "jacobian of an inverse's gradient": (
        W + 2 * np.eye(3), lambda m, d, a: d.jacobian(d.grad(
            lambda a: m.sum(m.inv(a) ** 2) + m.det(a)))(a)),
    "vjp of the hessian of a log determinant": (
        S, lambda m, d, s: d.vjp(d.hessian(lambda s: m.slogdet(s)[1]), s, np.arange(16.0).reshape(
            2, 2, 2, 2))),
    "grad of the norm of a gradient": (
        S, lambda m, d, s: d.grad(lambda s: m.sum(d.grad(lambda s: m.sum(
            m.expm(s) * m.eigvalsh(s)))(s) ** 2))(s)),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture(name: str) -> None:
    point, mixture = MIXTURES[name]
    m, theirs = MODULES
    x = sf.input("x", point.shape, "float64")
    output = mixture(m, OURS, x)
    (found,) = run_loops(compile_graph([output]), {x: point}, {})
    expected = np.asarray(mixture(theirs, THEIRS, jax.numpy.asarray(point)))
    assert found.shape == expected.shape
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-8)


@pytest.mark.parametrize("width", [2, 13])
def test_jacobians_of_loops_in_both_modes(width: int) -> None:
    """Machine code; written out where there are few passes, a scan over a basis where many."""
    w = np.random.default_rng(3).normal(size=(width, width)) / width
    steps = np.random.default_rng(4).normal(size=(5, width))
    x, rows = sf.input("x", (width,), "float64"), sf.input("rows", ("time", width), "float64")
    m = MODULES[0]

    def step(h: Any, row: Any) -> Any:
        grown = m.while_loop(
            lambda v: m.sum(v * v) < 9.0, lambda v: 1.5 * v + w @ v, h, max_steps=5
        )
        new = m.cond(m.sum(row) > 0, lambda: m.tanh(grown) + row, lambda: m.sin(grown) * row)
        return new, m.sum(new * new)

    last, sizes = m.scan(step, x, rows)
    outputs = [sf.jacobian(last, x), sf.jacobian(sizes, rows), sf.hessian(m.sum(sizes), x)]
    basis = [np.eye(width)[k] for k in range(width)]
    columns = sf.function([x, rows], [sf.jvp(last, x, e) for e in basis])
    curves = sf.function([x, rows], [sf.hvp(m.sum(sizes), x, e) for e in basis[:2]])
    f = sf.function([x, rows], outputs)
    point = np.linspace(0.5, 1.0, width)
    by_x, by_rows, hessian = f(point, steps)
    np.testing.assert_allclose(by_x, np.stack(columns(point, steps), -1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(hessian[:2], curves(point, steps), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-8, atol=1e-10)
    assert by_rows.shape == (5, 5, width)
    assert not np.triu(np.abs(by_rows).sum(-1), 1).any(), "a step depends on no later row"


def test_reverse_over_forward_of_an_op_of_several_outputs_within_a_scan() -> None:
    """The derivative of a derivative is the first to read an output of the forward step."""
    start = np.random.default_rng(3).normal(size=(3, 3))
    x = sf.input("x", (3, 3), "float64")
    total = sf.scan(
        lambda c, u: (c * 0.5 + u * np.eye(3), ops.eigvalsh(c @ c.T)), x, np.array([1.0, 2.0])
    )[1].sum()
    turned, straight = sf.grad(sf.jvp(total, x, start), x), sf.hvp(total, x, start)
    f = sf.function([x], [turned, straight, sf.grad(total, x)])
    found, other, _ = f(start)
    slope = (f(start * (1 + 1e-6))[2] - f(start * (1 - 1e-6))[2]) / 2e-6
    np.testing.assert_allclose(found, other, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found, slope, rtol=1e-6, atol=1e-6)
