"""The rules of matrix differentiation: every differential and derivative has its closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from tests.documents.support import close, compiled, differential, normal

# The rules of differentials


def test_sum_and_difference() -> None:
    """d(X + Y) = dX + dY, d(X - Y) = dX - dY"""
    x, y, dx, dy = (normal(3, 4) for _ in range(4))
    close(differential(lambda a, b: a + b, (x, y), (dx, dy)), dx + dy)
    close(differential(lambda a, b: a - b, (x, y), (dx, dy)), dx - dy)


def test_product() -> None:
    """d(XY) = (dX) Y + X dY"""
    x, y, dx, dy = normal(3, 4), normal(4, 2), normal(3, 4), normal(4, 2)
    close(differential(lambda a, b: a @ b, (x, y), (dx, dy)), dx @ y + x @ dy)


def test_transpose_and_trace() -> None:
    """d(X') = (dX)', d tr(X) = tr(dX)"""
    x, dx = normal(4, 4), normal(4, 4)
    close(differential(lambda a: a.T, (x,), (dx,)), dx.T)
    close(differential(ops.trace, (x,), (dx,)), np.trace(dx))


def test_inverse() -> None:
    """dX^-1 = -X^-1 dX X^-1"""
    x, dx = normal(4, 4) + 3 * np.eye(4), normal(4, 4)
    inverse = np.linalg.inv(x)
    close(differential(ops.inv, (x,), (dx,)), -inverse @ dx @ inverse)


def test_determinant() -> None:
    """d|X| = tr(X* dX) with the adjugate X*, and = |X| tr(X^-1 dX) where X is invertible"""
    x, dx = normal(3, 3), normal(3, 3)
    inverse = np.linalg.inv(x)
    close(differential(ops.det, (x,), (dx,)), np.linalg.det(x) * np.trace(inverse @ dx))
    flat = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]])  # of rank 2
    adjugate = np.array([[4.0, -2.0, 0.0], [4.0, -2.0, 0.0], [-4.0, 2.0, 0.0]])
    close(differential(ops.det, (flat,), (dx,)), np.trace(adjugate @ dx))
    close(compiled(lambda a: sf.grad(ops.det(a), a), flat), adjugate.T)


def test_log_determinant() -> None:
    """d log|X| = tr(X^-1 dX)"""
    a = normal(4, 4)
    x = a @ a.T + np.eye(4)
    close(compiled(lambda a: sf.grad(ops.logdet(a), a), x), np.linalg.inv(x).T)


def test_hadamard_product() -> None:
    """d(X * Y) = dX * Y + X * dY, by elements"""
    x, y, dx, dy = (normal(3, 4) for _ in range(4))
    close(differential(lambda a, b: a * b, (x, y), (dx, dy)), dx * y + x * dy)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (ops.exp, np.exp),
        (ops.sin, np.cos),
        (ops.tanh, lambda x: 1 - np.tanh(x) ** 2),
        (lambda x: ops.log(x * x), lambda x: 2 / x),
    ],
)
def test_functions_by_elements(function: Any, derivative: Any) -> None:
    """d s(X) = s'(X) * dX; the derivative of e^x is e^x, that of ln x is 1 / x"""
    x, dx = normal(3, 4), normal(3, 4)
    close(differential(function, (x,), (dx,)), derivative(x) * dx)


def test_differential_and_derivative() -> None:
    """df = tr((df/dX)' dX)"""
    x, dx = normal(3, 4), normal(3, 4)

    def f(a: sf.Node) -> Any:
        y = (ops.exp(a) @ a.T).sum()
        return [sf.jvp(y, a, dx), sf.grad(y, a)]

    df, gradient = compiled(f, x)
    close(df, np.trace(gradient.T @ dx))


def test_trace_identities() -> None:
    """tr(A') = tr(A), tr(AB) = tr(BA), tr(A'(B * C)) = tr((A * B)'C)"""
    a, b, c = (normal(4, 4) for _ in range(3))

    def gradients(p: sf.Node, q: sf.Node, r: sf.Node) -> Any:
        pairs = [
            (ops.trace(p.T), ops.trace(p)),
            (ops.trace(p @ q), ops.trace(q @ p)),
            (ops.trace(p.T @ (q * r)), ops.trace((p * q).T @ r)),
        ]
        return [[y, sf.grad(y, p)] for pair in pairs for y in pair]

    flat = compiled(gradients, a, b, c)
    for left, right in zip(flat[::2], flat[1::2], strict=True):
        close(left[0], right[0])
        close(left[1], right[1])


# Rules of matrix functions that the differentials lead to


def test_norms() -> None:
    """|x|: x / |x|;  the Frobenius norm: X / |X|;  the spectral norm: u v'"""
    x, m = normal(4), normal(3, 4)
    close(compiled(lambda x: sf.grad(ops.norm(x), x), x), x / np.linalg.norm(x))
    close(compiled(lambda m: sf.grad(ops.norm(m, "fro"), m), m), m / np.linalg.norm(m))
    u, _, v = np.linalg.svd(m)
    close(compiled(lambda m: sf.grad(ops.norm(m, 2), m), m), np.outer(u[:, 0], v[0]))


def test_kronecker_product_and_diagonal() -> None:
    """vec(A X B) = (A (x) B') vec X, by rows;  diag: the diagonal of the cotangent"""
    a, x, b = normal(2, 3), normal(3, 4), normal(4, 2)
    jacobian = compiled(lambda a, x, b: sf.jacobian(a @ x @ b, x), a, x, b)
    close(jacobian.reshape(4, 12), compiled(lambda a, b: ops.kron(a, b.T), a, b))
    v, g = normal(3), normal(3, 3)
    close(compiled(lambda v: sf.vjp(ops.diag(v), v, g), v), np.diag(g))


def test_solve_and_gaussian_likelihood() -> None:
    """x = A^-1 b: by b A^-T g, by A -A^-T g x';  log N(x; 0, S): (S^-1 x x' S^-1 - S^-1) / 2"""
    a, b, g = normal(3, 3) + 3 * np.eye(3), normal(3), normal(3)
    by_a, by_b = compiled(lambda a, b: sf.vjp(ops.solve(a, b), [a, b], g), a, b)
    inverse = np.linalg.inv(a)
    close(by_b, inverse.T @ g)
    close(by_a, -np.outer(inverse.T @ g, inverse @ b))
    s = a @ a.T
    y = np.linalg.solve(s, b)

    def likelihood(s: sf.Node, x: sf.Node) -> Any:
        factor = ops.cholesky(s)
        white = ops.solve_triangular(factor, x, lower=True)
        value = -0.5 * (white @ white) - ops.log(ops.diagonal(factor)).sum()
        return sf.grad(value, s)

    close(compiled(likelihood, s, b), (np.outer(y, y) - np.linalg.inv(s)) / 2)
