"""The rules of functions of matrices and of arrangements of arrays, against their closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from tests.documents.support import close, compiled, differential, normal

# Decompositions


def _low(x: Any) -> Any:
    """The lower triangle with half the diagonal."""
    return np.tril(x) - np.diag(np.diag(x)) / 2


def _symmetric(n: int) -> Any:
    a = normal(n, n)
    return a + a.T


def test_cholesky() -> None:
    """A = L L': dL = L low(L^-1 dA L^-T)"""
    b, da = normal(4, 4), _symmetric(4)
    a = b @ b.T + np.eye(4)
    factor = np.linalg.cholesky(a)
    inverse = np.linalg.inv(factor)
    close(differential(ops.cholesky, (a,), (da,)), factor @ _low(inverse @ da @ inverse.T))


def test_symmetric_eigenvalues() -> None:
    """dw_i = v_i' dA v_i, and the gradient of w_i is v_i v_i'"""
    a, da = _symmetric(4), _symmetric(4)
    _, v = np.linalg.eigh(a)
    close(differential(ops.eigvalsh, (a,), (da,)), np.einsum("ki,kl,li->i", v, da, v))
    for i in range(4):
        gradient = compiled(lambda a, i=i: sf.grad(ops.eigvalsh(a)[i], a), a)
        close(gradient, np.outer(v[:, i], v[:, i]))


def test_singular_values() -> None:
    """ds_i = u_i' dA v_i"""
    a, da = normal(4, 3), normal(4, 3)
    u, _, v = np.linalg.svd(a, full_matrices=False)
    close(differential(ops.svdvals, (a,), (da,)), np.einsum("ki,kl,il->i", u, da, v))


def test_qr() -> None:
    """A = Q R: dR = U R and dQ = (dA - Q dR) R^-1, with M = Q'dA R^-1 and U = upper(M) + low'"""
    a, da = normal(4, 3), normal(4, 3)
    q, r = np.linalg.qr(a)
    m = q.T @ da @ np.linalg.inv(r)
    skew = np.tril(m, -1) - np.tril(m, -1).T  # Q'dQ
    dr = (m - skew) @ r
    close(differential(lambda a: ops.qr(a)[1], (a,), (da,)), dr)
    close(differential(lambda a: ops.qr(a)[0], (a,), (da,)), (da - q @ dr) @ np.linalg.inv(r))


def test_matrix_exponential() -> None:
    """d e^X is the upper right block of exp([[X, dX], [0, X]]); e^X dX where they commute"""
    x, dx = 0.5 * normal(3, 3), normal(3, 3)
    block = np.block([[x, dx], [np.zeros((3, 3)), x]])
    series, term = np.eye(6), np.eye(6)
    for k in range(1, 60):
        term = term @ block / k
        series = series + term
    close(differential(ops.expm, (x,), (dx,)), series[:3, 3:])
    close(differential(ops.expm, (x,), (x @ x,)), series[:3, :3] @ x @ x)


# Sums of products


def test_einsum() -> None:
    """y_ik = sum_j a_ij b_jk c_k: the cotangent of each factor is the einsum of the others"""
    a, b, c, g = normal(2, 3), normal(3, 4), normal(4), normal(2, 4)
    by_a, by_b, by_c = compiled(
        lambda a, b, c: sf.vjp(ops.einsum("ij,jk,k->ik", a, b, c), [a, b, c], g), a, b, c
    )
    close(by_a, np.einsum("ik,jk,k->ij", g, b, c))
    close(by_b, np.einsum("ik,ij,k->jk", g, a, c))
    close(by_c, np.einsum("ik,ij,jk->k", g, a, b))


def test_convolution() -> None:
    """y = a * v: the cotangents are the correlations of y's with v, and with a"""
    a, v, g = normal(6), normal(3), normal(8)
    by_a, by_v = compiled(lambda a, v: sf.vjp(ops.convolve(a, v), [a, v], g), a, v)
    close(by_a, np.correlate(g, v, "valid"))
    close(by_v, np.correlate(g, a, "valid"))


def test_cumulative_sums() -> None:
    """y_i = sum of x_j for j <= i: the Jacobian is the lower triangle of ones; summed backwards"""
    x, g = normal(5), normal(5)
    jacobian, backwards = compiled(
        lambda x: [sf.jacobian(ops.cumsum(x), x), sf.vjp(ops.cumsum(x), x, g)], x
    )
    close(jacobian, np.tril(np.ones((5, 5))))
    close(backwards, np.cumsum(g[::-1])[::-1])


# Elements that change their places


def test_sorting() -> None:
    """sort x = P x with a permutation P, which is its Jacobian; top-k: the last rows of P"""
    x = normal(6)
    permutation = np.eye(6)[np.argsort(x)]
    ordered, largest = compiled(
        lambda x: [sf.jacobian(ops.sort(x), x), sf.jacobian(ops.top_k(x, 2)[0], x)], x
    )
    close(ordered, permutation)
    close(largest, permutation[::-1][:2])


def test_gather_and_scatter_add() -> None:
    """y = S x with a selection S: the cotangent is S'y, added up where an element was taken twice;
    x + S'v: the cotangent of v is that of the result, gathered
    """
    x, index, v = normal(5, 2), np.array([3, 0, 3]), normal(3, 2)
    selection = np.eye(5)[index]
    g = normal(3, 2)
    close(compiled(lambda x: sf.vjp(ops.take(x, index, 0), x, g), x), selection.T @ g)
    whole = normal(5, 2)
    value, by_x, by_v = compiled(
        lambda x, v: [
            ops.scatter_add(x, index, v),
            *sf.vjp(ops.scatter_add(x, index, v), [x, v], whole),
        ],
        x, v,
    )  # fmt: skip
    close(value, x + selection.T @ v)
    close(by_x, whole)
    close(by_v, selection @ whole)


# Smooth maxima


def test_softmax() -> None:
    """p = softmax(s): dp/ds = diag(p) - p p', and that of logsumexp is p"""
    s = normal(4)
    p = np.exp(s) / np.exp(s).sum()
    jacobian, gradient, hessian = compiled(
        lambda s: [
            sf.jacobian(ops.softmax(s), s),
            sf.grad(ops.logsumexp(s), s),
            sf.hessian(ops.logsumexp(s), s),
        ],
        s,
    )
    close(jacobian, np.diag(p) - np.outer(p, p))
    close(gradient, p)
    close(hessian, np.diag(p) - np.outer(p, p))


@pytest.mark.parametrize("order", [1, 2, 3, np.inf])
def test_vector_norms(order: float) -> None:
    """|x|_p: sign(x) |x|^(p-1) / |x|_p^(p-1); of the largest for p = inf"""
    x = np.array([0.5, -2.0, 1.5])
    size = np.linalg.norm(x, order)
    expected = np.array([0.0, -1.0, 0.0])
    if np.isfinite(order):
        expected = np.sign(x) * np.abs(x) ** (order - 1) / size ** (order - 1)
    close(compiled(lambda x: sf.grad(ops.norm(x, order), x), x), expected)
