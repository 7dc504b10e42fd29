"""Differentiation as graph to graph: structure, modes, orders, and what cannot be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.steps import LoopStep
from staticflow.graph.kinds import MapRow, parts
from staticflow.graph.node import Kind, Op, apply
from staticflow.graph.op_table import table
from staticflow.graph.printer import format_graph
from staticflow.graph.traversal import toposort
from staticflow.graph.types import TensorType
from staticflow.runtime.interpreter import interpret
from tests.ops.cases.chains import compose
from tests.ops.cases.elementwise import MAPS, operands
from tests.ops.cases.table import CASES, Array, Case, f
from tests.support.finite_differences import check_derivatives, leaves_for


@dataclass(frozen=True)
class SumAndProduct(Op):
    """An op with two outputs, x + y and x y."""

    kind = Kind.CALL

    def infer(self, *xs: TensorType) -> tuple[TensorType, ...]:
        return xs[0], xs[0]

    def reference(self, *xs: Array) -> Any:
        return xs[0] + xs[1], xs[0] * xs[1]

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        total, product = g
        return total + product * xs[1], total + product * xs[0]


def sum_and_product(x: Node, y: Node) -> tuple[Node, ...]:
    return parts(apply(SumAndProduct(), x, y))


def test_the_gradient_has_the_structure_of_wrt() -> None:
    x, w = sf.input("x", ("batch", 3)), sf.param("w", (3, 2))
    loss = ops.mean(x @ w)
    single = sf.grad(loss, w)
    assert isinstance(single, Node) and single.type == w.type
    both = sf.grad(loss, [x, w])
    assert [g.type for g in both] == [x.type, w.type]
    assert sf.grad(loss, ()) == [] and sf.grad(loss, {}) == {}


def test_what_is_not_reached_has_zeros() -> None:
    x, w = sf.input("x", ("batch", 3)), sf.param("w", (2,))
    data = np.ones((4, 3))
    zero, tangent = sf.grad(x.sum(), w), sf.jvp(x, w, np.ones(2))
    values = interpret([zero, tangent], {x: data})
    np.testing.assert_array_equal(values[0], np.zeros(2))
    np.testing.assert_array_equal(values[1], np.zeros((4, 3)))


def test_only_the_path_is_differentiated() -> None:
    x, w = sf.input("x", (3,)), sf.param("w", (3,))
    g = sf.grad(ops.sum(ops.tanh(ops.exp(x)) * w), w)
    assert {node.op.name for node in toposort([g])} == {
        "input", "exp", "tanh", "multiply", "broadcast", "const",
    }  # fmt: skip


def test_by_an_intermediate_value() -> None:
    x = sf.input("x", (3,), "float64")
    h = ops.exp(x)
    gx, gh = sf.grad(ops.sum(h * h), [x, h])
    data = np.array([0.0, 1.0, -1.0])
    values = interpret([gx, gh], {x: data})
    np.testing.assert_allclose(values, [2 * np.exp(2 * data), 2 * np.exp(data)])


def test_a_node_used_twice_collects_from_both() -> None:
    x = sf.input("x", (2,), "float64")
    (g,) = interpret([sf.grad(ops.sum(x * x + x), x)], {x: np.array([1.0, 2.0])})
    np.testing.assert_array_equal(g, [3, 5])


def test_by_itself() -> None:
    x = sf.input("x", (), "float64")
    values = interpret([sf.grad(x, x), sf.jvp(x, x, 3.0)], {x: 2.0})
    np.testing.assert_array_equal(values, [1, 3])


def test_by_a_scalar_constant() -> None:
    x, c = sf.input("x", (3,), "float64"), sf.const(2.0)
    y = ops.sum(x * c)
    values = interpret([sf.grad(y, c), sf.jvp(x * c, c, 1.0).sum()], {x: np.arange(3.0)})
    np.testing.assert_array_equal(values, [3, 3])


def test_through_the_parts_of_an_op() -> None:
    check_derivatives(lambda x, y: sum_and_product(x, y)[0] * ops.tanh(sum_and_product(x, y)[1]),
                      [f(3), f(3, seed=1)])  # fmt: skip


def test_parts_that_are_not_used_have_zero_cotangents() -> None:
    def build(x: Node, y: Node) -> Node:
        total, _ = sum_and_product(x, y)
        _, product = sum_and_product(total, y)
        return ops.sin(product)

    check_derivatives(build, [f(3), f(3, seed=1)])


def test_a_long_chain_needs_no_recursion() -> None:
    x = sf.input("x", (2,), "float64")
    y = x
    for _ in range(3000):
        y = y * 1.0001
    (g, t) = interpret([sf.grad(y.sum(), x), sf.jvp(y, x, np.ones(2))], {x: np.ones(2)})
    np.testing.assert_allclose(g, 1.0001**3000)
    np.testing.assert_allclose(t, 1.0001**3000)


def test_third_derivatives() -> None:
    x = sf.input("x", (), "float64")
    y: Any = x**5
    for factor in (5.0, 20.0, 60.0):
        y = sf.grad(y, x)
        power = {5.0: 4, 20.0: 3, 60.0: 2}[factor]
        np.testing.assert_allclose(interpret([y], {x: 1.5})[0], factor * 1.5**power)


def quadratic(n: int) -> tuple[Node, Node, Array]:
    x = sf.input("x", (n,), "float64")
    matrix = np.random.default_rng(0).normal(size=(n, n))
    return x, ops.vdot(x, sf.const(matrix) @ x), matrix


def test_the_hessian_of_a_quadratic_form() -> None:
    x, y, matrix = quadratic(4)
    v = np.arange(4.0)
    both = matrix + matrix.T
    hessian, product = interpret([sf.hessian(y, x), sf.hvp(y, x, v)], {x: np.ones(4)})
    np.testing.assert_allclose(hessian, both)
    np.testing.assert_allclose(product, both @ v)


def test_hessians_of_lists() -> None:
    x, y = sf.input("x", (2,), "float64"), sf.input("y", (), "float64")
    z = ops.sum(x * x) * y * y
    blocks = sf.hessian(z, [x, y])
    env = {x: np.array([1.0, 2.0]), y: np.array(3.0)}
    values = [interpret(row, env) for row in blocks]
    np.testing.assert_allclose(values[0][0], 18 * np.eye(2))
    np.testing.assert_allclose(values[0][1], [12, 24])
    np.testing.assert_allclose(values[1][0], [12, 24])
    np.testing.assert_allclose(values[1][1], 10)
    products = interpret(sf.hvp(z, [x, y], [np.array([1.0, 0.0]), 2.0]), env)
    np.testing.assert_allclose(products[0], [18 + 24, 48])
    np.testing.assert_allclose(products[1], 12 + 20)


@pytest.mark.parametrize("shapes", [((2, 3), (4,)), ((5,), (2, 2)), ((), (3,)), ((3,), ()),
                                    ((0,), (2,)), ((2,), (0,))], ids=str)  # fmt: skip
def test_jacobians_have_both_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    out, into = shapes
    x = sf.input("x", into, "float64")
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(int(np.prod(out)), int(np.prod(into))))
    y = ops.reshape(sf.const(matrix) @ ops.ravel(x), out)
    (value,) = interpret([sf.jacobian(ops.sin(y), x)], {x: np.zeros(into)})
    np.testing.assert_allclose(value, matrix.reshape((*out, *into)))


def test_a_jacobian_by_run_time_sizes_uses_the_static_side() -> None:
    x, w = sf.input("x", ("batch", 3), "float64"), sf.input("w", (3,), "float64")
    jacobian = sf.jacobian(ops.tanh(x @ w), w)
    assert str(jacobian.type) == "float64[batch, 3]"
    data = f(5, 3)
    (value,) = interpret([jacobian], {x: data, w: np.zeros(3)})
    np.testing.assert_allclose(value, data)


def test_derivative_nodes_belong_to_the_lines_that_they_come_from() -> None:
    x = sf.input("x", (3,))
    y = ops.tanh(x)
    g = sf.grad(y.sum(), x)
    lines = format_graph([g]).splitlines()
    (product,) = [line for line in lines if line.endswith("<- output")]
    assert "y = ops.tanh(x)" in product


def test_a_vjp_is_linear_in_its_cotangent() -> None:
    x, g = sf.input("x", ("n",), "float64"), sf.input("g", ("n",), "float64")
    pulled = sf.vjp(ops.sin(x), x, g)
    again = sf.vjp(pulled, g, x)
    data, cotangent = np.array([0.1, 0.2]), np.array([3.0, 4.0])
    values = interpret([pulled, again], {x: data, g: cotangent})
    np.testing.assert_allclose(values[0], cotangent * np.cos(data))
    np.testing.assert_allclose(values[1], data * np.cos(data))


# Against JAX, where it has the function


def jax_function(name: str) -> Any:
    """JAX's function of a name, or a reason to skip."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    for module in (jax.nn, jnp, jax.scipy.special):
        if hasattr(module, name):
            return getattr(module, name)
    pytest.skip(f"JAX has no {name}")


def jax_gradients(function: Any, arrays: Sequence[Array]) -> list[Array]:
    jax = pytest.importorskip("jax")
    floats = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]

    def total(*xs: Any) -> Any:
        return function(*xs).sum()

    return [np.asarray(g) for g in jax.grad(total, argnums=floats)(*arrays)]


def our_gradients(function: Any, arrays: Sequence[Array]) -> list[Array]:
    xs = leaves_for(arrays)
    floats = [x for x in xs if x.type.is_float]
    gradients = sf.grad(ops.sum(function(*xs)), floats)
    return interpret(gradients, dict(zip(xs, arrays, strict=True)))


@pytest.mark.peers
@pytest.mark.parametrize("row", [r for r in MAPS if r.vjp is not None], ids=lambda row: row.name)
def test_a_row_has_jaxs_derivatives(row: MapRow) -> None:
    function = jax_function(row.name)
    arrays = operands(row, "float64", special=True)
    ours = our_gradients(table()[row.name].function, arrays)
    for g, expected in zip(ours, jax_gradients(function, arrays), strict=True):
        keep = np.isfinite(expected)
        np.testing.assert_allclose(g[keep], expected[keep], rtol=1e-9, atol=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "gelu", "silu", "elu",
                                  "selu", "leaky_relu", "hard_sigmoid", "softplus", "var", "std",
                                  "prod", "max", "min", "mean"])  # fmt: skip
def test_a_composition_has_jaxs_derivatives(name: str) -> None:
    function = jax_function(name)
    arrays = [f(3, 4)]
    if name == "gelu":
        ours = our_gradients(lambda x: ops.gelu(x, approximate=True), arrays)
    else:
        ours = our_gradients(getattr(ops, name), arrays)
    np.testing.assert_allclose(ours[0], jax_gradients(function, arrays)[0], rtol=1e-7, atol=1e-9)


@pytest.mark.peers
def test_hessians_agree_with_jax() -> None:
    jax = pytest.importorskip("jax")
    jnp = pytest.importorskip("jax.numpy")
    jax.config.update("jax_enable_x64", True)
    data, w = f(5, 3), f(3, 2, seed=2)

    def theirs(v: Any) -> Any:
        return jnp.mean(jax.nn.logsumexp(jnp.tanh(data @ v), axis=1))

    v = sf.input("v", (3, 2), "float64")
    ours = ops.mean(ops.logsumexp(ops.tanh(sf.const(data) @ v), axis=1))
    (value,) = interpret([sf.hessian(ours, v)], {v: w})
    np.testing.assert_allclose(value, jax.hessian(theirs)(w), rtol=1e-9, atol=1e-12)


# Random compositions


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_random_compositions(choices: list[int]) -> None:
    check_derivatives(lambda x, w: compose(choices, x, w), [f(3, 3) * 0.7, f(3, 3, seed=4) * 0.7])


# Errors


def test_the_gradient_of_an_array_is_refused() -> None:
    with pytest.raises(sf.ShapeError, match=r"grad: differentiates a scalar only\n.*\n.*\n  do: "):
        sf.grad(sf.input("x", (3,)), sf.input("y", (3,)))


@pytest.mark.parametrize("derivative", [sf.grad, sf.hessian, sf.jacobian])
def test_the_derivative_by_an_integer_is_refused(derivative: Any) -> None:
    k = sf.input("k", (3,), "int64")
    with pytest.raises(sf.DTypeError, match="only floats have derivatives"):
        derivative(ops.sum(k * 1.5), k)


def test_the_derivative_of_an_integer_is_refused() -> None:
    k = sf.input("k", (), "int64")
    with pytest.raises(sf.DTypeError, match="only floats have derivatives"):
        sf.grad(k, sf.input("x", ()))


def test_the_derivative_of_no_node_is_refused() -> None:
    with pytest.raises(sf.GraphError, match="differentiates nodes"):
        sf.grad(sf.input("x", ()), "x")


def test_a_cotangent_must_fit() -> None:
    x = sf.input("x", (3,))
    with pytest.raises(sf.ShapeError, match=r"the cotangent's type differs from that of sin"):
        sf.vjp(ops.sin(x), x, np.ones(4))
    with pytest.raises(sf.DTypeError, match="dtype"):
        sf.vjp(ops.sin(x), x, sf.input("g", (3,), "float64"))
    with pytest.raises(sf.ShapeError, match=r"the tangent's type differs from that of x"):
        sf.jvp(ops.sin(x), x, np.ones((1, 3)))
    with pytest.raises(sf.GraphError, match="one tangent for each"):
        sf.jvp(ops.sin(x), [x], [])


def test_a_jacobian_of_run_time_sizes() -> None:
    x = sf.input("x", ("n",), "float64")
    y = ops.sin(x) * x[:1]
    f = sf.function([x], [sf.jacobian(y, x), sf.hessian((y * x).sum(), x)])
    for n in (1, 3, 12):
        v = np.linspace(-1, 1, n)
        first = np.diag(np.cos(v) * v[0])
        first[:, 0] += np.sin(v)
        np.testing.assert_allclose(f(v)[0], first, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(f(v)[1], f(v)[1].T, rtol=1e-12, atol=1e-12)


def test_a_jacobian_is_one_pass() -> None:
    """Passes over a basis are products and kernels over all directions at once, and no loop."""
    x, w = sf.input("x", (20,), "float64"), sf.input("w", (30, 20), "float64")
    for output in (sf.jacobian(ops.tanh(w @ x), x), sf.hessian(ops.tanh(w @ x).sum(), x)):
        steps = compile_graph([output]).steps
        assert not any(isinstance(step, LoopStep) for step in steps)
        assert len(steps) < 10


def test_cases_can_be_differentiated_in_float32() -> None:
    """Constants in derivative rules must not promote."""
    for case in CASES:
        if any(a.dtype.kind == "f" for a in case.inputs):
            _check_dtypes(case)


def _check_dtypes(case: Case) -> None:
    arrays = [a.astype("f4") if a.dtype.kind == "f" else a for a in case.inputs]
    xs = leaves_for(arrays)
    y = case.call(*xs)
    floats = [x for x in xs if x.type.is_float]
    if y.type.is_float:
        for x, g in zip(floats, sf.grad(ops.sum(y), floats), strict=True):
            assert g.type == x.type, case
            asked = y.dtype == "float64"  # by a dtype=, or as of float_power
            assert asked or all(n.dtype != "float64" for n in toposort([g])), case
