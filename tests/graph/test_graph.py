"""Nodes, leaves, sizes, and the order of a graph."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import staticflow as sf
from staticflow import Node, ops
from staticflow.graph.dims import AnyDim, Dim, divide, evaluate
from staticflow.graph.kinds import View
from staticflow.graph.leaves import Const, Input
from staticflow.graph.node import Classes, Kind
from staticflow.graph.op_table import declare, table
from staticflow.graph.printer import format_graph
from staticflow.graph.strides import StridedView, merge_strides
from staticflow.graph.traversal import leaves, rebuild, toposort, with_inputs
from staticflow.runtime.interpreter import at_sizes, interpret
from tests.ops.cases.table import CASES, Case
from tests.support.finite_differences import leaves_for
from tests.support.places import ROOT

# Sizes

NAMES = ("a", "b", "c")


@st.composite
def dims(draw: Any) -> AnyDim:
    total: AnyDim = draw(st.integers(-3, 3))
    for _ in range(draw(st.integers(0, 3))):
        term: AnyDim = draw(st.integers(-3, 3))
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=2)):
            term = term * Dim.named(name)
        total = total + term
    return total


SIZES = {"a": 2, "b": 3, "c": 7}


@given(dims(), dims())
def test_the_algebra_of_sizes(p: AnyDim, q: AnyDim) -> None:
    x, y = evaluate(p, SIZES), evaluate(q, SIZES)
    assert evaluate(p + q, SIZES) == x + y
    assert evaluate(p - q, SIZES) == x - y
    assert evaluate(p * q, SIZES) == x * y
    assert p + q == q + p and hash(p + q) == hash(q + p)
    assert (p - q) + q == p
    assert p - p == 0
    if isinstance(p, Dim):
        assert p.substitute({"a": 2, "b": 3, "c": 7}) == x


@given(dims(), dims())
def test_division_of_sizes_is_exact(p: AnyDim, q: AnyDim) -> None:
    quotient = divide(p, q)
    if quotient is not None:
        assert quotient * q == p


def test_sizes_print_as_people_write_them() -> None:
    batch, time = Dim.named("batch"), Dim.named("time")
    assert str(time - 1) == "time - 1"
    assert str(batch * time) == "batch*time"
    assert str(2 * time + 3) == "2*time + 3"
    assert batch == "batch" and batch * 1 == batch


# Nodes


def test_a_node_tells_its_type() -> None:
    x = sf.input("x", ("batch", 3), "float64")
    assert list(x.shape) == ["batch", 3]
    assert (x.dtype, x.ndim, x.name) == ("float64", 2, "x")
    assert repr(x) == "<x: float64[batch, 3]>"
    assert ops.tanh(x).name == "tanh"
    assert ops.tanh(x).named("h").name == "h"
    assert str(x.T.type) == "float64[3, batch]"


def test_nodes_cannot_be_changed_and_compare_by_identity() -> None:
    x = sf.input("x", (3,))
    with pytest.raises(AttributeError, match="cannot be changed"):
        x.label = "y"
    twin = sf.input("x", (3,))
    assert x != twin and len({x, twin, x}) == 2


def test_unpacking_and_length() -> None:
    x = sf.input("x", (3, 2))
    assert len(x) == 3
    a, b, c = x
    (value,) = interpret([a + b + c], {x: np.arange(6.0).reshape(3, 2)})
    np.testing.assert_array_equal(value, [6, 9])


METHODS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: x.sum(axis=1, keepdims=True), "mean": lambda x: x.mean(0),
    "max": lambda x: x.max(axis=(0, 1)), "min": lambda x: x.min(1),
    "reshape": lambda x: x.reshape(2, -1), "reshape tuple": lambda x: x.reshape((6,)),
    "reshape flat": lambda x: x.reshape(-1), "transpose": lambda x: x.transpose(),
    "transpose axes": lambda x: x.transpose(1, 0), "transpose tuple": lambda x: x.transpose((1, 0)),
    "T": lambda x: x.T, "astype": lambda x: x.astype("int64"), "pos": lambda x: +x,
    "abs": lambda x: abs(x), "neg": lambda x: -x,
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_numpys(name: str) -> None:
    data = np.array([[1.0, -2.0, 3.0], [-4.0, 5.5, 6.0]])
    x = sf.input("x", (2, 3), "float64")
    expected = METHODS[name](data)
    (value,) = interpret([METHODS[name](x)], {x: data})
    np.testing.assert_array_equal(value, expected)
    assert value.dtype == expected.dtype


def test_constants_are_copies() -> None:
    array = np.ones(2)
    c = sf.const(array)
    array[:] = 5
    assert isinstance(c.op, Const)
    np.testing.assert_array_equal(c.op.value, [1, 1])
    assert sf.const(3, "int32").dtype == "int32"


def test_a_state_collects_its_updates() -> None:
    state = sf.state("mean", (3,))
    new = sf.update(state, state * 0.9 + 0.1)
    assert state.op.updates == [new]  # type: ignore[attr-defined]


# Order


def test_a_topological_order() -> None:
    x = sf.input("x", (3,))
    h = ops.tanh(x)
    order = toposort([h * h + x])
    position = {node: k for k, node in enumerate(order)}
    assert all(position[i] < position[node] for node in order for i in node.inputs)
    assert len(order) == len(set(order)) == 4


def test_leaves_come_in_order_of_use() -> None:
    x, w, y = sf.input("x", (3,)), sf.param("w", (3,)), sf.input("y", (3,))
    assert leaves([w * x + y], Input) == [x, y]


def test_rebuilding_keeps_what_does_not_change() -> None:
    x, z = sf.input("x", (3,)), sf.input("z", (3,))
    root = ops.tanh(x) + ops.exp(z)
    assert rebuild([root], with_inputs) == [root]
    (new,) = rebuild([root], lambda node, inputs: x if node is z else with_inputs(node, inputs))
    assert new.inputs[0] is root.inputs[0] and new.inputs[1] is not root.inputs[1]


def test_a_graph_prints_with_lines_and_shapes() -> None:
    x = sf.input("x", ("batch", 4))
    y = ops.tanh(x[:, 1:])
    lines = format_graph([y]).splitlines()
    assert lines[0].startswith("%0:float32[batch, 4] = input('x')  # test_graph.py:")
    assert lines[1].split("  #")[0] == "%1:float32[batch, 3] = slice(%0, [:, 1:4])"
    assert lines[2].endswith("y = ops.tanh(x[:, 1:])  <- output")


def test_a_deep_graph_is_ordered_without_recursion() -> None:
    x = sf.input("x", ())
    y = x
    for _ in range(20_000):
        y = -y
    assert len(toposort([y])) == 20_001


# What ops promise to the compiler


class SameSizes(Classes):
    """Classes by the sizes themselves, to check that `relate` gives the type's shape."""

    def same(self, a: AnyDim, b: AnyDim) -> AnyDim:
        assert a == b
        return a

    def fresh(self, value: AnyDim) -> AnyDim:
        return value


@pytest.mark.parametrize("case", CASES, ids=str)
def test_axes_relate_as_the_types_say(case: Case) -> None:
    axes: dict[Node, Any] = {}
    for node in toposort([case.call(*leaves_for(case.inputs))]):
        axes[node] = node.op.relate(SameSizes(), node.type, *(axes[x] for x in node.inputs))
        assert axes[node] == node.shape, node


@pytest.mark.parametrize("case", CASES, ids=str)
def test_views_are_strides(case: Case) -> None:
    """Each view's access, on a contiguous input, shows the elements that the reference gives."""
    for node in toposort([case.call(*leaves_for(case.inputs))]):
        if not isinstance(node.op, View) or not all(isinstance(n, int) for n in node.shape):
            continue
        source: Any = node.inputs[0].shape
        data = np.arange(int(np.prod(source)))
        base = StridedView.contiguous(0, source)
        shown = node.op.view(base, node.shape, node.op.sizes())
        assert shown is not None
        expected = node.op.reference(data.reshape(source))
        offset: Any = shown.offset
        for index in np.ndindex(*expected.shape):
            at = offset + sum(k * s for k, s in zip(index, shown.strides, strict=True))
            assert data[at] == expected[index], node


def test_a_reshape_of_uneven_strides_asks_for_a_copy() -> None:
    x = sf.input("x", (4, 6))
    node = ops.reshape(x.T, (24,))
    access = StridedView(0, 0, (6, 4), (1, 6))
    assert isinstance(node.op, View)
    assert node.op.view(access, (24,), node.op.sizes()) is None
    assert merge_strides((6, 4), (4, 1)) == 1
    assert merge_strides((6, 4), (1, 6)) is None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_regions_of_an_assembly_tile_it(case: Case) -> None:
    for node in toposort([case.call(*leaves_for(case.inputs))]):
        if node.op.kind is not Kind.ASSEMBLE:
            continue
        op: Any = node.op
        shapes: Any = tuple(x.shape for x in node.inputs)
        size: Any = node.shape
        whole = np.full(size, np.nan if op.fill is None else op.fill)
        regions = op.regions(shapes, op.sizes())
        for k, (shape, starts) in enumerate(zip(shapes, regions, strict=True)):
            whole[tuple(slice(a, a + n) for a, n in zip(starts, shape, strict=True))] = k + 2
        parts = [np.full(shape, k + 2.0) for k, shape in enumerate(shapes)]
        np.testing.assert_array_equal(whole, op.reference(*parts))


def test_ops_are_values() -> None:
    """Equal ops on equal inputs are one; sizes are no part of the key of the code."""
    x, y = sf.input("x", (3, 4)), sf.input("y", (5, 9))
    for build in (lambda z: z[1:], lambda z: z.T, lambda z: ops.pad(z, 2), lambda z: z.sum(1)):
        first, again, other = build(x), build(x), build(y)
        assert first.op == again.op and hash(first.op) == hash(again.op)
        assert first.op.key() == other.op.key()


def test_sizes_are_substituted_everywhere() -> None:
    x = sf.input("x", ("n", 4))
    op = at_sizes(x[1:].op, {"n": 5})
    assert op == sf.input("y", (5, 4))[1:].op


def test_nodes_compare_by_identity() -> None:
    """With each other and with what is no value; equal texts and types make no equal nodes."""
    x, y = sf.input("x", (3,)), sf.input("x", (3,))
    assert x == x and x != y and x != "x" and x != (3,)
    assert x in [y, x] and y not in {x: 1} and hash(x) != hash(y)
    assert x == AlwaysEqual()


class AlwaysEqual:
    """Says of itself that it equals anything, as some matchers of tests do."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return True


# The op table


def test_the_table_is_closed() -> None:
    with pytest.raises(TypeError):
        table()["tanh"] = table()["exp"]  # type: ignore[index]
    with pytest.raises(ImportError, match="declared twice"):
        declare(table()["tanh"])


@pytest.mark.parametrize("first", ["ops", "staticflow.ops", "ops.views"])
def test_ops_is_one_package_under_both_names(first: str) -> None:
    code = (
        f"import {first}; import ops, staticflow.ops, ops.views, staticflow.ops.views as v;"
        "assert ops is staticflow.ops and ops.views is v"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
