"""Simplification: every rule fires, no value changes, and a second time changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.passes.simplify import resolve_mode, simplify
from staticflow.graph.leaves import Hyper
from staticflow.graph.node import apply
from staticflow.graph.printer import format_graph
from staticflow.graph.traversal import toposort
from staticflow.graph.types import TensorType
from staticflow.ops.alias import BoundedLabel
from staticflow.ops.assemble import Concat
from staticflow.ops.random import seed_leaf
from staticflow.ops.rewrites import ALGEBRA
from staticflow.ops.slices import Pad
from staticflow.ops.views import Expand, Squeeze, spread
from staticflow.runtime.interpreter import interpret
from tests.ops.cases.chains import compose
from tests.ops.cases.table import CASES, Array, Case, f
from tests.support.finite_differences import leaves_for


def structure(roots: Sequence[Node]) -> str:
    """The graph without the source lines."""
    return "\n".join(line.split("  #")[0] for line in format_graph(roots).splitlines())


def same(before: Node, after: Node) -> None:
    """`before` and `after` simplify to one graph, which is no larger than `after`."""
    (simple,), (expected,) = simplify([before]), simplify([after])
    assert structure([simple]) == structure([expected])
    assert len(toposort([simple])) <= len(toposort([after]))


def names(node: Node) -> list[str]:
    return [n.op.name for n in toposort(simplify([node]))]


X = sf.input("x", (3, 4), "float64")
Y = sf.input("y", (3, 4), "float64")
P = sf.input("p", (3, 4), "bool")

FORMULAS: dict[str, tuple[Callable[[], Node], Callable[[], Node]]] = {
    "x + 0": (lambda: X + 0, lambda: X),
    "x - 0": (lambda: X - 0.0, lambda: X),
    "0 - x": (lambda: 0 - X, lambda: -X),
    "x * 1": (lambda: 1 * X, lambda: X),
    "x * -1": (lambda: X * -1, lambda: -X),
    "x / 1": (lambda: X / 1, lambda: X),
    "x ** 1": (lambda: X**1, lambda: X),
    "-(-x)": (lambda: ops.negative(-X), lambda: X),
    "-(x - y)": (lambda: -(X - Y), lambda: Y - X),
    "x + (-y)": (lambda: X + (-Y), lambda: X - Y),
    "x - (-y)": (lambda: X - (-Y), lambda: X + Y),
    "(-x) * (-y)": (lambda: (-X) * (-Y), lambda: X * Y),
    "(-x) / (-y)": (lambda: (-X) / (-Y), lambda: X / Y),
    "a * (b * x)": (lambda: 2 * (X * 3), lambda: sf.const(6.0) * X),
    "a * (-x)": (lambda: (-X) * 2, lambda: sf.const(-2.0) * X),
    "-(a * x)": (lambda: -(2 * X), lambda: sf.const(-2.0) * X),
    "square(-x)": (lambda: ops.square(-X), lambda: ops.square(X)),
    "square(abs(x))": (lambda: ops.square(abs(X)), lambda: ops.square(X)),
    "abs(-x)": (lambda: abs(-X), lambda: abs(X)),
    "abs(abs(x))": (lambda: abs(abs(X)), lambda: abs(X)),
    "relu(relu(x))": (lambda: ops.relu(ops.relu(X)), lambda: ops.relu(X)),
    "maximum(x, x)": (lambda: ops.maximum(X, X), lambda: X),
    "minimum(x, x)": (lambda: ops.minimum(X, X), lambda: X),
    "logical_not(logical_not(c))": (lambda: ops.logical_not(ops.logical_not(P)), lambda: P),
    "where(True, x, y)": (lambda: ops.where(True, X, Y), lambda: X),
    "where(False, x, y)": (lambda: ops.where(False, X, Y), lambda: Y),
    "where(c, x, x)": (lambda: ops.where(P, X, X), lambda: X),
    "where(logical_not(c), x, y)": (
        lambda: ops.where(ops.logical_not(P), X, Y), lambda: ops.where(P, Y, X),
    ),
}  # fmt: skip


def test_every_formula_is_tested() -> None:
    assert set(FORMULAS) == {rule.reason.split(" = ")[0] for rule in ALGEBRA}


@pytest.mark.parametrize("before", FORMULAS)
def test_a_formula(before: str) -> None:
    given, expected = FORMULAS[before]
    same(given(), expected())


def test_a_repeated_constant_counts_as_a_constant() -> None:
    same(X + ops.zeros((3, 4), "float64"), X)
    same(ops.full((3, 4), 2.0, "float64") * X, sf.const(2.0) * X)


def test_nothing_hides_a_nan() -> None:
    assert names(X * 0.0).count("multiply") == 1
    assert names(X - X).count("subtract") == 1
    assert names(X / X).count("divide") == 1


def test_constants_fold() -> None:
    x, c = sf.input("x", ("n",), "float64"), sf.const(2.0)
    same(x * ops.exp(ops.log(c) + 1.0), x * sf.const(np.exp(np.log(2.0) + 1)))


def test_a_where_by_a_constant_may_become_a_repeated_constant() -> None:
    same(ops.where(True, 0.0, X), ops.zeros((3, 4), "float64"))


def test_equal_nodes_are_shared() -> None:
    a, b = ops.tanh(X) + ops.exp(X), ops.exp(X) + ops.tanh(X)
    assert simplify([ops.tanh(X)])[0] is not ops.tanh(X)
    first, second = simplify([ops.tanh(X) * 2.0, ops.tanh(X) * 2.0])
    assert first is second
    assert names(a * b).count("tanh") == 1


def test_leaves_are_themselves() -> None:
    x, twin = sf.input("x", (2,)), sf.input("x", (2,))
    assert len(toposort(simplify([x + twin]))) == 3
    arrays = [sf.const(np.ones(2)) for _ in range(2)]
    assert len(toposort(simplify([arrays[0] * arrays[1]]))) == 3


def test_values_that_a_session_sets_are_one_by_name() -> None:
    first, second = simplify([seed_leaf() + 1, seed_leaf() + 1])
    assert first is second
    rate = apply(Hyper("rate", TensorType((), "float32")))
    assert simplify([rate])[0] is rate


def test_random_nodes_stay_apart() -> None:
    u, v = ops.random.uniform((3,)), ops.random.uniform((3,))
    first, second, third = simplify([u, v, u])
    assert first is third and first is not second


def test_the_mode_is_chosen() -> None:
    y = ops.dropout(X, 0.5)
    assert resolve_mode([y], training=False) == [X]
    assert "random" in names(resolve_mode([y], training=True)[0])


def test_stop_gradient_and_bounds() -> None:
    same(ops.stop_gradient(X) * 2.0, X * 2.0)
    labels = sf.input("k", (3,), "int64")
    (kept,) = simplify([ops.one_hot(labels, 4), ops.embedding(Y, labels)][1:])
    assert any(isinstance(n.op, BoundedLabel) for n in toposort([kept]))


def test_conversions_there_and_back_vanish() -> None:
    x = sf.input("x", (2,), "float32")
    same(x.astype("float64").astype("float32"), x)
    assert len(toposort(simplify([X.astype("float32").astype("float64")]))) == 3


# Views

Z = sf.input("z", (2, 3, 4), "float64")
V = sf.input("v", (4,), "float64")

VIEWS: tuple[tuple[Callable[[], Node], Callable[[], Node]], ...] = (
    (lambda: Z.T.T, lambda: Z),
    (lambda: Z.transpose(1, 2, 0).transpose(1, 2, 0), lambda: Z.transpose(2, 0, 1)),
    (lambda: (X @ Y.T).T, lambda: Y @ X.T),
    (lambda: ops.broadcast_to(V, (3, 4)).T.T, lambda: ops.broadcast_to(V, (3, 4))),
    (lambda: ops.broadcast_to(V, (3, 4)).T, lambda: spread(V, (4, 3), (0,))),
    (lambda: Z[None][None], lambda: ops.expand_dims(Z, (0, 1))),
    (lambda: Z[None, ..., None][0, ..., 0], lambda: Z),
    (lambda: apply(Squeeze((0,)), apply(Expand((0, 2)), V)), lambda: V[:, None]),
    (lambda: apply(Squeeze((1,)), ops.broadcast_to(V, (2, 1, 4))),
     lambda: ops.broadcast_to(V, (2, 4))),
    (lambda: ops.broadcast_to(ops.broadcast_to(V, (3, 4)), (2, 3, 4)),
     lambda: ops.broadcast_to(V, (2, 3, 4))),
    (lambda: Z.reshape(6, 4).reshape(2, 12), lambda: Z.reshape(2, 12)),
    (lambda: Z.reshape(6, 4).reshape(2, 3, 4), lambda: Z),
    (lambda: Z[1:][:, 1:][..., :-1], lambda: Z[1:, 1:, :-1]),
    (lambda: Z[:, 1:][:, 1:], lambda: Z[:, 2:]),
    (lambda: ops.sum(ops.sum(Z, 1), 0), lambda: ops.sum(Z, (0, 1))),
    (lambda: ops.max(ops.max(Z, 2), 0), lambda: ops.max(Z, (0, 2))),
    (lambda: ops.tanh(ops.broadcast_to(V, (3, 4))), lambda: ops.broadcast_to(ops.tanh(V), (3, 4))),
    (lambda: ops.broadcast_to(V, (3, 4)) * ops.broadcast_to(V + 1.0, (3, 4)),
     lambda: ops.broadcast_to(V * (V + 1.0), (3, 4))),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(VIEWS)))
def test_views_compose(number: int) -> None:
    given, expected = VIEWS[number]
    same(given(), expected())


def test_a_sum_of_different_reductions_stays() -> None:
    assert names(ops.sum(ops.max(Z, 1), 0)).count("max") == 1


# Parts and wholes

PARTS: tuple[tuple[Callable[[], Node], Callable[[], Node]], ...] = (
    (lambda: ops.concatenate([X, Y], 1)[:, 4:], lambda: Y),
    (lambda: ops.concatenate([X, Y])[:3], lambda: X),
    (lambda: ops.pad(X, ((1, 2), (0, 3)))[1:4, :4], lambda: X),
    (lambda: ops.pad(ops.pad(X, 1), 2), lambda: ops.pad(X, 3)),
    (lambda: ops.concatenate([ops.concatenate([X, Y]), X]), lambda: ops.concatenate([X, Y, X])),
    (lambda: ops.pad(X, ((0, 3), (0, 0))) + ops.pad(Y, ((3, 0), (0, 0))),
     lambda: ops.concatenate([X, Y])),
    (lambda: ops.pad(X, ((3, 0), (0, 0))) + ops.pad(Y, ((0, 3), (0, 0))),
     lambda: ops.concatenate([Y, X])),
    (lambda: ops.pad(X, ((0, 9), (0, 0))) + ops.pad(Y, ((3, 6), (0, 0))),
     lambda: ops.pad(ops.concatenate([X, Y]), ((0, 6), (0, 0)))),
    (lambda: ops.pad(X, 1) + ops.pad(Y, 1), lambda: ops.pad(X + Y, 1)),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(PARTS)))
def test_parts_and_wholes(number: int) -> None:
    given, expected = PARTS[number]
    same(given(), expected())


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 0, 3, 1)], ids=str)
def test_the_cotangent_of_a_split_is_one_concatenation(order: tuple[int, ...]) -> None:
    x = sf.input("x", ("batch", 12), "float64")
    gates = ops.split(x, 4, axis=1)
    terms = [ops.sum(ops.tanh(gates[k]) * (k + 1.0)) for k in order]
    g = sf.grad(terms[0] + terms[1] + terms[2] + terms[3], x)
    (simple,) = simplify([g])
    assert isinstance(simple.op, Concat)
    assert not any(isinstance(n.op, Pad) for n in toposort([simple]))
    data = f(2, 12)
    np.testing.assert_allclose(interpret([simple], {x: data}), interpret([g], {x: data}))


def test_the_cotangent_of_unpacked_rows_is_one_concatenation() -> None:
    x = sf.input("x", (40, 3), "float64")
    g = sf.grad(ops.sum(ops.stack([ops.tanh(row) * k for k, row in enumerate(x)])), x)
    (simple,) = simplify([g])
    assert not any(isinstance(n.op, Pad) for n in toposort([simple]))


# No value changes


def check(roots: list[Node], env: dict[Node, Array]) -> None:
    simple = simplify(roots)
    again = simplify(simple)
    assert all(a is b for a, b in zip(simple, again, strict=True))
    assert [a.type for a in roots] == [a.type for a in simple]
    for before, after in zip(interpret(roots, env), interpret(simple, env), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_value_changes(case: Case) -> None:
    xs = leaves_for(case.inputs)
    y = case.call(*xs)
    roots = [y]
    if y.type.is_float:
        floats = [x for x in xs if x.type.is_float]
        roots += sf.grad(ops.sum(y * y), floats)
    check(roots, dict(zip(xs, case.inputs, strict=True)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12))
def test_no_value_of_a_random_composition_changes(choices: list[int]) -> None:
    x, w = sf.input("x", (3, 3), "float64"), sf.input("w", (3, 3), "float64")
    y = compose(choices, x, w)
    gradients: Any = sf.grad(ops.sum(y), [x, w])
    check([y, *gradients], {x: f(3, 3), w: f(3, 3, seed=4)})


def test_a_long_chain_needs_no_recursion() -> None:
    y = X
    for k in range(3000):
        y = ops.sin(y) if k % 2 else -y
    (simple,) = simplify([y])
    assert len(toposort([simple])) == 3001


def test_simplified_nodes_keep_their_lines() -> None:
    y = ops.tanh(X + 0.0)
    (simple,) = simplify([y])
    assert "y = ops.tanh(X + 0.0)" in str(simple.where)
