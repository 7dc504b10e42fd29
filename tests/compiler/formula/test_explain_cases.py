"""`explain` on a list of derivatives: right, and no longer than 1.3 times what a person writes.

Each is declared with named sizes and with small ints; the text must be the same but for the sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

import staticflow as sf
from staticflow import ops
from staticflow.graph.node import Node
from staticflow.runtime.interpreter import interpret

CASES: dict[str, tuple[str, str, str]] = {  # f, by what, as a person writes the derivative
    "linear": ("y @ x", "x", "y"),
    "quadratic": ("x @ A @ x", "x", "(A + A.T) @ x"),
    "bilinear": ("y @ A @ x", "A", "outer(y, x)"),
    "norm": ("ops.norm(x)", "x", "x / norm(x)"),
    "Frobenius": ("ops.norm(X, 'fro') ** 2", "X", "2 * X"),
    "residual": ("ops.norm(X @ W - U) ** 2", "W", "2 * X.T @ (X @ W - U)"),
    "trace of A'BA": ("tr(A.T @ B @ A)", "A", "(B + B.T) @ A"),
    "trace of ABA'C": ("tr(A @ B @ A.T @ C)", "A", "C.T @ A @ B.T + C @ A @ B"),
    "inverse": ("y @ ops.inv(A) @ x", "A", "-outer(inv(A).T @ y, inv(A) @ x)"),
    "solve": ("y @ ops.solve(A, x)", "A", "-outer(inv(A).T @ y, inv(A) @ x)"),
    "logdet": ("ops.logdet(A)", "A", "inv(A).T"),
    "log of det": ("ops.log(ops.det(A))", "A", "inv(A).T"),
    "sum of kron": ("ops.kron(A, B).sum()", "A", "sum(B) * ones(A.shape)"),
    "trace of kron": ("tr(ops.kron(A, B))", "A", "trace(B) * eye(A.shape[0])"),
    "log-sum-exp": ("ops.log(ops.exp(X @ w).sum())", "w", "X.T @ softmax(X @ w)"),
    "log-sum-exp twice": ("ops.logsumexp(x)", "x hessian",
                          "diag(softmax(x)) - outer(softmax(x), softmax(x))"),
    "least squares twice": ("0.5 * ((X @ w - b) ** 2).sum()", "w hessian", "X.T @ X"),
    "ridge": ("((X @ w - b) ** 2).sum() + lam * (w @ w)", "w",
              "2 * X.T @ (X @ w - b) + 2 * lam * w"),
    "logistic": ("ops.softplus(-b * (X @ w)).sum()", "w", "-X.T @ (b * sigmoid(-b * (X @ w)))"),
    "logistic twice": (
        "ops.softplus(-b * (X @ w)).sum()", "w hessian",
        "X.T @ ((b ** 2 * sigmoid(-b * (X @ w)) * sigmoid(b * (X @ w)))[:, None] * X)",
    ),
    "Gaussian": ("-0.5 * ((x - mu) @ ops.inv(S) @ (x - mu))", "mu",
                 "0.5 * (inv(S) + inv(S).T) @ (x - mu)"),
    "PCA": ("tr(W.T @ X.T @ X @ W)", "W", "2 * X.T @ X @ W"),
    "Rayleigh": ("(x @ A @ x) / (x @ x)", "x",
                 "((A + A.T) @ x) / (x @ x) - 2 * (x @ A @ x) / (x @ x) ** 2 * x"),
    "softmax regression": ("ops.softmax_cross_entropy(X @ W, labels).mean()", "W",
                           "X.T @ (softmax(X @ W) - one_hot(labels)) / X.shape[0]"),
    "metric": ("((D @ A) * D).sum()", "A", "D.T @ D"),
    "metric root": ("((D @ A.T) ** 2).sum()", "A", "2 * A @ (D.T @ D)"),
    "RNN step": ("(ops.tanh(A @ h + B @ x + mu) * y).sum()", "A",
                 "outer(y * (1 - tanh(A @ h + B @ x + mu) ** 2), h)"),
    "softmax": ("ops.softmax(x)", "x jacobian",
                "diag(softmax(x)) - outer(softmax(x), softmax(x))"),
    "A exp(x)": ("A @ ops.exp(x)", "x jacobian", "A * exp(x)"),
    "cubic": ("tr(A @ A @ A)", "A", "3 * (A @ A).T"),
    "spectral norm": ("ops.norm(A, 2)", "A", "outer(svd(A)[0][:, 0], svd(A)[2][0])"),
    "distance": ("ops.norm(x - lam * y)", "lam", "-(y @ (x - lam * y)) / norm(x - lam * y)"),
    "product of scalars": ("ops.log(x.sum()) * (x @ y)", "x",
                           "x @ y / sum(x) + log(sum(x)) * y"),
}  # fmt: skip
LONGER = {"trace of kron", "spectral norm"}  # as yet
N, M, K = 4, 5, 3
NUMPY: dict[str, Any] = {
    **{name: getattr(np, name) for name in np.__all__},
    **{name: getattr(np.linalg, name) for name in ("norm", "inv", "det", "solve", "svd")},
    "softmax": lambda x, axis=-1: scipy.special.softmax(x, axis),
    "sigmoid": scipy.special.expit,
    "one_hot": lambda y: np.eye(K)[y],
}


def declared(named: bool) -> dict[str, Any]:
    n, m, k = ("n", "m", "k") if named else (N, M, K)
    shapes: dict[str, tuple[Any, ...]] = {
        **dict.fromkeys("ABCS", (n, n)), **dict.fromkeys("XD", (m, n)), "W": (n, k), "U": (m, k),
        **dict.fromkeys(("x", "y", "w", "h", "mu"), (n,)), "b": (m,), "lam": (),
    }  # fmt: skip
    found: dict[str, Any] = {name: sf.input(name, s, "float64") for name, s in shapes.items()}
    found["labels"] = sf.input("labels", (m,), "int64")
    return found


def derivative(name: str, leaves: dict[str, Any]) -> Node:
    text, by, _ = CASES[name]
    f = eval(text, {**leaves, "ops": ops, "tr": ops.trace})
    x, _, kind = by.partition(" ")
    result: Node = getattr(sf, kind or "grad")(f, leaves[x])
    return result


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    found: dict[str, Any] = {}
    for name, leaf in declared(named=False).items():
        found[name] = rng.uniform(0.2, 0.9, leaf.shape) if name != "labels" else None
        if leaf.shape == (N, N):
            found[name] = found[name] + 2 * np.eye(N)
    return {**found, "labels": rng.integers(0, K, M)}


def evaluated(text: str, values: dict[str, Any]) -> Any:
    *lines, last = text.split("\n")
    scope = {**NUMPY, "n": N, "m": M, "k": K, **values}
    exec("\n".join(lines), scope)
    return eval(last, scope)


@pytest.mark.parametrize("named", [True, False], ids=["named", "ints"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_it_is_right_and_short(name: str, named: bool) -> None:
    leaves, values = declared(named), arrays()
    node = derivative(name, leaves)
    text = str(sf.explain(node))
    (wanted,) = interpret([node], {leaf: values[x] for x, leaf in leaves.items()})
    np.testing.assert_allclose(evaluated(text, values), wanted, rtol=1e-8, atol=1e-12)
    by_hand = evaluated(CASES[name][2], values)
    np.testing.assert_allclose(by_hand, wanted, rtol=1e-8, atol=1e-12)
    assert (len(text) <= 1.3 * len(CASES[name][2])) == (name not in LONGER), text


@pytest.mark.parametrize("name", sorted({*CASES} - LONGER))
def test_the_text_is_the_same_for_named_sizes_and_ints(name: str) -> None:
    texts = [str(sf.explain(derivative(name, declared(named)))) for named in (True, False)]
    for size, value in (("(n, n)", f"({N}, {N})"), ("/ m", f"/ {M}")):
        texts[0] = texts[0].replace(size, value)
    assert texts[0] == texts[1]


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
    assert sf.explain(x @ np.array([1.0, 2.5, 3.0])) == "x @ array([1.0, 2.5, 3.0])"
    assert sf.explain(x * 0.123456789) == "0.123456789 * x"
    y = sf.input("y", (3,), "float32")
    assert sf.explain(y * sf.const([0.1, 0.2, 0.3], "float32")) == "y * array([0.1, 0.2, 0.3])"
    assert sf.explain(y * sf.const(0.1, "float32")) == "0.1 * y"


def test_scalars_may_have_axes_of_size_one() -> None:
    x = column("x", N)
    A = sf.input("A", (N, N), "float64")
    f = x.T @ A @ x
    assert f.shape == (1, 1) and sf.grad(f, x).shape == (N, 1)
    assert sf.explain(sf.grad(f, x)) == "(A + A.T) @ x"
    assert sf.hessian(f, x).shape == (N, 1, N, 1)
