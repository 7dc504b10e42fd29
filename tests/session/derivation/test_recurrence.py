"""`derive` through scans: recurrences for each carry, which are run and compared with the graph.

A cell may have several carries and outputs of its own, and a scan may run in reverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.node import Node
from staticflow.runtime.interpreter import interpret
from staticflow.session.derivation.derive import derive
from tests.session.derivation.test_derive import TEXT


def real(name: str, *shape: Any) -> Node:
    return sf.input(name, shape, "float64")


def through_time(f: Node, X: Node, arrays: dict[str, Any], first: str, over: str) -> Any:
    """The derivative, by running the lines of its recurrence as Python."""
    lines = dict(s.text.split(" = ", 1) for s in derive(f, X, check=True).steps)
    T = len(arrays[over])
    columns = {n: a if a.ndim == 2 else a[:, None] for n, a in arrays.items() if n != over}
    scope: dict[str, Any] = {**TEXT, **columns, "tr": np.trace, "sum": sum, "T": T, "n": 4}
    rows = [None, *(x if x.ndim == 2 else x[:, None] for x in arrays[over])]
    h, delta = [columns[first], *[None] * T], [None] * (T + 1)
    scope |= {over: rows, "h": h, "delta": delta}
    for t in range(1, T + 1):
        h[t] = eval(lines["h[t]"], {**scope, "t": t})
    scope["hs"] = np.hstack(h[1:]).T if columns[first].shape[1] == 1 else None
    ends = {}
    if "df/dhs" in lines:
        g = eval(lines["df/dhs"], scope)
        ends = {t: g[t - 1][:, None] if t else 0 for t in range(T + 1)}
    last = eval(lines["df/dh[T]"], scope) if "df/dh[T]" in lines else 0
    delta[T] = last + ends.get(T, 0)
    for t in range(T, 0, -1):
        before = lines["delta[t-1]"].replace("df/dhs[t-1]", "seen")
        delta[t - 1] = eval(before, {**scope, "t": t, "seen": ends.get(t - 1, 0)})
    (result,) = (text for left, text in lines.items() if left == f"df/d{X.name}")
    return eval(result, scope)


def test_a_scan_is_a_recurrence() -> None:
    A, B, b, v = real("A", 4, 4), real("B", 4, 3), real("b", 4), real("v", 4)
    h0, xs = real("h0", 4), real("xs", "T", 3)

    def step(h: Node, x: Node) -> tuple[Node, Node]:
        h = ops.tanh(A @ h + B @ x + b)
        return h, h

    last, rows = sf.scan(step, h0, xs)
    rng = np.random.default_rng(4)
    env = {n: rng.normal(size=(5, 3) if n is xs else n.shape) for n in (A, B, b, v, h0, xs)}
    arrays = {n.name: a for n, a in env.items()}
    for f in (v @ last, (rows**2).sum(), (rows**2).sum() + v @ ops.exp(last)):
        for X in (A, B, b, h0):
            (wanted,) = interpret([sf.grad(f, X)], env)
            found = through_time(f, X, arrays, "h0", "xs")
            np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-8)
    text = str(derive(v @ last, A))
    for line in (
        "h[t] = tanh(A @ h[t-1] + B @ xs[t] + b)",
        "df/dh[T] = v",
        "delta[T] = df/dh[T]",
        "delta[t-1] = A.T @ (delta[t] * (1 - h[t] ** 2))",
        "df/dA = sum((delta[t] * (1 - h[t] ** 2)) @ h[t-1].T for t in range(1, T + 1))",
    ):
        assert line in text
    assert r"\sum_{t=1}^{T}" in derive(v @ last, A).latex()


def test_a_scan_over_batches_is_one_too() -> None:
    W, first, xs = real("W", 4, 4), real("first", "n", 4), real("xs", "T", "n", 4)
    last, _ = sf.scan(lambda h, x: (ops.tanh(h @ W.T + x), None), first, xs)
    f = (last**2).sum()
    rng = np.random.default_rng(5)
    env = {n: rng.normal(size=s) for n, s in ((W, (4, 4)), (first, (4, 4)), (xs, (3, 4, 4)))}
    (wanted,) = interpret([sf.grad(f, W)], env)
    arrays = {n.name: a for n, a in env.items()}
    np.testing.assert_allclose(through_time(f, W, arrays, "first", "xs"), wanted, rtol=1e-8)


T = 5
A, B, C, v = real("A", 4, 4), real("B", 4, 3), real("C", 4, 4), real("v", 4)
Wf, Wi, Wo, Wg = (real(name, 4, 4) for name in ("Wf", "Wi", "Wo", "Wg"))
h0, c0, xs = real("h0", 4), real("c0", 4), real("xs", "T", 3)
ENV = {
    n: np.random.default_rng(k).normal(size=(T, 3) if n is xs else n.shape)
    for k, n in enumerate((A, B, C, v, Wf, Wi, Wo, Wg, h0, c0, xs))
}


def lstm(state: tuple[Node, Node], x: Node) -> tuple[tuple[Node, Node], None]:
    h, c = state
    i, f = ops.sigmoid(Wi @ h + B @ x), ops.sigmoid(Wf @ h + B @ x)
    o, g = ops.sigmoid(Wo @ h + B @ x), ops.tanh(Wg @ h + B @ x)
    c = f * c + i * g
    return (o * ops.tanh(c), c), None


def gru(h: Node, x: Node) -> tuple[Node, None]:
    r, z = ops.sigmoid(Wi @ h + B @ x), ops.sigmoid(Wf @ h + B @ x)
    n = ops.tanh(B @ x + r * (Wg @ h))
    return n + z * (h - n), None


def cell(h: Node, x: Node) -> tuple[Node, None]:
    return ops.tanh(A @ h + B @ x), None


def recurrence(f: Node, X: Node, carries: Mapping[str, Node], reverse: bool = False) -> Any:
    """The derivative of a function of the last carry, by running the lines as Python."""
    lines = [s.text.split(" = ", 1) for s in derive(f, X, check=True).steps]
    scope: dict[str, Any] = {**TEXT, "tr": np.trace, "sum": sum, "T": T}
    scope.update({n.name: a if a.ndim == 2 else a[:, None] for n, a in ENV.items()})
    scope["xs"] = [None, *(x[:, None] for x in ENV[xs])]
    first, last, step = (T + 1, 1, -1) if reverse else (0, T, 1)
    for name, node in carries.items():
        scope[name] = [scope[node.name]] * (T + 2)
    for t in range(first + step, last + step, step):
        for left, text in lines:
            if left.endswith("[t]"):
                scope.setdefault(left[:-3], [None] * (T + 2))[t] = eval(text, {**scope, "t": t})
    end = "1" if reverse else "T"
    seen = next(text for left, text in lines if left == f"df/dh[{end}]")
    for left, text in lines:
        if left.startswith("delta") and left.endswith(f"[{end}]"):
            at_end = eval(text.replace(f"df/dh[{end}]", f"({seen})"), {**scope, "n": 4})
            scope[left.split("[")[0]] = [at_end] * (T + 2)
    for t in range(last, first, -step):
        now = [(left, eval(text, {**scope, "t": t})) for left, text in lines
               if left.startswith("delta") and left.endswith(("[t-1]", "[t+1]"))]  # fmt: skip
        for left, value in now:
            scope[left.split("[")[0]][t - step] = value
    return eval(dict(lines)[f"df/d{X.name}"], scope)


@pytest.mark.parametrize("X", [Wf, Wi, Wo, Wg, B, h0, c0], ids=lambda n: n.name)
def test_an_lstm_has_a_delta_for_each_carry(X: Node) -> None:
    (h, _), _ = sf.scan(lstm, (h0, c0), xs)
    f = v @ h
    (wanted,) = interpret([sf.grad(f, X)], ENV)
    found = recurrence(f, X, {"h": h0, "c": c0})
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-8, atol=1e-12)


def test_an_lstm_reads_as_in_a_textbook() -> None:
    (h, _), _ = sf.scan(lstm, (h0, c0), xs)
    text = str(derive(v @ h, Wf))
    for line in (
        "g2[t] = sigmoid(Wf @ h[t-1] + B @ xs[t])",
        "c[t] = g2[t] * c[t-1] + g3[t] * g4[t]",
        "h[t] = g1[t] * tanh(c[t])",
        "delta_c[t-1] = delta_h[t] * g1[t] * (1 - tanh(c[t]) ** 2) * g2[t] + delta_c[t] * g2[t]",
    ):
        assert line in text


@pytest.mark.parametrize("X", [Wf, Wi, Wg, B], ids=lambda n: n.name)
def test_a_gru(X: Node) -> None:
    f = v @ sf.scan(gru, h0, xs)[0]
    (wanted,) = interpret([sf.grad(f, X)], ENV)
    np.testing.assert_allclose(recurrence(f, X, {"h": h0}), wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("X", [A, B, h0], ids=lambda n: n.name)
def test_in_reverse(X: Node) -> None:
    f = v @ sf.scan(cell, h0, xs, reverse=True)[0]
    (wanted,) = interpret([sf.grad(f, X)], ENV)
    found = recurrence(f, X, {"h": h0}, reverse=True)
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-8, atol=1e-12)


def test_by_what_is_scanned_over_and_through_outputs() -> None:
    last, ys = sf.scan(lambda h, x: (ops.tanh(A @ h + B @ x), C @ h), h0, xs)
    text = str(derive(v @ last, xs, check=True))
    assert "df/dxs[t] = B.T @ (delta[t] * (1 - h[t] ** 2))" in text
    text = str(derive((ys**2).sum(), A, check=True))
    assert "ys[t] = C @ h[t-1]" in text and "delta[T] = zeros((4, 1))" in text
    assert "df/dC = sum(df/dys[t] @ h[t-1].T" in str(derive((ys**2).sum(), C, check=True))


def test_models_as_they_are() -> None:
    x, t, sequence = real("x", "n", 4), real("t", "n", 2), real("x", "n", "time", 3)
    net = models.FNN([4, 3, 2])
    loss = ops.mse(net(x), t)
    lines = [s.text for s in derive(loss, net.parameters["fnn.0.weight"], check=True).steps]
    assert lines[0] == "h1 = relu(x @ fnn_0_weight + ones((n, 1)) @ fnn_0_bias.T)"
    assert lines[-1] == (
        "df/dfnn_0_weight = x.T @ (df/dh1 * (x @ fnn_0_weight + ones((n, 1)) @ fnn_0_bias.T > 0))"
    )
    for kind in ("tanh", "lstm", "gru"):
        net = models.RNN(4, cell=kind)
        f = (net(sequence) ** 2).sum()
        found = derive(f, net.parameters["rnn.0.weight_hh"], check=True)
        assert found.steps[-1].left == "df/drnn_0_weight_hh"
        assert found.result.startswith("sum(h[t-1].T @ ")


def test_what_no_recurrence_says_is_refused() -> None:
    last, _ = sf.scan(cell, h0, xs)
    with pytest.raises(sf.GraphError, match="beside the scan"):
        derive(v @ last + A.sum(), A)
    last, _ = sf.scan(cell, h0, xs * ops.sum(A))
    with pytest.raises(sf.GraphError, match="not through what is scanned over"):
        derive(v @ last, A)
