"""Derivatives of everything around matrices against JAX, and what happens at the edges."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import staticflow as sf  # noqa: E402
from staticflow import ops  # noqa: E402
from tests.ops.matrix_cases import Case, check  # noqa: E402

jax.config.update("jax_enable_x64", True)
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(21)
INF = float("inf")


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape)


def both(name: str, function: Any, *inputs: Any) -> Case:
    """A function that is written alike in both: `function(module, *arrays)`."""
    return Case(
        name,
        lambda *xs: function(ops, *xs),
        lambda *xs: function(jnp, *xs),
        tuple(np.asarray(x) for x in inputs),
    )


def named(name: str, inputs: tuple[Any, ...], *args: Any, **options: Any) -> Case:
    """A function that has the same name in both."""
    return both(
        f"{name}-{'-'.join(map(str, args))}{'-'.join(map(str, options.values()))}",
        lambda m, *xs: getattr(m, name)(*xs, *args, **options),
        *inputs,
    )


def norm(m: Any, x: Any, ord: Any, axis: Any = None) -> Any:
    return (m.norm if m is ops else m.linalg.norm)(x, ord, axis)


TIES = np.array([[0.5, -1.0, 0.5, 2.0], [1.0, 3.0, -2.0, 0.0]])
ZEROS = np.array([[1.5, 0.0, -2.0, 0.5], [0.0, 1.0, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
EINSUMS = (
    ("ij,jk->ik", (3, 4), (4, 2)), ("ij,ij->", (3, 4), (3, 4)), ("i,j->ij", (3,), (4,)),
    ("ii", (3, 3)), ("ii->i", (3, 3)), ("bij,bkj->bik", (2, 3, 4), (2, 5, 4)),
    ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 3)), ("i,ij,j->", (3,), (3, 4), (4,)),
    ("ijk->k", (2, 3, 4)), ("ab,cb,db->acd", (2, 3), (4, 3), (2, 3)), ("ijk,k", (2, 3, 4), (4,)),
)  # fmt: skip

CASES = [
    *(both(f"einsum {text}", lambda m, *xs, text=text: m.einsum(text, *xs), *map(np.asarray,
           (normal(*s) for s in shapes))) for text, *shapes in EINSUMS),
    *(both(f"norm {o}", lambda m, x, o=o: norm(m, x, o), normal(5)) for o in
      (None, 1, 2, 3, INF, -INF)),
    *(both(f"norm of matrices {o}", lambda m, x, o=o: norm(m, x, o, (1, 2)), normal(2, 3, 4))
      for o in ("fro", "nuc", 1, -1, 2, -2, INF, -INF)),
    named("trace", (normal(4, 4),)), named("trace", (normal(3, 5),), 1),
    named("diag", (normal(4),)), named("diag", (normal(3),), -2), named("diag", (normal(3, 4),), 1),
    named("diagonal", (normal(2, 3, 3),), 0, 1, 2), named("diagonal", (normal(4, 3, 2),), -1, 0, 2),
    named("kron", (normal(2, 3), normal(3, 2))), named("kron", (normal(3), normal(2))),
    named("outer", (normal(3), normal(4))), named("tril", (normal(3, 4),), 1),
    *(named("convolve", (normal(6), normal(3)), mode=m) for m in ("full", "same", "valid")),
    *(named("convolve", (normal(2), normal(5)), mode=m) for m in ("full", "same", "valid")),
    named("correlate", (normal(6), normal(4)), mode="same"),
    *(named("cumsum", (normal(2, 3, 4),), axis=a) for a in (None, 0, 1, -1)),
    *(named("cumprod", (normal(2, 3, 4),), axis=a) for a in (None, 0, 1, -1)),
    named("cumprod", (ZEROS,), axis=1), named("prod", (ZEROS,), axis=1),
    named("sort", (TIES,), axis=1), named("sort", (normal(4, 3),), axis=0),
    Case("top_k", lambda x: ops.top_k(x, 2)[0], lambda x: jax.lax.top_k(x, 2)[0], (TIES,)),
    both("logsumexp", lambda m, x: (m if m is ops else jax.nn).logsumexp(x, axis=1), normal(3, 4)),
    both("softmax", lambda m, x: (m if m is ops else jax.nn).softmax(x, axis=1), normal(3, 4)),
    both("hadamard", lambda m, x, y: x * y, normal(3, 4), normal(3, 4)),
    both("quadratic form", lambda m, x, a: x @ a @ x, normal(4), normal(4, 4)),
    both("bilinear form", lambda m, x, a, y: x @ a @ y, normal(3), normal(3, 4), normal(4)),
    both("gather", lambda m, x: m.take(x, np.array([0, 2, 2, 1]), axis=0), normal(3, 4)),
    *(named(n, (np.where(TIES == 2.0, np.nan, TIES),), axis=1)
      for n in ("nansum", "nanprod", "nanmax", "nanmin", "nanmean", "nanvar", "nanstd")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_against_jax(case: Case) -> None:
    check(case)


def run(function: Any, *arrays: Any) -> Any:
    """A function of nodes, compiled for the given arrays."""
    xs = [sf.input(f"x{k}", np.shape(a), np.asarray(a).dtype) for k, a in enumerate(arrays)]
    return sf.function(xs, function(*xs))(*arrays)


def minors(a: Any) -> Any:
    """The cofactors by their definition."""
    n = len(a)
    out = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            minor = np.delete(np.delete(a, i, 0), j, 1)
            out[i, j] = (-1) ** (i + j) * np.linalg.det(minor)
    return out


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_determinant_of_any_rank(rank: int) -> None:
    """The gradient is the cofactors, also of a singular matrix; the second derivative holds too."""
    a = normal(4, rank) @ normal(rank, 4) if rank < 4 else normal(4, 4)
    t = normal(4, 4)

    def f(x: sf.Node) -> Any:
        g = sf.grad(ops.det(x), x)
        return [g, sf.jvp(g, x, t), sf.grad((g * t).sum(), x), sf.jvp(ops.det(x), x, t)]

    gradient, forward, backward, slope = run(f, a)
    np.testing.assert_allclose(gradient, minors(a), atol=1e-11)
    h = 1e-3  # the cofactors are cubic: a five-point rule is exact for them
    change = (8 * (minors(a + h * t) - minors(a - h * t))
              - (minors(a + 2 * h * t) - minors(a - 2 * h * t))) / (12 * h)  # fmt: skip
    np.testing.assert_allclose(forward, change, atol=1e-9)
    np.testing.assert_allclose(backward, change, atol=1e-9)
    np.testing.assert_allclose(slope, (minors(a) * t).sum(), atol=1e-11)


def by_permutations(a: Any) -> Any:
    """The determinant by its definition, which has derivatives of every order everywhere."""
    n = a.shape[-1]
    total = 0.0
    for order in itertools.permutations(range(n)):
        term = np.linalg.det(np.eye(n)[list(order)])
        for row, column in enumerate(order):
            term = term * a[..., row, column]
        total = total + term
    return total


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_third_derivatives_of_a_determinant(rank: int) -> None:
    """In every order of the modes, and for every rank."""
    a = np.stack([normal(4, rank) @ normal(rank, 4) if rank < 4 else normal(4, 4)] * 2)
    t, w, u = normal(2, 4, 4), normal(2, 4, 4), normal(2, 4, 4)

    def ours(x: sf.Node) -> Any:
        first = sf.grad(ops.det(x).sum(), x)
        second = [sf.jvp(first, x, t), sf.grad((first * t).sum(), x)]
        third = [f for s in second for f in (sf.jvp(s, x, w), sf.grad((s * w).sum(), x))]
        forward = sf.jvp(sf.jvp(sf.jvp(ops.det(x).sum(), x, t), x, w), x, u)
        return [*third, forward]

    def theirs(x: Any) -> Any:
        first = jax.grad(lambda x: by_permutations(x).sum())
        second = jax.grad(lambda x: (first(x) * t).sum())
        return jax.grad(lambda x: (second(x) * w).sum())(x)

    expected = theirs(a)
    *found, forward = run(ours, a)
    for third in found:
        np.testing.assert_allclose(third, expected, atol=1e-9)
    np.testing.assert_allclose(forward, (expected * u).sum(), rtol=1e-9)


def test_fourth_derivatives_of_a_determinant() -> None:
    """Of a regular matrix; where it is singular they are not numbers."""
    a, t = normal(3, 3), normal(3, 3)

    def fourth(det: Any, grad: Any, x: Any) -> Any:
        f = det
        for _ in range(3):
            f = lambda x, f=f: (grad(f, x) * t).sum()  # noqa: E731
        return grad(f, x)

    found = run(lambda x: fourth(ops.det, lambda f, x: sf.grad(f(x), x), x), a)
    expected = fourth(jnp.linalg.det, lambda f, x: jax.grad(f)(x), a)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    b = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 1.0, 1.0]])
    assert np.isnan(run(lambda x: fourth(ops.det, lambda f, x: sf.grad(f(x), x), x), b)).any()


def test_eigenvalues_that_are_equal() -> None:
    """The eigenvalues of a multiple of the identity have a derivative along each eigenvector."""
    gradient = run(lambda x: sf.grad(ops.eigvalsh(x).sum(), x), 2.0 * np.eye(3))
    np.testing.assert_allclose(gradient, np.eye(3), atol=1e-14)
    gradient = run(lambda x: sf.grad(ops.svdvals(x).sum(), x), np.eye(3))
    np.testing.assert_allclose(gradient, np.eye(3), atol=1e-14)


def test_wide_qr() -> None:
    """JAX has no rule for it; q r = a, and q is a function of the first columns alone."""
    a, t = normal(2, 4), normal(2, 4)
    h = 1e-6

    def f(x: sf.Node) -> Any:
        q, r = ops.qr(x)
        loss = (q * np.arange(4.0).reshape(2, 2)).sum() + (r * r * r).sum()
        return [q @ r, loss, sf.jvp(loss, x, t), (sf.grad(loss, x) * t).sum()]

    xs = sf.input("x", a.shape, "float64")
    function = sf.function(xs, f(xs))
    product, _, forward, backward = function(a)
    slope = (function(a + h * t)[1] - function(a - h * t)[1]) / (2 * h)
    np.testing.assert_allclose(product, a, atol=1e-14)
    np.testing.assert_allclose([forward, backward], slope, rtol=1e-7)


def test_norm_at_zero_is_as_in_jax() -> None:
    zero = np.zeros(3)
    assert np.isnan(run(lambda x: sf.grad(ops.norm(x), x), zero)).all()
    assert np.isnan(jax.grad(jnp.linalg.norm)(zero)).all()
    expected = jax.grad(lambda x: jnp.linalg.norm(x, 1))(zero)
    np.testing.assert_array_equal(run(lambda x: sf.grad(ops.norm(x, 1), x), zero), expected)


def test_singular_and_indefinite_matrices() -> None:
    """Infinities and NaN where there is no result; nothing raises and nothing looks like one."""
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    assert not np.isfinite(run(ops.inv, singular)).any()
    assert not np.isfinite(run(lambda a: ops.solve(a, np.ones(2)), singular)).any()
    sign, size = run(lambda a: list(ops.slogdet(a)), singular)
    assert sign == 0 and size == -INF
    assert run(ops.det, singular) == 0
    assert np.isnan(run(ops.logdet, -np.eye(3)))
    factor = run(ops.cholesky, np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert np.isnan(factor[np.tril_indices(2)]).all() and factor[0, 1] == 0
    gradient = run(lambda a: sf.grad(ops.cholesky(a).sum(), a), -np.eye(2))
    assert np.isnan(gradient).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    """LAPACK is never asked about them."""
    a = np.eye(4)
    a[1, 2] = a[2, 1] = bad
    assert np.isnan(run(ops.eigvalsh, a)).all()
    assert np.isnan(run(ops.svdvals, a)).all()
    assert np.isnan(run(ops.cholesky, np.full((40, 40), bad))[-1, -1])
    assert not np.isfinite(run(ops.expm, a)).all()
    assert not np.isfinite(run(ops.det, np.full((3, 3), bad)))


@pytest.mark.parametrize("n", [0, 1])
def test_smallest_sizes(n: int) -> None:
    a = 2.0 * np.eye(n)
    for function in (ops.inv, ops.cholesky, ops.expm):
        assert run(function, a).shape == (n, n)
    assert run(ops.det, a) == 2.0**n
    assert run(ops.eigvalsh, a).shape == (n,)
    assert run(ops.svdvals, np.ones((3, n))).shape == (n,)
    assert run(lambda x: ops.solve(x, ops.ones((n,), "float64")), a).shape == (n,)
    assert run(lambda x: list(ops.qr(x)), np.ones((3, n)))[0].shape == (3, n)
    assert run(ops.sort, np.ones((2, n))).shape == (2, n)
    assert run(lambda x: ops.cumsum(x, axis=1), np.ones((2, n))).shape == (2, n)


def test_sizes_known_at_run_time() -> None:
    a = sf.input("a", ("batch", "n", "n"), "float64")
    b = sf.input("b", ("batch", "n"), "float64")
    loss = ops.logdet(a).sum() + (b[..., None] * ops.solve(a, b[..., None])).sum()
    function = sf.function([a, b], [loss, sf.grad(loss, a)])
    for batch, n in ((1, 3), (4, 2), (2, 50)):
        m = normal(batch, n, n)
        m = m @ m.transpose(0, 2, 1) / n + np.eye(n)
        v = normal(batch, n)
        inverse = np.linalg.inv(m)
        solved = np.einsum("bij,bj->bi", inverse, v)
        value, gradient = function(m, v)
        expected = np.linalg.slogdet(m)[1].sum() + (v * solved).sum()
        np.testing.assert_allclose(value, expected, rtol=1e-11)
        np.testing.assert_allclose(
            gradient, inverse - solved[:, :, None] * solved[:, None, :], atol=1e-9
        )


def test_single_precision() -> None:
    a = (normal(30, 30) / 6 + 2 * np.eye(30)).astype(np.float32)
    s = (a @ a.T).astype(np.float32)
    b = normal(30, 4).astype(np.float32)
    np.testing.assert_allclose(run(ops.solve, a, b), np.linalg.solve(a, b), atol=1e-4)
    np.testing.assert_allclose(run(ops.cholesky, s), np.linalg.cholesky(s), atol=1e-4)
    np.testing.assert_allclose(run(ops.eigvalsh, s), np.linalg.eigvalsh(s), atol=1e-4)
    np.testing.assert_allclose(run(ops.svdvals, a), np.linalg.svd(a)[1], atol=1e-4)
    assert run(ops.inv, a).dtype == np.float32


def matrix(*shape: Any, dtype: str = "float64") -> sf.Node:
    return sf.input("a", shape, dtype)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda: ops.inv(matrix(2, 3)), sf.ShapeError, "inv: needs square matrices"),
        (lambda: ops.det(matrix(3)), sf.ShapeError, "det: needs a matrix"),
        (lambda: ops.cholesky(matrix("n", "m")), sf.ShapeError, "square"),
        (lambda: ops.solve(matrix(3, 3), np.ones(2)), sf.ShapeError, "as many rows"),
        (
            lambda: ops.solve_triangular(matrix(3, 3), np.ones((2, 3))),
            sf.ShapeError,
            "as many rows",
        ),
        (lambda: ops.eigh(matrix(2, 3, 4)), sf.ShapeError, "square"),
        (lambda: ops.qr(matrix("n", 3)), sf.ShapeError, "tall or wide"),
        (lambda: ops.einsum("ij,jk->ik", matrix(2, 3), np.ones((4, 2))), sf.ShapeError, "'j'"),
        (lambda: ops.einsum("ij->ijk", matrix(2, 3)), sf.ShapeError, "distinct letters"),
        (lambda: ops.einsum("ijk->i", matrix(2, 3)), sf.ShapeError, "does not name the axes"),
        (lambda: ops.norm(matrix(2, 3), "two"), sf.GraphError, "not a norm of matrices"),
        (lambda: ops.norm(matrix(2, 3, 4), 2), sf.ShapeError, "one axis or two"),
        (lambda: ops.convolve(matrix(2, 3), np.ones(2)), sf.ShapeError, "two vectors"),
        (lambda: ops.convolve(matrix(4), np.ones(2), "half"), sf.ShapeError, "mode"),
        (lambda: ops.top_k(matrix(4), 5), sf.ShapeError, "cannot take that many"),
        (lambda: ops.matrix_power(matrix(2, 2), 0.5), sf.DTypeError, "integer"),
        (lambda: ops.diagonal(matrix(4)), sf.ShapeError, "needs a matrix"),
        (lambda: ops.inv(np.ones((2, 2), complex)), sf.DTypeError, "numbers"),
        (lambda: sf.grad(ops.argsort(matrix(4)).sum(), matrix(4)), sf.DTypeError, "only floats"),
    ],
)
def test_errors_name_what_is_wrong(function: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        function()
    assert "test_matrix_calculus.py" in str(caught.value)


def test_integers_become_floats() -> None:
    """As in every function that computes in floats."""
    a = np.array([[2, 0], [0, 4]])
    result = run(ops.inv, a)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[0.5, 0], [0, 0.25]])


def test_orders() -> None:
    """NaN is the largest, equal elements keep their order, integers and booleans have one too."""
    x = np.array([[2.0, np.nan, 1.0, 2.0, -1.0], [0.0, -0.0, 3.0, 3.0, np.nan]])
    np.testing.assert_array_equal(run(ops.argsort, x), np.argsort(x, kind="stable"))
    np.testing.assert_array_equal(run(ops.sort, x), np.sort(x))
    down = run(lambda a: ops.argsort(a, descending=True), x)
    np.testing.assert_array_equal(down, jnp.argsort(x, descending=True, stable=True))
    many = RNG.integers(0, 9, size=(3, 200))
    np.testing.assert_array_equal(run(ops.argsort, many), np.argsort(many, kind="stable"))
    np.testing.assert_array_equal(run(ops.argsort, many > 4), np.argsort(many > 4, kind="stable"))
    edges = np.sort(normal(9))
    points = np.concatenate([edges[:3], normal(5)])
    for side in ("left", "right"):
        place = run(lambda a, v, side=side: ops.searchsorted(a, v, side), edges, points)
        np.testing.assert_array_equal(place, np.searchsorted(edges, points, side))
