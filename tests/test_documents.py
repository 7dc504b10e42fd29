"""The rules and examples of the documents on matrix derivatives, with the results they give.

Each test names the statement in its docstring, computes the derivative by the compiled program in
float64, and compares it with the closed form. A derivative of a scalar has the shape of what it is
taken by; one of a vector by a vector has a row for each element of the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import ops

RNG = np.random.default_rng(5)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape)


def leaf(name: str, array: Any) -> sf.Node:
    return sf.input(name, np.shape(array), "float64")


def compiled(build: Any, *arrays: Any) -> Any:
    """The values of what `build` makes of nodes, for the given arrays."""
    xs = [leaf(f"x{k}", a) for k, a in enumerate(arrays)]
    return sf.function(xs, build(*xs))(*arrays)


def close(actual: Any, expected: Any) -> None:
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


def differential(build: Any, arrays: Any, changes: Any) -> Any:
    """d f for the given changes of the arguments."""
    return compiled(lambda *xs: sf.jvp(build(*xs), list(xs), list(changes)), *arrays)


# The rules of differentials


def test_sum_and_difference() -> None:
    """d(X + Y) = dX + dY, d(X - Y) = dX - dY"""
    x, y, dx, dy = (normal(3, 4) for _ in range(4))
    close(differential(lambda a, b: a + b, (x, y), (dx, dy)), dx + dy)
    close(differential(lambda a, b: a - b, (x, y), (dx, dy)), dx - dy)


def test_product() -> None:
    """d(XY) = (dX) Y + X dY"""
    x, y, dx, dy = normal(3, 4), normal(4, 2), normal(3, 4), normal(4, 2)
    close(differential(lambda a, b: a @ b, (x, y), (dx, dy)), dx @ y + x @ dy)


def test_transpose_and_trace() -> None:
    """d(X') = (dX)', d tr(X) = tr(dX)"""
    x, dx = normal(4, 4), normal(4, 4)
    close(differential(lambda a: a.T, (x,), (dx,)), dx.T)
    close(differential(ops.trace, (x,), (dx,)), np.trace(dx))


def test_inverse() -> None:
    """dX^-1 = -X^-1 dX X^-1"""
    x, dx = normal(4, 4) + 3 * np.eye(4), normal(4, 4)
    inverse = np.linalg.inv(x)
    close(differential(ops.inv, (x,), (dx,)), -inverse @ dx @ inverse)


def test_determinant() -> None:
    """d|X| = tr(X* dX) with the adjugate X*, and = |X| tr(X^-1 dX) where X is invertible"""
    x, dx = normal(3, 3), normal(3, 3)
    inverse = np.linalg.inv(x)
    close(differential(ops.det, (x,), (dx,)), np.linalg.det(x) * np.trace(inverse @ dx))
    flat = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]])  # of rank 2
    adjugate = np.array([[4.0, -2.0, 0.0], [4.0, -2.0, 0.0], [-4.0, 2.0, 0.0]])
    close(differential(ops.det, (flat,), (dx,)), np.trace(adjugate @ dx))
    close(compiled(lambda a: sf.grad(ops.det(a), a), flat), adjugate.T)


def test_log_determinant() -> None:
    """d log|X| = tr(X^-1 dX)"""
    a = normal(4, 4)
    x = a @ a.T + np.eye(4)
    close(compiled(lambda a: sf.grad(ops.logdet(a), a), x), np.linalg.inv(x).T)


def test_hadamard_product() -> None:
    """d(X * Y) = dX * Y + X * dY, by elements"""
    x, y, dx, dy = (normal(3, 4) for _ in range(4))
    close(differential(lambda a, b: a * b, (x, y), (dx, dy)), dx * y + x * dy)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (ops.exp, np.exp),
        (ops.sin, np.cos),
        (ops.tanh, lambda x: 1 - np.tanh(x) ** 2),
        (lambda x: ops.log(x * x), lambda x: 2 / x),
    ],
)
def test_functions_by_elements(function: Any, derivative: Any) -> None:
    """d s(X) = s'(X) * dX; the derivative of e^x is e^x, that of ln x is 1 / x"""
    x, dx = normal(3, 4), normal(3, 4)
    close(differential(function, (x,), (dx,)), derivative(x) * dx)


def test_differential_and_derivative() -> None:
    """df = tr((df/dX)' dX)"""
    x, dx = normal(3, 4), normal(3, 4)

    def f(a: sf.Node) -> Any:
        y = (ops.exp(a) @ a.T).sum()
        return [sf.jvp(y, a, dx), sf.grad(y, a)]

    df, gradient = compiled(f, x)
    close(df, np.trace(gradient.T @ dx))


def test_trace_identities() -> None:
    """tr(A') = tr(A), tr(AB) = tr(BA), tr(A'(B * C)) = tr((A * B)'C)"""
    a, b, c = (normal(4, 4) for _ in range(3))

    def gradients(p: sf.Node, q: sf.Node, r: sf.Node) -> Any:
        pairs = [
            (ops.trace(p.T), ops.trace(p)),
            (ops.trace(p @ q), ops.trace(q @ p)),
            (ops.trace(p.T @ (q * r)), ops.trace((p * q).T @ r)),
        ]
        return [[y, sf.grad(y, p)] for pair in pairs for y in pair]

    flat = compiled(gradients, a, b, c)
    for left, right in zip(flat[::2], flat[1::2], strict=True):
        close(left[0], right[0])
        close(left[1], right[1])


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
    """|x| has the derivative 1 above 0, -1 below, and one of [-1, 1] at 0: here 0"""
    x = np.array([2.0, -3.0, 0.0])
    close(compiled(lambda x: sf.grad(ops.abs(x).sum(), x), x), [1.0, -1.0, 0.0])


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


# Layers and losses


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
    sizes = {f"n{i}": n for i, n in enumerate(compiled_.g.evaluate({}, {}))}
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


# What the documents lead to


def test_second_derivatives() -> None:
    """The Hessian of x'A x is A + A', that of a' exp(X b) by b is X' diag(a * exp(X b)) X"""
    a, x = normal(3, 3), normal(3)
    close(compiled(lambda a, x: sf.hessian(x @ a @ x, x), a, x), a + a.T)
    c, m, b = normal(5), normal(5, 3), normal(3)
    hessian = compiled(lambda c, m, b: sf.hessian(c @ ops.exp(m @ b), b), c, m, b)
    close(hessian, m.T @ np.diag(c * np.exp(m @ b)) @ m)


def test_norms() -> None:
    """|x|: x / |x|;  the Frobenius norm: X / |X|;  the spectral norm: u v'"""
    x, m = normal(4), normal(3, 4)
    close(compiled(lambda x: sf.grad(ops.norm(x), x), x), x / np.linalg.norm(x))
    close(compiled(lambda m: sf.grad(ops.norm(m, "fro"), m), m), m / np.linalg.norm(m))
    u, _, v = np.linalg.svd(m)
    close(compiled(lambda m: sf.grad(ops.norm(m, 2), m), m), np.outer(u[:, 0], v[0]))


def test_kronecker_product_and_diagonal() -> None:
    """vec(A X B) = (A (x) B') vec X, by rows;  diag: the diagonal of the cotangent"""
    a, x, b = normal(2, 3), normal(3, 4), normal(4, 2)
    jacobian = compiled(lambda a, x, b: sf.jacobian(a @ x @ b, x), a, x, b)
    close(jacobian.reshape(4, 12), compiled(lambda a, b: ops.kron(a, b.T), a, b))
    v, g = normal(3), normal(3, 3)
    close(compiled(lambda v: sf.vjp(ops.diag(v), v, g), v), np.diag(g))


def test_solve_and_gaussian_likelihood() -> None:
    """x = A^-1 b: by b A^-T g, by A -A^-T g x';  log N(x; 0, S): (S^-1 x x' S^-1 - S^-1) / 2"""
    a, b, g = normal(3, 3) + 3 * np.eye(3), normal(3), normal(3)
    by_a, by_b = compiled(lambda a, b: sf.vjp(ops.solve(a, b), [a, b], g), a, b)
    inverse = np.linalg.inv(a)
    close(by_b, inverse.T @ g)
    close(by_a, -np.outer(inverse.T @ g, inverse @ b))
    s = a @ a.T
    y = np.linalg.solve(s, b)

    def likelihood(s: sf.Node, x: sf.Node) -> Any:
        factor = ops.cholesky(s)
        white = ops.solve_triangular(factor, x, lower=True)
        value = -0.5 * (white @ white) - ops.log(ops.diagonal(factor)).sum()
        return sf.grad(value, s)

    close(compiled(likelihood, s, b), (np.outer(y, y) - np.linalg.inv(s)) / 2)
