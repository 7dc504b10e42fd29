"""The examples of the documents on matrix derivatives, with the results that they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from tests.documents.support import close, compiled, leaf, normal

# Scalars of matrices and vectors


def test_exponential_example() -> None:
    """f = a' exp(X b): df/dX = (a * exp(X b)) b'"""
    a, x, b = normal(5), normal(5, 3), normal(3)
    gradient = compiled(lambda a, x, b: sf.grad(a @ ops.exp(x @ b), x), a, x, b)
    close(gradient, np.outer(a * np.exp(x @ b), b))


def test_first_graph() -> None:
    """z = (y + x) x at x = 1, y = 2: dz/dx = y + 2x = 4, dz/dy = x = 1"""
    dx, dy = compiled(lambda x, y: sf.grad((y + x) * x, [x, y]), 1.0, 2.0)
    close(dx, 4.0)
    close(dy, 1.0)


def test_network_of_five_neurons() -> None:
    """b = w1 a, c = w2 a, d = w3 b + w4 c, L = 10 - d: by w1, and by a along both paths"""
    w1, w2, w3, w4, a = (normal() for _ in range(5))

    def gradients(w1: sf.Node, w2: sf.Node, w3: sf.Node, w4: sf.Node, a: sf.Node) -> Any:
        b, c = w1 * a, w2 * a
        loss = 10 - (w3 * b + w4 * c)
        return sf.grad(loss, [w1, a])

    by_w1, by_a = compiled(gradients, w1, w2, w3, w4, a)
    close(by_w1, -w3 * a)
    close(by_a, -w3 * w1 - w4 * w2)


def test_network_of_five_matrices() -> None:
    """The same with weight matrices: dL/dW1 = -(W3' G) a', dL/da = -(W1' W3' + W2' W4') G"""
    shapes = ((4, 3), (5, 3), (2, 4), (2, 5), (3,))
    w1, w2, w3, w4, a = (normal(*shape) for shape in shapes)
    g = normal(2)

    def gradients(w1: sf.Node, w2: sf.Node, w3: sf.Node, w4: sf.Node, a: sf.Node) -> Any:
        loss = 10 - (w3 @ (w1 @ a) + w4 @ (w2 @ a))
        return sf.vjp(loss, [w1, a], g)

    by_w1, by_a = compiled(gradients, w1, w2, w3, w4, a)
    close(by_w1, -np.outer(w3.T @ g, a))
    close(by_a, -(w1.T @ w3.T + w2.T @ w4.T) @ g)


def test_squared_norm_and_inner_product() -> None:
    """y = |x|^2: 2 x;  y = <u, v>: u' dv/dx + v' du/dx"""
    x, a, b = normal(4), normal(3, 4), normal(3, 4)
    close(compiled(lambda x: sf.grad(ops.norm(x) ** 2, x), x), 2 * x)
    close(compiled(lambda x: sf.grad((x * x).sum(), x), x), 2 * x)
    u, v, du = a @ x, np.sin(b @ x), a
    dv = np.cos(b @ x)[:, None] * b
    gradient = compiled(lambda x, a, b: sf.grad((a @ x) @ ops.sin(b @ x), x), x, a, b)
    close(gradient, u @ dv + v @ du)


def test_product_rule_of_scalars() -> None:
    """y = u v: dy/dx = du/dx v + dv/dx u"""
    x = normal(5)
    gradient = compiled(lambda x: sf.grad((ops.sin(x) * ops.exp(x)).sum(), x), x)
    close(gradient, np.cos(x) * np.exp(x) + np.sin(x) * np.exp(x))


def test_subgradient() -> None:
    """|x| has the derivative 1 above 0, -1 below, and one of [-1, 1] at 0: here 1, as in JAX"""
    x = np.array([2.0, -3.0, 0.0])
    close(compiled(lambda x: sf.grad(ops.abs(x).sum(), x), x), [1.0, -1.0, 1.0])


def test_table_of_vector_derivatives() -> None:
    """y = a: 0;  y = x: I;  y = A x: A;  y = x' A: A'"""
    x, a, m = normal(3), normal(4), normal(3, 3)

    def jacobians(x: sf.Node, a: sf.Node, m: sf.Node) -> Any:
        return [sf.jacobian(y, x) for y in (a, x, m @ x, x @ m)]

    constant, itself, left, right = compiled(jacobians, x, a, m)
    close(constant, np.zeros((4, 3)))
    close(itself, np.eye(3))
    close(left, m)
    close(right, m.T)


def test_rules_of_vector_derivatives() -> None:
    """a u: a du/dx;  A u: A du/dx;  u + v: du/dx + dv/dx"""
    x, m = normal(3), normal(2, 3)
    du, dv = np.diag(np.cos(x)), np.diag(np.exp(x))

    def jacobians(x: sf.Node, m: sf.Node) -> Any:
        u, v = ops.sin(x), ops.exp(x)
        return [sf.jacobian(y, x) for y in (3.0 * u, m @ u, u + v)]

    scaled, mapped, added = compiled(jacobians, x, m)
    close(scaled, 3.0 * du)
    close(mapped, m @ du)
    close(added, du + dv)


def test_chain_rule_in_both_modes() -> None:
    """dy/dx = dy/du du/dx, (m, n) = (m, k)(k, n), accumulated forwards and backwards"""
    x, first, second = normal(3), normal(4, 3), normal(2, 4)
    expected = second @ np.diag(np.cos(first @ x)) @ first

    def rows(x: sf.Node, first: sf.Node, second: sf.Node) -> Any:
        y = second @ ops.sin(first @ x)
        backwards = [sf.vjp(y, x, e) for e in np.eye(2)]
        forwards = [sf.jvp(y, x, e) for e in np.eye(3)]
        return [ops.stack(backwards), ops.stack(forwards, axis=1), sf.jacobian(y, x)]

    for jacobian in compiled(rows, x, first, second):
        close(jacobian, expected)


# The examples computed step by step


def test_two_x_squared() -> None:
    """y = 2 x'x at x = 0, 1, 2, 3: 4 x"""
    x = np.arange(4.0)
    value, gradient = compiled(lambda x: [2 * ops.dot(x, x), sf.grad(2 * ops.dot(x, x), x)], x)
    close(value, 28.0)
    close(gradient, [0.0, 4.0, 8.0, 12.0])


def test_sum_and_square() -> None:
    """y = sum x: ones;  y = sum x*x: 2 x"""
    x = np.arange(4.0)
    close(compiled(lambda x: sf.grad(x.sum(), x), x), np.ones(4))
    close(compiled(lambda x: sf.grad((x * x).sum(), x), x), 2 * x)


def test_detached_factor() -> None:
    """y = x*x, u = y taken as a constant, z = u x: dz/dx = u; y itself still gives 2 x"""
    x = np.arange(4.0)

    def gradients(x: sf.Node) -> Any:
        y = x * x
        u = ops.stop_gradient(y)
        return [sf.grad((u * x).sum(), x), sf.grad(y.sum(), x)]

    through, own = compiled(gradients, x)
    close(through, x * x)
    close(own, 2 * x)


def test_accumulation_over_parts() -> None:
    """Gradients of parts of a batch add up to that of the whole"""
    x, w, y = normal(6, 3), normal(3), normal(6)

    def loss(x: sf.Node, w: sf.Node, y: sf.Node) -> sf.Node:
        return ((x @ w - y) ** 2).sum()

    whole = compiled(lambda x, w, y: sf.grad(loss(x, w, y), w), x, w, y)
    xs, w_, ys = (
        sf.input("x", ("rows", 3), "float64"),
        leaf("w", w),
        sf.input("y", "rows", "float64"),
    )
    part = sf.function([xs, w_, ys], sf.grad(loss(xs, w_, ys), w_))
    close(sum(part(x[a:b], w, y[a:b]) for a, b in ((0, 2), (2, 5), (5, 6))), whole)


def doubled(a: sf.Node) -> sf.Node:
    """The document's function: doubled until the norm is 1000, and 100 times that if negative."""
    b = sf.while_loop(lambda b: ops.norm(ops.ravel(b)) < 1000, lambda b: b * 2, a * 2, max_steps=64)
    return sf.cond(b.sum() > 0, lambda: b, lambda: 100 * b)  # type: ignore[no-any-return]


@pytest.mark.parametrize("a", [0.7, -0.3, 1e-9, 2000.0])
def test_loop_and_branch(a: float) -> None:
    """d = f(a) is linear on each piece, so that da = d / a; by both modes"""

    def derivatives(a: sf.Node) -> Any:
        d = doubled(a)
        return [d, sf.grad(d, a), sf.jvp(d, a, 1.0), sf.grad(sf.grad(d, a), a)]

    value, backwards, forwards, second = compiled(derivatives, a)
    b = a * 2
    while abs(b) < 1000:
        b = b * 2
    close(value, b if b > 0 else 100 * b)
    close(backwards, value / a)
    close(forwards, value / a)
    close(second, 0.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_loop_and_branch_of_a_vector(sign: float) -> None:
    """The same of a vector: its Jacobian is the power of two, or 100 times that, times I"""
    a = sign * np.array([0.5, 1.0, -0.25])
    value, jacobian, tangent = compiled(
        lambda a: [doubled(a), sf.jacobian(doubled(a), a), sf.jvp(doubled(a), a, np.ones(3))], a
    )
    scale = value[0] / a[0]
    close(value, scale * a)
    close(jacobian, scale * np.eye(3))
    close(tangent, scale * np.ones(3))


def test_vector_by_a_scalar() -> None:
    """A vector by a scalar: the column of its elements' derivatives"""
    u = normal(4)
    column = compiled(lambda x, u: sf.jacobian(ops.sin(x * u), x), 0.7, u)
    close(column, np.cos(0.7 * u) * u)


A = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def test_jacobian_of_a_map() -> None:
    """y = A x: dy/dx = A, for the A and x of the document"""
    x = np.array([[0.5], [1.0]])
    jacobian = compiled(lambda a, x: sf.jacobian(a @ x, x), A, x)
    close(jacobian.reshape(3, 2), A)
    w = normal(4)
    close(compiled(lambda x, w: sf.grad(w @ x, x), normal(4), w), w)


def test_jacobian_of_a_row() -> None:
    """y = x W with a row x: dy/dx = W'"""
    x = np.array([[0.5, 1.0, 2.0]])
    jacobian = compiled(lambda a, x: sf.jacobian(x @ a, x), A, x)
    close(jacobian.reshape(2, 3), [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]])


def test_bilinear_form() -> None:
    """y'A x: y'A by x and x'A' by y"""
    y, a, x = normal(3), normal(3, 4), normal(4)
    by_x, by_y = compiled(lambda y, a, x: sf.grad(y @ a @ x, [x, y]), y, a, x)
    close(by_x, y @ a)
    close(by_y, x @ a.T)


def test_quadratic_form() -> None:
    """x'A x: (A + A') x, 2 A x for a symmetric A, and x x' by A"""
    a, x = normal(3, 3), normal(3, 1)
    by_x, by_a = compiled(lambda a, x: sf.grad(((x.T @ a) @ x).sum(), [x, a]), a, x)
    close(by_x, (a + a.T) @ x)
    close(by_a, x @ x.T)
    s = a + a.T
    close(compiled(lambda a, x: sf.grad(((x.T @ a) @ x).sum(), x), s, x), 2 * s @ x)


def test_derivative_by_the_matrix() -> None:
    """y = A x: dy/dA has three axes, with x in row i of its i-th matrix"""
    x = np.array([[0.5], [1.0]])
    jacobian = compiled(lambda a, x: sf.jacobian(a @ x, a), A, x)
    expected = np.zeros((3, 3, 2))
    for i in range(3):
        expected[i, i] = [0.5, 1.0]
    close(jacobian[:, 0], expected)


def test_vector_jacobian_products() -> None:
    """v'J of y = A x by A: for v of ones, and for v = 1, 2, 3"""
    x = np.array([[0.5], [1.0]])
    ones = compiled(lambda a, x: sf.vjp(a @ x, a, np.ones((2, 1))), A[:2], x)
    close(ones, [[0.5, 1.0], [0.5, 1.0]])
    counted = compiled(lambda a, x: sf.vjp(a @ x, a, np.array([[1.0], [2.0], [3.0]])), A, x)
    close(counted, [[0.5, 1.0], [1.0, 2.0], [1.5, 3.0]])


def test_layer_with_numbers() -> None:
    """z = x W + b, L = sum z with the document's numbers"""
    x = np.array([[1.0, 2.0]])
    w = np.array([[0.5, -0.5], [1.5, -1.0]])
    b = np.array([[0.1, -0.1]])
    by_x, by_w, by_b = compiled(lambda x, w, b: sf.grad((x @ w + b).sum(), [x, w, b]), x, w, b)
    close(by_x, [[0.0, 0.5]])
    close(by_w, [[1.0, 1.0], [2.0, 2.0]])
    close(by_b, [[1.0, 1.0]])


def test_second_derivatives() -> None:
    """The Hessian of x'A x is A + A', that of a' exp(X b) by b is X' diag(a * exp(X b)) X"""
    a, x = normal(3, 3), normal(3)
    close(compiled(lambda a, x: sf.hessian(x @ a @ x, x), a, x), a + a.T)
    c, m, b = normal(5), normal(5, 3), normal(3)
    hessian = compiled(lambda c, m, b: sf.hessian(c @ ops.exp(m @ b), b), c, m, b)
    close(hessian, m.T @ np.diag(c * np.exp(m @ b)) @ m)
