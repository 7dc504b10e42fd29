"""`explain`: the results of the documents come out, and every formula computes what it stands for.

A printed formula is NumPy: it is evaluated as such and compared with the graph's own value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.compiler.formula.explain import explain
from staticflow.graph.dims import evaluate
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.runtime.interpreter import interpret
from tests.compiler.formula.cases import NUMPY, SIZES


def real(name: str, *shape: Any) -> Node:
    return sf.input(name, shape, "float64")


X, W, b, Y = real("X", "n", 4), real("W", 4, 3), real("b", 3), real("Y", "n", 3)
w, y, a, x = real("w", 4), real("y", "n"), real("a", "n"), real("x", 4)
A, Z, B = real("A", 4, 4), real("Z", "n", 3), real("B", "n", "t", 4)
labels = sf.input("labels", ("n",), "int64")
p, q = real("p"), real("q")
LEAVES = (X, W, b, Y, w, y, a, x, A, Z, B, p, q)


def evaluated(text: str, leaves: dict[str, Any]) -> Any:
    """The value of the last line, after those that name its parts."""
    *lines, last = text.split("\n")
    names = {**NUMPY, **SIZES, **leaves}
    exec("\n".join(lines), names)
    return eval(last, names)


def values() -> dict[Node, Any]:
    rng = np.random.default_rng(3)
    found: dict[Node, Any] = {labels: rng.integers(0, 3, SIZES["n"])}
    for leaf in LEAVES:
        found[leaf] = rng.normal(size=[evaluate(n, SIZES) for n in leaf.shape])
    return found


def same_value(node: Node) -> None:
    env = values()
    text = explain(node)
    with np.errstate(all="ignore"):
        (expected,) = interpret([node], env)
        actual = evaluated(text, {leaf.name: value for leaf, value in env.items()})
    assert np.shape(actual) == expected.shape, text
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-8, err_msg=text)


# The documents


def test_linear_regression() -> None:
    loss = ((X @ w - y) ** 2).mean()
    assert explain(loss) == "mean((X @ w - y) ** 2)"
    assert explain({"dL/dw": sf.grad(loss, w)}) == "dL/dw = 2 / n * X.T @ (X @ w - y)"
    assert explain({"dJ/dw": sf.grad(((X @ w - y) ** 2).sum(), w)}) == (
        "dJ/dw = 2 * X.T @ (X @ w - y)"
    )
    dw, db = sf.grad(ops.mse(X @ W + b, Y), [W, b])
    assert explain({"dL/dW": dw, "dL/db": db}).split("\n") == [
        "G = X @ W + b - Y",
        "dL/dW = 2 / (3 * n) * X.T @ G",
        "dL/db = 2 / (3 * n) * sum(G, axis=0)",
    ]


def test_score() -> None:
    dS = real("dS", "n", 3)
    found = dict(zip(["dW", "db", "dX"], sf.vjp(X @ W + b, [W, b, X], dS), strict=True))
    assert explain(found).split("\n") == [
        "dW = X.T @ dS", "db = sum(dS, axis=0)", "dX = dS @ W.T",
    ]  # fmt: skip


def test_jacobians() -> None:
    """y = A x, y = x W and x^T A x, of fixed sizes and of named ones."""
    for size in (4, "n"):
        A, x, W = real("A", size, size), real("x", size), real("W", size, 3)
        assert explain(sf.jacobian(A @ x, x)) == "A"
        assert explain(sf.jacobian(x @ W, x)) == "W.T"
    assert explain(sf.hessian(x @ A @ x, x)) == "A + A.T"
    assert explain(sf.jacobian(ops.exp(x), x)) == "diag(exp(x))"
    assert explain(sf.jacobian(ops.tanh(A @ x), x)) == "diag(1 - tanh(A @ x) ** 2) @ A"


def test_exponential_of_a_product() -> None:
    f = a @ ops.exp(X @ x)
    assert explain({"f": f, "df/dx": sf.grad(f, x)}).split("\n") == [
        "g = exp(X @ x)", "f = a @ g", "df/dx = X.T @ (a * g)",
    ]  # fmt: skip


def test_softmax_cross_entropy() -> None:
    loss = ops.softmax_cross_entropy(Z, labels).mean()
    assert explain(sf.grad(loss, Z)) == "(softmax(Z) - one_hot(labels)) / n"
    assert explain(loss) == "mean(logsumexp(Z, axis=1) - sum(one_hot(labels) * Z, axis=1))"
    dw, db = sf.grad(ops.softmax_cross_entropy(X @ W + b, labels).mean(), [W, b])
    assert explain({"dL/dW": dw, "dL/db": db}).split("\n") == [
        "G = softmax(X @ W + b) - one_hot(labels)",
        "dL/dW = X.T @ G / n",
        "dL/db = mean(G, axis=0)",
    ]


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (sf.grad((p + q) * p, p), "2 * p + q"),
        (sf.grad(x @ x, x), "2 * x"),
        (sf.grad(ops.norm(x), x), "x / norm(x)"),
        (sf.grad(x @ A @ x, x), "(A + A.T) @ x"),
        (sf.grad(x @ A @ w, A), "outer(x, w)"),
        (sf.grad(ops.trace(A @ A), A), "2 * A.T"),
        (ops.trace(A), "trace(A)"),
        (ops.det(A), "det(A)"),
        (ops.inv(A), "inv(A)"),
        (ops.solve(A, x), "solve(A, x)"),
        (sf.grad(ops.sigmoid(x).sum(), x), "sigmoid(x) * (1 - sigmoid(x))"),
        (sf.grad(ops.relu(x).sum(), x), "x > 0"),
        (sf.grad(ops.abs(x).sum(), x), "sign(x)"),
        (1.0 / (1.0 + ops.exp(-x)), "sigmoid(x)"),
        (ops.log_softmax(Z), "log_softmax(Z)"),
        (ops.softmax(Z, axis=0), "softmax(Z, axis=0)"),
        (ops.argmax(Z, axis=1), "argmax(Z, axis=1)"),
        (B @ W, "B @ W"),
        (sf.grad(x.sum(), x), "ones((4,))"),
        (sf.vjp(x * ops.stop_gradient(x), x, np.ones(4)), "x"),
    ],
)
def test_identities(node: Node, text: str) -> None:
    assert explain(node) == text


# Writing


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (x - (w - x), "2 * x - w"),
        (x * (w + 1.0), "x * (w + 1)"),
        (x / (w * x[0]), "x / (w * x[0])"),
        (-(x**2.0), "-x ** 2"),
        ((-x) ** 3.0, "-x ** 3"),
        ((x + w) ** 3.0, "(x + w) ** 3"),
        (x**w, "x ** w"),
        (X @ (A @ w), "X @ (A @ w)"),
        (X @ A @ w, "X @ A @ w"),
        ((X * X) @ w, "X ** 2 @ w"),
        ((X + 1.0) @ (w + 1.0), "(X + 1) @ (w + 1)"),
        (X * (X @ A), "X * (X @ A)"),
        ((X @ A) * X, "X @ A * X"),
        (ops.where(x > w, x, 1.0), "where(x > w, x, 1)"),
        (X * y[:, None], "X * y[:, None]"),
        (X[1:, 0], "X[1:n, 0]"),
        ((X @ A).T, "A.T @ X.T"),
        (ops.exp(X).T, "exp(X).T"),
        (ops.stack([x, w]), "stack([x, w], axis=0)"),
    ],
)
def test_brackets_are_few(node: Node, text: str) -> None:
    assert explain(node) == text
    same_value(node)


def test_names() -> None:
    hidden = ops.tanh(X @ W).named("h")
    assert explain(hidden * 2.0) == "h = tanh(X @ W)\n2 * h"
    assert explain([x + w, (x * w).named("z")]) == "[0] = x + w\nz = x * w"
    twice = explain(ops.exp(X @ W) + ops.tanh(X @ W) * real("G", 3))
    assert twice == "H = X @ W\nexp(H) + tanh(H) * G", "a leaf's name is not given again"
    assert explain(real("x") * p + real("x")) == "x * p + x_2"
    assert repr(explain(x)) == "x"


def test_explain_is_the_formula_whatever_was_imported() -> None:
    """A module called `staticflow.explain` would take the name once a session explains itself."""
    sf.Session(outputs=[X @ W]).explain()
    assert sf.explain(X @ W) == "X @ W"


def test_what_is_no_node() -> None:
    with pytest.raises(sf.GraphError, match="takes nodes"):
        explain(3.0)


def test_deep_graphs() -> None:
    deep = x
    for _ in range(3000):
        deep = ops.tanh(deep)
    assert explain(deep).endswith(")")


# Every formula has the value of its graph


def scalars() -> dict[str, Callable[[], Node]]:
    return {
        "tanh net": lambda: (ops.tanh(X @ W + b) ** 2).sum(),
        "relu net": lambda: ops.mse(ops.relu(X @ W + b), Y),
        "cross entropy": lambda: ops.softmax_cross_entropy(X @ W + b, labels).mean(),
        "binary": lambda: ops.sigmoid_binary_cross_entropy(X @ w, y).mean(),
        "softmax": lambda: (ops.softmax(X @ W) * Y).sum(),
        "log softmax": lambda: (ops.log_softmax(X @ W) * Y).sum(),
        "logsumexp": lambda: ops.logsumexp(X @ W),
        "columns": lambda: (ops.softmax(X, axis=0) ** 2).sum(),
        "quadratic": lambda: w @ A @ w,
        "norms": lambda: ops.norm(X) + ops.norm(w),
        "variance": lambda: ops.var(X, axis=0).sum() + ops.std(w),
        "layer norm": lambda: (ops.layer_norm(X) @ W).sum(),
        "huber": lambda: ops.huber(X @ w, y),
        "batched": lambda: ops.tanh(B @ W).sum(),
        "products of batches": lambda: ((B @ ops.swapaxes(B, 1, 2)) ** 2).sum(),
        "batch by one": lambda: ((ops.swapaxes(B, 1, 2) @ B) * A).sum(),
        "outer": lambda: (ops.outer(w, b) * W).sum(),
        "trace": lambda: ops.trace(A @ A.T @ A),
        "solve": lambda: (ops.solve(A, w) * w).sum(),
        "inverse": lambda: ops.inv(A).sum(),
        "log det": lambda: ops.logdet(A @ A.T),
        "slices": lambda: (X[:, 1:3] * X[:, ::-1][:, :2]).sum() + (X[:, 2] * y).sum(),
        "reshape": lambda: (ops.reshape(A, (2, 8)) ** 3).sum(),
        "concatenated": lambda: (ops.concatenate([w, 2.0 * w]) ** 2).sum(),
        "powers": lambda: (ops.exp(W) ** 1.5 / (1.0 + W * W)).sum(),
        "extremes": lambda: (ops.max(X, axis=1) * y).sum() + ops.minimum(W, b).sum(),
        "gelu": lambda: ops.gelu(W).sum() + ops.silu(W).sum() + ops.softplus(b).sum(),
        "means": lambda: ops.mean(X, axis=1, keepdims=True).sum() * ops.mean(w),
        "ones": lambda: (ops.ones((2, 4)) @ W).sum() + (X.T @ ops.ones(("n", 1))).sum(),
    }


@pytest.mark.parametrize("name", scalars())
def test_formulas_evaluate(name: str) -> None:
    loss = scalars()[name]()
    same_value(loss)
    for leaf in LEAVES:
        if leaf in toposort([loss]):
            same_value(sf.grad(loss, leaf))


def test_second_derivatives_evaluate() -> None:
    loss = ops.softmax_cross_entropy(X @ W, labels).mean()
    same_value(sf.hvp(loss, W, np.ones((4, 3))))
    same_value(sf.jvp(ops.tanh(A @ x), x, w))


def test_what_has_no_notation_is_a_call() -> None:
    assert explain(ops.embedding(W, labels)) == "W[labels]"
    table = sf.grad(ops.embedding(W, labels).sum(), W)
    assert explain(table) == "scatter_add(ones((n, 3)), labels, axis=0, size=4)"


def test_every_function_of_a_matrix_has_a_formula() -> None:
    """None fails, whatever it is made of."""
    explained = 0
    for name in ops.__all__:
        try:
            node = getattr(ops, name)(A)
        except (TypeError, AttributeError, sf.GraphError, sf.ShapeError, sf.DTypeError):
            continue  # it takes other operands
        if isinstance(node, Node):
            assert explain(node), name
            explained += 1
    assert explained > 80


def test_a_norm_of_a_matrix() -> None:
    assert explain(ops.norm(W)) == "norm(W)"
    assert explain(sf.grad(ops.norm(W), W)) == "W / norm(W)"
    same_value(sf.grad(ops.norm(X) * ops.max(ops.reshape(A, (16,))), X))
    same_value((ops.reshape(A, (2, 8)) * ops.reshape(ops.tanh(A), (8, 2)).reshape(2, 8)).sum())
    same_value((ops.reshape(A, (8, 2)) + ops.reshape(w, (2, 2))[0]).reshape(4, 4))


def test_jacobians_evaluate() -> None:
    same_value(sf.jacobian(ops.tanh(A @ x) @ A, x))
    same_value(sf.jacobian(A @ x, A))
    same_value(sf.jacobian(ops.exp(y) * a.sum(), y))
    same_value(sf.jacobian(ops.softmax(X @ w), w))
    same_value(sf.jacobian(X.T @ y, y))
    same_value(ops.stack([A[:, 0], A[:, 1], A[:, 2]]))
    same_value(ops.stack([B[:, :, k] for k in range(4)], axis=1))
    same_value(ops.stack([A[k] for k in (0, 1, 2, 2)]))
