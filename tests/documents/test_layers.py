"""The documents' layers and losses: scores, regression, cross entropy, back propagation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from tests.documents.support import close, compiled, normal


def test_chain_rule_of_matrices() -> None:
    """Y = X W, L = sum f(y_ij): dL/dX = dL/dY W', dL/dW = X' dL/dY, and dL/dY = f'(Y)"""
    x, w = normal(2, 4), normal(4, 3)
    g = np.cos(x @ w)
    by_x, by_w = compiled(lambda x, w: sf.grad(ops.sin(x @ w).sum(), [x, w]), x, w)
    close(by_x, g @ w.T)
    close(by_w, x.T @ g)


def test_chain_rule_of_matrices_turned() -> None:
    """Y = W X: dL/dW = dL/dY X', dL/dX = W' dL/dY"""
    w, x = normal(2, 4), normal(4, 3)
    g = np.cos(w @ x)
    by_w, by_x = compiled(lambda w, x: sf.grad(ops.sin(w @ x).sum(), [w, x]), w, x)
    close(by_w, g @ x.T)
    close(by_x, w.T @ g)


def test_jacobian_product_needs_no_jacobian() -> None:
    """Y = X W at N = 64, D = M = 4096: the Jacobian would take 256 GB, the product the operands'"""
    x, w, g = sf.input("x", (64, 4096)), sf.input("w", (4096, 4096)), sf.input("g", (64, 4096))
    function = sf.function([x, w, g], sf.vjp(x @ w, [x, w], g))
    compiled_ = function.runner.program.compiled
    sizes = compiled_.sized.sizes_by_name({})
    _, temporary = compiled_.memory.offsets(sizes)
    assert temporary <= 4 * (2 * 64 * 4096 + 4096 * 4096)


def test_scores() -> None:
    """score = X W + b: dL/dW = X' G, dL/db = 1' G, dL/dX = G W'"""
    x, w, b, g = normal(5, 3), normal(3, 4), normal(1, 4), normal(5, 4)
    by_w, by_b, by_x = compiled(lambda x, w, b: sf.vjp(x @ w + b, [w, b, x], g), x, w, b)
    close(by_w, x.T @ g)
    close(by_b, np.ones((1, 5)) @ g)
    close(by_x, g @ w.T)


def test_linear_regression() -> None:
    """J = sum (w'x_i - y_i)^2 = (Xw - y)'(Xw - y): 2 (w'x_i - y_i) x_i, and 2 X'(Xw - y)"""
    x, w, y = normal(6, 3), normal(3), normal(6)

    def gradients(x: sf.Node, w: sf.Node, y: sf.Node) -> Any:
        r = x @ w - y
        one = (w @ x[2] - y[2]) ** 2
        return [sf.grad((r * r).sum(), w), sf.grad(r @ r, w), sf.grad(one, w)]

    summed, product, single = compiled(gradients, x, w, y)
    close(summed, 2 * x.T @ (x @ w - y))
    close(product, 2 * x.T @ (x @ w - y))
    close(single, 2 * (w @ x[2] - y[2]) * x[2])


@pytest.mark.parametrize("batch_size", [1, 8, 40])
def test_linear_regression_reaches_its_optimum(batch_size: int) -> None:
    """Stochastic, minibatch and full-batch descent reach w = (X'X)^-1 X'y"""
    data = normal(40, 3)
    target = data @ np.array([1.0, -2.0, 0.5])  # so that every batch has the same optimum
    best = np.linalg.solve(data.T @ data, data.T @ target)
    x, y = sf.input("x", ("batch", 3), "float64"), sf.input("y", "batch", "float64")
    w = sf.param("w", (3,), "zeros", "float64")
    residual = x @ w - y
    loss = (residual * residual).mean()
    rate = 0.02 if batch_size == 1 else 0.2
    session = sf.Session(loss, optimizer=sf.optim.SGD(rate), seed=0)
    session.fit({"x": data, "y": target}, epochs=400, batch_size=batch_size, progress=False)
    np.testing.assert_allclose(session.params["w"], best, atol=1e-8)
    close(compiled(lambda a, b: ops.solve(a.T @ a, a.T @ b), data, target), best)


def test_extraction_and_row_sums() -> None:
    """l = sum_i A[i, y_i]: 1 at the chosen places;  l_i = sum_j A[i, j]: ones"""
    a, labels = normal(4, 3), np.array([2, 0, 1, 2])
    rows = np.arange(4)
    chosen = np.zeros((4, 3))
    chosen[rows, labels] = 1
    close(compiled(lambda a: sf.grad(a[rows, labels].sum(), a), a), chosen)
    close(compiled(lambda a: sf.vjp(a.sum(axis=1), a, np.ones(4)), a), np.ones((4, 3)))


def test_softmax_cross_entropy() -> None:
    """dL/dscore = softmax - one-hot, dL/dW = X' of it, dL/db its sum; and log-sum-exp: softmax"""
    x, w, b = normal(4, 3), normal(3, 5), normal(5)
    labels = np.array([2, 0, 4, 2])
    score = x @ w + b
    e = np.exp(score)
    softmax = e / e.sum(axis=1, keepdims=True)
    g = softmax - np.eye(5)[labels]

    def gradients(x: sf.Node, w: sf.Node, b: sf.Node) -> Any:
        s = x @ w + b
        loss = ops.softmax_cross_entropy(s, labels).sum()
        own = (ops.log(ops.exp(s).sum(axis=1)) - s[np.arange(4), labels]).sum()
        return [*sf.grad(loss, [s, w, b]), sf.grad(own, s), sf.grad(ops.logsumexp(s, 1).sum(), s)]

    by_score, by_w, by_b, written_out, smooth = compiled(gradients, x, w, b)
    close(by_score, g)
    close(written_out, g)
    close(by_w, x.T @ g)
    close(by_b, g.sum(axis=0))
    close(smooth, softmax)


def test_cross_entropy_of_probabilities() -> None:
    """L = -log a_y for a = softmax(s): dL/da = -1/a_y at y, else 0"""
    score = normal(5)
    a = np.exp(score) / np.exp(score).sum()
    expected = np.zeros(5)
    expected[3] = -1 / a[3]

    def gradient(s: sf.Node) -> Any:
        p = ops.softmax(s)
        return sf.grad(-ops.log(p[3]), p)

    close(compiled(gradient, score), expected)


def test_back_propagation() -> None:
    """a = f(W a_before + b): by the layer before W'(f' * g), by W (f' * g) a', layer after layer"""
    w1, w2, b1, b2, a0 = normal(4, 3), normal(2, 4), normal(4), normal(2), normal(3)
    a1 = np.tanh(w1 @ a0 + b1)
    a2 = np.tanh(w2 @ a1 + b2)
    d2 = (1 - a2**2) * 2 * a2
    d1 = (1 - a1**2) * (w2.T @ d2)

    def gradients(*leaves: sf.Node) -> Any:
        v1, v2, c1, c2, x = leaves
        hidden = ops.tanh(v1 @ x + c1)
        out = ops.tanh(v2 @ hidden + c2)
        return sf.grad((out * out).sum(), [v1, v2, c1, c2, x, hidden])

    results = compiled(gradients, w1, w2, b1, b2, a0)
    expected = (np.outer(d1, a0), np.outer(d2, a1), d1, d2, w1.T @ d1, w2.T @ d2)
    for actual, wanted in zip(results, expected, strict=True):
        close(actual, wanted)
