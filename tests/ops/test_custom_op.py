"""Ops from the user's jitted functions: values, derivatives, loops, failures, the cache."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import staticflow as sf
from staticflow import ops
from staticflow.native.routines.custom import fingerprint

RNG = np.random.default_rng(3)


@numba.njit
def weight(x: Any) -> Any:
    return 1.0 + np.abs(x)


@numba.njit
def softclip(x: Any) -> Any:
    return x / weight(x)


@numba.njit
def softclip_vjp(g: Any, y: Any, x: Any) -> Any:
    return g / weight(x) ** 2


@numba.njit
def softclip_jvp(t: Any, y: Any, x: Any) -> Any:
    return t / weight(x) ** 2


@numba.njit
def spread(a: Any, b: Any) -> Any:
    return a.sum(), np.outer(a, b)


@numba.njit
def broken(x: Any) -> Any:
    if x.size > 0:
        raise ValueError("no")
    return x


@numba.njit
def too_short(x: Any) -> Any:
    return x[:1]


def spread_vjp(g: Any, y: Any, a: sf.Node, b: sf.Node) -> Any:
    return g[0] + g[1] @ b, g[1].T @ a


def spread_types(a: sf.Node, b: sf.Node) -> Any:
    return [((), "float64"), ((a.shape[0], b.shape[0]), "float64")]


jitted = sf.custom_op(softclip, vjp=softclip_vjp, jvp=softclip_jvp)
symbolic = sf.custom_op(softclip, vjp=lambda g, y, x: (g / (1.0 + ops.abs(x)) ** 2,))


@pytest.mark.parametrize("op", [jitted, symbolic])
def test_value_and_both_modes(op: Any) -> None:
    x = sf.input("x", ("n", 3), "float64")
    t = sf.input("t", ("n", 3), "float64")
    y = op(x)
    loss = (y * y).sum()
    function = sf.function([x, t], [y, sf.grad(loss, x), sf.jvp(loss, x, t)])
    for n in (1, 4):
        a, d = RNG.normal(size=(n, 3)), RNG.normal(size=(n, 3))
        value, gradient, slope = function(a, d)
        expected = 2 * a / (1 + abs(a)) ** 3
        np.testing.assert_allclose(value, a / (1 + abs(a)))
        np.testing.assert_allclose(gradient, expected)
        np.testing.assert_allclose(slope, (expected * d).sum())


def test_second_derivative_of_a_rule_in_nodes() -> None:
    x = sf.input("x", (3,), "float64")
    a = np.array([0.5, -1.0, 2.0])
    second = sf.function([x], sf.hvp(symbolic(x).sum(), x, np.ones(3)))(a)
    np.testing.assert_allclose(second, -2 * np.sign(a) / (1 + abs(a)) ** 3)


def test_several_results_and_scalars() -> None:
    op = sf.custom_op(spread, vjp=spread_vjp, infer=spread_types)
    a, b = sf.input("a", ("n",), "float64"), sf.input("b", ("m",), "float64")
    total, table = op(a, b)
    loss = total * (table * table).sum()
    p, q = RNG.normal(size=4), RNG.normal(size=2)
    s, o, da, db = sf.function([a, b], [total, table, *sf.grad(loss, [a, b])])(p, q)
    square = (o * o).sum()
    np.testing.assert_allclose(s, p.sum())
    np.testing.assert_allclose(o, np.outer(p, q))
    np.testing.assert_allclose(da, square + s * 2 * p * (q @ q))
    np.testing.assert_allclose(db, s * 2 * q * (p @ p))


def test_inside_a_loop() -> None:
    xs = sf.input("xs", ("time", 3), "float64")

    def result(op: Any) -> Any:
        def step(carry: sf.Node, x: sf.Node) -> Any:
            return op(carry + x), carry.sum()

        carry, ys = sf.scan(step, ops.zeros((3,), "float64"), xs)
        loss = carry.sum() + (ys * ys).sum()
        return [loss, sf.grad(loss, xs)]

    a = RNG.normal(size=(7, 3))
    ours = sf.function([xs], result(jitted))(a)
    composed = sf.function([xs], result(lambda x: x / (1.0 + ops.abs(x))))(a)
    for actual, expected in zip(ours, composed, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def session(op: Any) -> sf.Session:
    x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
    w, v = sf.param("w", (4, 8)), sf.param("v", (8, 1))
    loss = ops.mse(op(x @ w) @ v, t)
    return sf.Session(loss, optimizer=sf.optim.SGD(0.1), seed=1)


def test_in_training() -> None:
    data = RNG.normal(size=(64, 4)).astype(np.float32)
    feeds = {"x": data, "t": data[:, :1]}
    losses = []
    for op in (jitted, lambda x: x / (1.0 + ops.abs(x))):
        history = session(op).fit(feeds, epochs=3, batch_size=16, progress=False)
        losses.append([epoch["loss"] for epoch in history.epochs])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("function", [broken, too_short])
def test_failures_are_raised(function: Any) -> None:
    op = sf.custom_op(function, vjp=softclip_vjp)
    x = sf.input("x", (3,), "float64")
    with pytest.raises(sf.GraphError, match=f"custom op {function.__name__} raised an error"):
        sf.function([x], op(x))(np.ones(3))
    data = np.ones((8, 4), np.float32)
    with pytest.raises(sf.GraphError, match="raised an error"):
        session(op).fit({"x": data, "t": data[:, :1]}, batch_size=4, progress=False)


def test_what_cannot_work_is_refused() -> None:
    x = sf.input("x", (3,), "float64")
    for wrong in ("vjp", "jvp", "infer"):
        with pytest.raises(sf.GraphError, match=f"`{wrong}` must be a function"):
            sf.custom_op(softclip, **{wrong: 3})
    with pytest.raises(sf.GraphError, match="must be jitted"):
        sf.custom_op(lambda x: x)
    with pytest.raises(sf.GraphError, match="cannot be differentiated backwards"):
        sf.grad(sf.custom_op(softclip)(x).sum(), x)
    with pytest.raises(sf.GraphError, match="cannot be differentiated forwards"):
        sf.jvp(sf.custom_op(softclip)(x), x, np.ones(3))
    with pytest.raises(sf.DTypeError, match="must give"):
        sf.custom_op(softclip, infer=lambda x: 3)(x)
    y = sf.custom_op(softclip)(sf.input("z", (), "float64"), x)
    with pytest.raises(sf.GraphError, match="Numba cannot compile it"):
        sf.function([x], sf.custom_op(softclip, infer=lambda *_: y.type)(x, x))


def test_fingerprint_tells_functions_apart() -> None:
    def make(constant: float, options: Any) -> Any:
        @numba.njit(**options)
        def f(x: Any) -> Any:
            return x * constant

        return f

    plain = fingerprint(make(2.0, {}))
    assert plain == fingerprint(make(2.0, {}))
    assert plain != fingerprint(make(3.0, {}))
    assert plain != fingerprint(make(2.0, {"fastmath": True}))
    assert fingerprint(softclip) != fingerprint(weight)


def test_fingerprint_sees_defaults_and_the_users_modules() -> None:
    def with_default(factor: float) -> Any:
        return numba.njit(lambda x, factor=factor: factor * x)

    def with_module(value: Any) -> Any:
        module = types.ModuleType("users")
        module.inner = types.ModuleType("users.inner")  # type: ignore[attr-defined]
        module.inner.value, module.inner.users = value, module  # type: ignore[attr-defined]
        return numba.njit(lambda x: x * module.inner.value)  # type: ignore[attr-defined]

    for make in (with_default, with_module):
        assert fingerprint(make(2.0)) == fingerprint(make(2.0))
        assert fingerprint(make(2.0)) != fingerprint(make(3.0))
    x = sf.input("x", (2,), "float64")
    results = [sf.function([x], sf.custom_op(with_default(k))(x))([1.0, 2.0]) for k in (2.0, 3.0)]
    np.testing.assert_array_equal(results, [[2.0, 4.0], [3.0, 6.0]])


def test_another_process_finds_the_compiled_function(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, numba, numpy as np, staticflow as sf
        @numba.njit
        def f(x):
            return np.sort(x) + {constant}
        x = sf.input("x", (3,), "float64")
        function = sf.function([x], sf.custom_op(f)(x))
        counts = function.runner.program.toolchain.counts
        print(function(np.array([3.0, 1.0, 2.0])), counts.compiled)
    """)
    lines = []
    for constant in (1, 1, 2):
        path = tmp_path / "script.py"
        path.write_text(script.replace("{constant}", str(constant)), encoding="utf-8")
        run = subprocess.run(
            [sys.executable, str(path)], capture_output=True, text=True, check=True,
            env={"STATICFLOW_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        lines.append(run.stdout.strip().rsplit(" ", 1))
    assert [values for values, _ in lines] == ["[2. 3. 4.]", "[2. 3. 4.]", "[3. 4. 5.]"]
    assert int(lines[0][1]) > 0 and lines[1][1] == "0" and int(lines[2][1]) > 0


def test_a_rule_must_give_a_cotangent_of_each_inputs_type() -> None:
    product = numba.njit(lambda a, b: a * b)
    x = sf.input("x", (3,), "float64")

    def slope(rule: Any) -> Any:
        return sf.grad(sf.custom_op(product, vjp=rule)(x, 2.0 * x).sum(), x)

    with pytest.raises(sf.GraphError, match="a cotangent for every input"):
        slope(lambda g, y, a, b: (g * b,))
    with pytest.raises(sf.ShapeError, match="must have the shape of its input"):
        slope(lambda g, y, a, b: (g * b, (g * a).sum()))
    assert slope(lambda g, y, a, b: ((g * b).astype("float32"), None)).dtype == "float64"
    held = sf.function([x], slope(lambda g, y, a, b: (g * b, 0.0)))
    np.testing.assert_array_equal(held([1.0, 2.0, 3.0]), [2.0, 4.0, 6.0])


def test_a_rule_must_give_a_tangent_of_each_results_type() -> None:
    double = numba.njit(lambda x: 2.0 * x)
    x = sf.input("x", (3,), "float64")

    def push(rule: Any) -> Any:
        return sf.jvp(sf.custom_op(double, jvp=rule)(x), x, x)

    with pytest.raises(sf.GraphError, match="a tangent for every result"):
        push(lambda t, y, x: (2.0 * t[0], t[0]))
    with pytest.raises(sf.ShapeError, match="must have the shape of its result"):
        push(lambda t, y, x: t[0].sum())
    assert push(lambda t, y, x: (2.0 * t[0]).astype("float32")).type == x.type


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool"])
def test_results_are_not_cut_down_to_integers(dtype: str) -> None:
    halve = sf.custom_op(numba.njit(lambda x: 0.5 * x), infer=lambda x: (x.shape, dtype))
    x = sf.input("x", (3,), "float64")
    with pytest.raises(sf.GraphError, match="returns float64 where `infer` gives"):
        sf.function([x], halve(x))
