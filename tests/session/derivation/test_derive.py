"""`derive`: the documents' lines come out, all lines of a derivation have one value, and the last
is the derivative that the graph computes.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.graph.node import Node
from staticflow.graph.traversal import toposort
from staticflow.runtime.interpreter import interpret
from staticflow.session.derivation.derive import derivation, derive
from staticflow.session.derivation.expr import (
    d,
    number,
    scale,
    symbol,
)
from staticflow.session.derivation.slopes import reference
from staticflow.session.derivation.values import FUNCTIONS, Values
from staticflow.session.derivation.verify import computed, points, sizes_of, verify
from tests.session.derivation.cases import CASES, COLUMNS, DECOMPOSED, MATRICES, MORE, STUDENTS

SIZES = {"named": ("n", "m", "k"), "ints": (4, 5, 3), "columns": (4, 5, 3)}


def leaves(how: str) -> dict[str, Any]:
    """The inputs of the cases, declared in one of three ways."""
    n, m, k = SIZES[how]
    shapes: dict[str, tuple[Any, ...]] = {
        **dict.fromkeys("ABCS", (n, n)), **dict.fromkeys("XYD", (m, n)), "W": (n, k),
        **dict.fromkeys("UQKR", (m, k)), **dict.fromkeys(("x", "y", "w", "h", "mu"), (n,)),
        "b": (m,), "u": (m,), "k": (k,), "lam": (),
    }  # fmt: skip
    if how == "columns":
        shapes = {name: (*s, 1) if len(s) == 1 else s for name, s in shapes.items()}
    found: dict[str, Any] = {name: sf.input(name, s, "float64") for name, s in shapes.items()}
    found["labels"] = sf.input("labels", (m,), "int64")
    return {**found, "ops": ops, "tr": ops.trace, "n": n}


def check(f: Node, X: Node, **options: Any) -> None:
    """Lines of one quantity have one value; the last line's is the derivative."""
    found = derive(f, X, check=True, **options)
    steps, reader = derivation(f, X, options.get("layout"))
    assert [s.text for s in steps] == [s.text for s in found.steps]
    sizes = sizes_of(f, X)
    env = points(f, X, np.random.default_rng(7), sizes)
    values = Values(computed(reader, env), sizes)
    for step in steps:
        if not step.expr.moves:
            values.give(symbol(step.left, step.expr.shape), values.of(step.expr))
    scalar = all(n == 1 for n in f.shape)
    wanted = np.asarray(interpret([sf.grad(f.sum(), X) if scalar else sf.jacobian(f, X)], env)[0])
    if not scalar and wanted.ndim == f.ndim + X.ndim > 2:  # by columns
        order = [*range(f.ndim)[::-1], *(f.ndim + k for k in range(X.ndim)[::-1])]
        wanted = wanted.transpose(order)
    wanted = wanted.reshape(values.of(steps[-1].expr).shape)
    np.testing.assert_allclose(values.of(steps[-1].expr), wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("how", ["named", "ints"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_every_line_has_the_value_of_the_line_before(name: str, how: str) -> None:
    text, by = CASES[name]
    names = leaves(how)
    check(eval(text, names), names[by])


@pytest.mark.parametrize("name", sorted({**MORE, **STUDENTS, **DECOMPOSED, **MATRICES}))
def test_functions_of_matrices_and_matrices_by_matrices(name: str) -> None:
    text, by = {**MORE, **STUDENTS, **DECOMPOSED, **MATRICES}[name]
    names = leaves("named")
    check(eval(text, names), names[by])


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_columns_are_vectors(name: str) -> None:
    text, by = COLUMNS[name]
    names = leaves("columns")
    check(eval(text, names), names[by])


def test_the_lines_of_the_documents_example() -> None:
    names = leaves("named")
    found = derive(names["u"] @ ops.exp(names["X"] @ names["w"]), names["X"])
    assert [(s.text, s.rule) for s in found.steps] == [
        ("df = u.T @ (exp(X @ w) * (dX @ w))", "differential of product, elementwise function"),
        ("df = tr(u.T @ (exp(X @ w) * (dX @ w)))", "scalar = trace: a = tr(a)"),
        ("df = tr((u * exp(X @ w)).T @ dX @ w)", "tr(A'(B . C)) = tr((A . B)'C)"),
        ("df = tr(w @ (u * exp(X @ w)).T @ dX)", "tr(AB) = tr(BA)"),
        ("df = tr(((u * exp(X @ w)) @ w.T).T @ dX)", "(A')' = A, (AB)' = B'A'"),
        (
            "df/dX = (u * exp(X @ w)) @ w.T",
            "compare with df = tr(G' dX): the gradient, denominator layout",
        ),
    ]
    assert r"\boldsymbol{u}^{T}" in found.latex() and r"\odot" in found.steps[0].latex
    assert found._repr_latex_().startswith("$") and str(found).count("\n") == 5
    assert "compare with df = tr(G&#x27; dX)" in found._repr_html_()
    assert repr(found) == str(found) and found.result == "(u * exp(X @ w)) @ w.T"
    assert str(found.steps[1]).endswith("[scalar = trace: a = tr(a)]")


def test_every_derivation_is_latex() -> None:
    names = leaves("named")
    for text, by in {**CASES, **MORE, **DECOMPOSED, **MATRICES}.values():
        shown = derive(eval(text, names), names[by]).latex()
        plain = shown.replace(r"\{", "").replace(r"\}", "")
        assert plain.count("{") == plain.count("}"), shown
        assert shown.count(r"\left") == shown.count(r"\right"), shown
        assert "_vectors" not in shown and "norm_" not in shown, shown


RESULTS = {
    "form of exps": "exp(x) * ((A + A.T) @ exp(x))",
    "elu of a layer": "A.T @ ((A @ x > 0) + (1 - (A @ x > 0)) * (expm1(A @ x) + 1))",
    "stop_gradient": "stop_gradient(x ** 2)",
    "norm squared": "2 * norm(A, 2) * svd(A)[0] @ eye(n)[[0]].T @ eye(n)[[0]] @ svd(A)[2]",
    "sum of eigenvalues": "2 * A",
    "diag between": "diagonal(A @ diag(y))",
    "power of a power": "y * x ** (y - 1)",
    "trace of a Hadamard product": "diag(diagonal(exp(A @ B))) @ B.T",
    "trace of a square": "2 * (A @ B + C) @ B.T",
    "ratio of forms": "(A + A.T) @ x / (x.T @ A @ x) - (B + B.T) @ x / (x.T @ B @ x)",
    "projection": "(x.T @ y) * eye(n) + x @ y.T",
    "det of a multiple": "det(lam * A) * n / lam",
    "quadratic": "(A + A.T) @ x",
    "residual": "2 * X.T @ (X @ W - U)",
    "trace of ABA'C": "C.T @ A @ B.T + C @ A @ B",
    "inverse": "-inv(A).T @ y @ x.T @ inv(A).T",
    "logdet": "inv(A).T",
    "det": "det(A) * inv(A).T",
    "ridge": "2 * X.T @ (X @ w - b) + 2 * lam * w",
    "softmax regression": "X.T @ (softmax(X @ W) - one_hot(labels)) / m",
    "vector softmax": "diag(softmax(x)) - softmax(x) @ softmax(x).T",
    "vector A exp(x)": "A @ diag(exp(x))",
}


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_the_result_is_what_a_person_writes(name: str) -> None:
    text, by = {**CASES, **STUDENTS}[name]
    names = leaves("named")
    assert derive(eval(text, names), names[by]).result == RESULTS[name]


def real(name: str, *shape: Any) -> Node:
    return sf.input(name, shape, "float64")


def scalars() -> dict[str, Node]:
    """The documents' graph of a, b, c, d and L."""
    a, w1, w2, w3, w4 = (real(name) for name in ("a", "w1", "w2", "w3", "w4"))
    b, c = (w1 * a).named("b"), (w2 * a).named("c")
    L = (10 - (w3 * b + w4 * c).named("d")).named("L")
    return {"a": a, "w1": w1, "L": L}


def test_named_scalars_make_a_product_of_derivatives() -> None:
    graph = scalars()
    lines = [s.text for s in derive(graph["L"], graph["w1"], check=True).steps]
    for line in ("dL/dd = -1", "dd/db = w3", "db/dw1 = a", "dL/dw1 = (dL/dd)(dd/db)(db/dw1)"):
        assert line in lines
    assert lines[-1] == "dL/dw1 = -w3 * a"
    found = derive(graph["L"], graph["a"], check=True)
    assert "dL/da = (dL/dd)(dd/db)(db/da) + (dL/dd)(dd/dc)(dc/da)" in str(found)
    assert r"\frac{\partial L}{\partial d} \, \frac{\partial d}{\partial b}" in found.latex()
    check(graph["L"], graph["a"])


def test_named_vectors_make_a_product_of_jacobians() -> None:
    A, B, x = real("A", 3, 3), real("B", 3, 3), real("x", 3)
    h = ops.tanh(A @ x).named("h")
    L = ((B @ h) ** 2).sum().named("L")
    check(L, x)
    y = (B @ h).named("y")
    check(y, x)
    assert "dy/dx = (dy/dh)(dh/dx)" in str(derive(y, x))


def test_named_matrices_follow_the_composite_rule() -> None:
    X, W, V, T = real("X", "n", 4), real("W", 4, 3), real("V", 3, 2), real("T", "n", 2)
    H = ops.tanh(X @ W).named("H")
    L = (((H @ V).named("Y") - T) ** 2).sum().named("L")
    lines = [s.text for s in derive(L, W, check=True).steps]
    assert "dL/dY = 2 * (Y - T)" in lines and "dL/dH = dL/dY @ V.T" in lines
    assert lines[-1] == "dL/dW = X.T @ (dL/dH * (1 - H ** 2))"
    assert derive(L, V).result == "H.T @ dL/dY"
    for wrt in (W, V, X):
        check(L, wrt)


def test_layouts() -> None:
    names = leaves("named")
    x, A, y = names["x"], names["A"], names["y"]
    assert derive(A @ x, x).result == "A"
    assert derive(A @ x, x, layout="numerator").result == "A"
    assert derive(A @ x, x, layout="denominator").result == "A.T"
    assert derive(y @ A @ x, x).result == "A.T @ y"
    assert derive(y @ A @ x, x, layout="numerator").result == "y.T @ A"
    assert derive(y @ A @ x, x, layout="denominator").result == "A.T @ y"


def test_layouts_are_named() -> None:
    names = leaves("named")
    x, A, y = names["x"], names["A"], names["y"]
    gradient, numerator = "the gradient, denominator layout", "the Jacobian, numerator layout"
    assert derive(y @ A @ x, x).steps[-1].rule == f"compare with df = g' dx: {gradient}"
    assert derive(y @ A @ x, A).steps[-1].rule == f"compare with df = tr(G' dX): {gradient}"
    assert derive(A @ x, x).steps[-1].rule == f"compare with df = J dx: {numerator}"
    assert derive(A.T, A).steps[-1].rule == f"compare with vec(df) = J vec(dA): {numerator}"
    assert derive(names["lam"] ** 2, names["lam"]).steps[-1].rule == "compare with df = g dx"
    turned = derive(y @ A @ x, x, layout="numerator").steps[-1].rule
    assert turned == "numerator layout: the transpose"
    h = ops.tanh(A @ x).named("h")
    rows = {s.left: s.rule for s in derive((y @ h).named("L"), x).steps}
    assert rows["dL/dh"] == f"compare with df = g' dx: {numerator}"


def test_parts_of_decompositions_get_letters_in_long_lines() -> None:
    names = leaves("named")
    A = names["A"]
    lines = [s.text for s in derive((ops.qr(A)[0] * names["B"]).sum(), A, check=True).steps]
    assert lines[:3] == ["Q = qr(A)[0]", "E = tril(ones((n, n)), -1)", "R = qr(A)[1]"]
    assert lines[-1] == "df/dA = Q @ ((Q.T @ B) * E - (B.T @ Q) * E) @ inv(R).T"
    Q = real("Q", "n", "n")
    assert "Q2 = qr(A)[0]" in str(derive((ops.qr(A)[0] @ Q).sum(), A))


def test_a_wrong_line_is_found() -> None:
    names = leaves("named")
    f, X = names["y"] @ names["A"] @ names["x"], names["A"]
    steps, reader = derivation(f, X)
    wrong = replace(steps[1], expr=steps[0].expr, quantity="df")
    doubled = replace(wrong, expr=scale(number(2), wrong.expr))
    with pytest.raises(sf.GraphError, match="differs from the one before"):
        verify(f, X, [steps[0], doubled, *steps[2:]], reader)
    last = replace(steps[-1], expr=scale(number(2), steps[-1].expr))
    with pytest.raises(sf.GraphError, match="does not make up df"):
        verify(f, X, [*steps[:-1], last], reader)
    other, _ = derivation(2.0 * f, X)
    with pytest.raises(sf.GraphError, match="not that of the graph"):
        verify(f, X, other, reader)


def test_sizes_are_such_that_the_lines_have_values() -> None:
    X = leaves("named")["X"]
    assert derive(ops.det(X.T @ X), X, check=True).result.startswith("2 * det(X.T @ X)")
    x = leaves("named")["x"]
    with pytest.raises(sf.GraphError, match="no values at the points"):
        derive(ops.sqrt(-ops.norm(x)), x, check=True)
    around_0 = ops.norm(ops.relu(real("mu", 4) - real("w", 4).mean()))
    mu = next(n for n in toposort([around_0]) if n.name == "mu")
    assert derive(around_0, mu, check=True).steps


def test_what_has_no_derivation_is_refused() -> None:
    names = leaves("named")
    x, X = names["x"], names["X"]
    with pytest.raises(sf.GraphError, match="takes nodes"):
        derive(3.0, X)
    with pytest.raises(sf.GraphError, match="same node"):
        derive(X, X)
    with pytest.raises(sf.GraphError, match="no such layout"):
        derive(x @ x, x, layout="row")
    A, B = names["A"], names["B"]
    with pytest.raises(sf.GraphError, match=r"has no rule(.|\n)*svd\(A\)\[0\]"):
        derive((ops.svd(A)[0] * B).sum(), A)
    with pytest.raises(sf.GraphError, match="of a Kronecker product"):
        derive(ops.exp(ops.kron(A, B)).sum(), A)
    with pytest.raises(sf.GraphError, match="only floats"):
        derive(x @ x, names["labels"])
    Q, q = real("Q", 2, 3, 4), real("q", 4)
    with pytest.raises(sf.GraphError, match="has no rule"):
        derive((Q * q).sum(), q)
    with pytest.raises(sf.GraphError, match="matrices and vectors"):
        derive((Q**2).sum(), Q)


def test_a_constant_has_the_derivative_zero() -> None:
    names = leaves("named")
    x, y = names["x"], names["y"]
    assert derive(y @ y, x, check=True).result == "zeros((n, 1))"
    assert derive(ops.sign(x).sum(), x, check=True).result == "zeros((n, 1))"


TEXT = {
    **vars(np), **{name: reference(name) for name in ("sigmoid", "softplus")}, **FUNCTIONS,
    "inv": np.linalg.inv,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_lines_are_python(name: str) -> None:
    """Their text computes what they stand for, of columns and matrices."""
    text, by = CASES[name]
    names = leaves("named")
    f, X = eval(text, names), names[by]
    steps, reader = derivation(f, X)
    sizes = sizes_of(f, X)
    env = points(f, X, np.random.default_rng(1), sizes)
    known = computed(reader, env)
    name = reader.names[X]
    x = next(e for e in known if e.head == "symbol" and e.attr == name)
    known[d(x)] = np.random.default_rng(2).normal(size=known[x].shape)
    values = Values(known, sizes, x)
    scope: dict[str, Any] = {**TEXT, **sizes, "tr": np.trace, "sum": np.sum}
    scope["diag"] = lambda x: np.diag(x[:, 0])
    scope["one_hot"] = lambda labels: next(v for e, v in known.items() if e.head == "known")
    scope.update({e.attr: v for e, v in known.items() if e.head == "symbol"})
    scope["labels"] = None
    scope[f"d{name}"] = known[d(x)]
    for step in steps:
        if "d(" not in step.text:
            value = np.asarray(eval(step.text.split(" = ", 1)[1], scope))
            np.testing.assert_allclose(
                np.broadcast_to(value, values.of(step.expr).shape), values.of(step.expr), rtol=1e-8
            )


def test_it_is_fast() -> None:
    """The best of three, in the processor's time: others may be at work on the machine."""
    for text, by in {**CASES, **MORE, **DECOMPOSED, **MATRICES}.values():
        names = leaves("named")
        f = eval(text, names)
        best = min(_seconds(f, names[by]) for _ in range(3))
        assert best < 0.05, text


def _seconds(f: Node, X: Node) -> float:
    start = time.process_time()
    derive(f, X)
    return time.process_time() - start


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_check_allows_for_the_graph_s_own_rounding(dtype: str) -> None:
    """The lines have float64 values, the graph's own derivative those of its dtype."""
    y = sf.input("y", (3,), dtype)
    value = y
    for name in "abc":
        value = (value + ops.tanh(value)).named(name)
    assert derive(value.sum(), y, check=True).steps
    assert derive((value * value).sum(), y, check=True).steps
