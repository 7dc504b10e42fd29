"""`sf.cond` and `sf.while_loop`: values, both modes of derivatives, and what is computed at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.compile import compile_graph
from staticflow.compiler.ir.steps import BranchStep, KernelStep, LoopStep, Step
from staticflow.graph.pytree import flatten
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import arrays_for, as_list, close, inputs_for
from tests.support.sharding import assert_close, force, train


@pytest.fixture(autouse=True)
def _double() -> Any:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)


class Ours:
    """The control flow of staticflow, with the names of JAX's."""

    cond = staticmethod(sf.cond)

    @staticmethod
    def while_loop(test: Any, body: Any, init: Any, max_steps: int) -> Any:
        return sf.while_loop(test, body, init, max_steps=max_steps)


class Theirs:
    """JAX's; a bounded loop is a scan there too, since JAX cannot differentiate a while loop."""

    @staticmethod
    def cond(pred: Any, then: Any, otherwise: Any) -> Any:
        import jax

        return jax.lax.cond(pred, then, otherwise)

    @staticmethod
    def while_loop(test: Any, body: Any, init: Any, max_steps: int) -> Any:
        import jax

        def step(carry: Any, _: Any) -> Any:
            return jax.lax.cond(test(carry), body, lambda c: c, carry), None

        return jax.lax.scan(step, init, None, length=max_steps)[0]


def documents(lib: Any, flow: Any, x: Any, w: Any) -> Any:
    """Doubled until the norm reaches 1000, then one of two."""
    z = flow.while_loop(
        lambda v: lib.sqrt(lib.sum(v * v)) < 1000.0, lambda v: 2.0 * v * w, x, max_steps=40
    )
    y = flow.cond(lib.sum(z) > 0, lambda: lib.log(lib.abs(z)), lambda: z * w * 0.001)
    return lib.sum(y * y)


def branches(lib: Any, flow: Any, x: Any, w: Any) -> Any:
    shared = lib.exp(x * w)

    def then() -> Any:
        return {"a": lib.sin(shared) * w, "b": (x, lib.sum(x))}

    def otherwise() -> Any:
        return {"a": shared, "b": (lib.zeros_like(x), lib.sum(w * w))}

    y = flow.cond(lib.sum(x) > 0, then, otherwise)
    return lib.sum(y["a"] * y["b"][0]) + y["b"][1] + lib.sum(shared)


def nested_branches(lib: Any, flow: Any, x: Any, w: Any) -> Any:
    def inner() -> Any:
        return flow.cond(x[0] > 0, lambda: lib.tanh(x * w), lambda: x)

    y = flow.cond(lib.sum(x) > 0, inner, lambda: flow.cond(w[0] > 0, inner, lambda: w * w))
    return lib.sum(y * y * w)


def products(lib: Any, flow: Any, x: Any, w: Any) -> Any:
    y = flow.cond(w[0] > 0, lambda: lib.tanh(x[None] @ lib.outer(w, w)), lambda: x[None] * 2.0)
    return lib.sum(y * y)


def several_carries(lib: Any, flow: Any, x: Any, w: Any) -> Any:
    """Newton's iteration, with a count of its steps."""

    def test(carry: Any) -> Any:
        root, _ = carry
        return lib.max(lib.abs(root * root - x * x - 1)) > 1e-3

    def body(carry: Any) -> Any:
        root, count = carry
        return (root + (x * x + 1) / root) / 2, count + 1.0

    root, count = flow.while_loop(test, body, (lib.ones_like(w), lib.sum(w * 0.0)), max_steps=30)
    return lib.sum(root * w) * count


def loop_in_branch(lib: Any, flow: Any, x: Any, w: Any) -> Any:
    def then() -> Any:
        return flow.while_loop(lambda v: lib.max(v) < 20.0, lambda v: v * v + 1.0, x, max_steps=20)

    return lib.sum(flow.cond(lib.sum(x) > 0, then, lambda: w) * w)


def no_step(lib: Any, flow: Any, x: Any, w: Any) -> Any:
    return lib.sum(w * flow.while_loop(lambda v: lib.sum(v) > 1e9, lambda v: v * w, x, max_steps=3))


PROGRAMS: dict[str, Callable[..., Any]] = {
    p.__name__: p
    for p in (
        documents, branches, nested_branches, products, several_carries, loop_in_branch, no_step,
    )
}  # fmt: skip
SHAPES: Mapping[str, Sequence[Any]] = {"x": ("n",), "w": ("n",)}
# Values for which each branch is taken.
POINTS = [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]


def derivatives(y: Node, wrt: list[Node]) -> dict[str, Any]:
    ones = [ops.ones_like(x) * 0.5 for x in wrt]
    gradient = sf.grad(y, wrt)
    return {
        "value": y,
        "grad": gradient,
        "jvp": sf.jvp(y, wrt, ones),
        "jvp of grad": [sf.jvp(g, wrt, ones) for g in gradient],
        "grad of jvp": sf.grad(sf.jvp(y, wrt, ones), wrt),
    }


@pytest.mark.peers
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_derivatives(name: str) -> None:
    import jax

    inputs = inputs_for(SHAPES, {})
    outputs = derivatives(PROGRAMS[name](ops, Ours, *inputs), inputs)
    f = sf.function(inputs, outputs)

    def theirs(*arrays: Any) -> Any:
        return PROGRAMS[name](jax.numpy, Theirs, *arrays)

    gradient = jax.jit(jax.value_and_grad(theirs, (0, 1)))
    for signs in POINTS:
        arrays = [s * (0.1 + np.abs(a)) for s, a in zip(signs, arrays_for(inputs, {"n": 3}))]  # noqa: B905
        got = f(*arrays)
        told = iter(interpret(flatten(outputs), dict(zip(inputs, arrays, strict=True))))
        for key, value in got.items():
            expected = [next(told) for _ in as_list(value)]
            close(as_list(value), expected, f"{key} at {signs}: compiled")
        y, (dx, dw) = gradient(*arrays)
        close([got["value"], *got["grad"]], [y, dx, dw], f"{signs}: JAX")
        along = 0.5 * (np.sum(dx) + np.sum(dw))
        close([got["jvp"]], [along], f"{signs}: forward")
        close(got["jvp of grad"], got["grad of jvp"], f"{signs}: second order", 1e-8)


def test_without_a_bound_only_forward() -> None:
    x = sf.input("x", (3,), "float64")
    y = sf.while_loop(lambda v: ops.max(v) < 100.0, lambda v: v * v + 1.0, x)
    f = sf.function([x], [y, sf.jvp(y, x, np.ones(3))])
    bounded = sf.while_loop(lambda v: ops.max(v) < 100.0, lambda v: v * v + 1.0, x, max_steps=99)
    g = sf.function([x], [bounded, sf.grad(bounded.sum(), x)])
    point = np.array([0.1, 0.5, 1.0])
    close(f(point), g(point), "an elementwise loop: the gradient is the tangent")
    unbounded = r"(?s)reverse mode needs a bound.*test_conditionals.py"
    with pytest.raises(sf.GraphError, match=unbounded):
        sf.grad(y.sum(), x)


def test_the_bound_ends_the_loop() -> None:
    x = sf.input("x", (), "float64")
    y = sf.while_loop(lambda v: v < 1e9, lambda v: v + 1.0, x, max_steps=7)
    f = sf.function([x], [y, sf.grad(y, x)])
    close(f(np.float64(1.0)), [8.0, 1.0], "seven steps")


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if isinstance(step, LoopStep | BranchStep):
            yield from walk(step.body)


def test_what_only_a_branch_needs_is_inside_of_it() -> None:
    """What both need, or is there before, is computed once; of the rest, what is taken."""
    x = sf.input("x", (3,))
    before = ops.exp(x)
    y = sf.cond(x[0] > 0, lambda: ops.sin(before), lambda: ops.tanh(before) * 2.0)
    steps = compile_graph([y]).steps
    (branch,) = (step for step in steps if isinstance(step, BranchStep))
    names = [
        {node.op.name for step in body if isinstance(step, KernelStep) for node in step.nodes}
        for body in (steps, branch.then, branch.otherwise)
    ]
    assert "exp" in names[0] and not {"sin", "tanh"} & names[0]
    assert "sin" in names[1] and "tanh" in names[2] and "exp" not in names[1] | names[2]


def test_what_is_not_taken_is_not_computed() -> None:
    """A branch with ten million steps ends at once if it is not taken."""
    x = sf.input("x", (), "float64")

    def forever() -> Node:
        last, _ = sf.scan(lambda h, _: (ops.sin(h), None), x, None, length=2**40)
        return last

    f = sf.function([x], sf.cond(x > 0, forever, lambda: x * 2.0))
    close([f(np.float64(-1.0))], [-2.0], "not taken")


def test_branches_may_be_values() -> None:
    x, p = sf.input("x", (3,), "float64"), sf.input("p", (), "bool")
    y = sf.cond(p, x * 2.0, 1.0 - x)
    same, number = sf.cond(p, (x, sf.const(np.float64(1.0))), (x, sf.const(np.float64(2.0))))
    f = sf.function([x, p], [y, same, number])
    point = np.arange(3.0)
    close(f(point, True), [point * 2, point, 1.0], "true")
    close(f(point, False), [1 - point, point, 2.0], "false")


def test_unused_outputs_are_dropped() -> None:
    x = sf.input("x", (3,))
    y, _ = sf.cond(x[0] > 0, lambda: (x * 2, ops.sin(x)), lambda: (x * 3, ops.cos(x)))
    nodes = [n.op.name for s in walk(compile_graph([y]).steps) for n in s.nodes]
    assert "sin" not in nodes and "cos" not in nodes


def test_in_a_scan() -> None:
    """A branch, and a loop, in each step; their derivatives in each step backwards."""
    x, w = sf.input("x", ("time", 3), "float64"), sf.input("w", (3,), "float64")

    def step(h: Node, row: Node) -> Any:
        new = sf.cond(row[0] > 0, lambda: ops.tanh(h * w + row), lambda: h * row)
        big = sf.while_loop(lambda v: ops.max(v) < 5.0, lambda v: v * 2.0 + 3.0, new, max_steps=4)
        return new, big

    last, ys = sf.scan(step, ops.ones((3,), "float64"), x)
    outputs = [ops.sum(last) + ops.sum(ys * ys)]
    outputs += sf.grad(outputs[0], [x, w])
    f = sf.function([x, w], outputs)
    for n in (0, 1, 6):
        arrays = arrays_for([x, w], {"time": n})
        close(f(*arrays), interpret(outputs, dict(zip([x, w], arrays, strict=True))), f"{n}")


def test_on_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """All shards take the same branch if no row decides."""

    def model() -> Any:
        x, t = sf.input("x", ("batch", 4)), sf.input("t", ("batch", 1))
        w, v = sf.param("w", (4, 3)), sf.param("v", (3, 1))
        h = sf.cond(w.sum() > -1e9, lambda: ops.tanh(x @ w), lambda: x[:, :3] * 2.0)
        data = np.random.default_rng(0).standard_normal((45, 4)).astype(np.float32)
        return ops.mse(h @ v, t), {}, {"x": data, "t": data[:, :1] ** 2}

    force(monkeypatch)
    assert_close(train(model, 2), train(model, 1))


def test_rows_cannot_decide_on_shards() -> None:
    x = sf.input("x", ("batch", 4))
    decided = sf.cond(x.sum() > 0, lambda: x * 2, lambda: x)
    until = sf.while_loop(lambda v: v.sum() < 9, lambda v: v + 1, x)
    loss = compile_graph([decided.sum()], shard="batch").sharding
    assert loss.shard == "batch"  # the sum is a collective before the branch
    rows = compile_graph([until.sum()], shard="batch").sharding
    assert rows.shard is None and "test_conditionals.py" in rows.reason


def test_saved_and_loaded(tmp_path: Path) -> None:
    x = sf.input("x", ("time", 3))
    w = sf.param("w", (3,))

    def step(h: Node, row: Node) -> Any:
        return sf.cond(row[0] > 0, lambda: ops.tanh(h * w + row), lambda: h * row), None

    last, _ = sf.scan(step, ops.ones((3,)), x, remat=True, truncate=5)
    until = sf.while_loop(lambda v: ops.max(v) < 50.0, lambda v: v * 2.0 + 3.0, last)
    session = sf.Session(outputs={"y": until})
    data = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
    session.save(tmp_path / "model")
    loaded = sf.Session.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.run("y", {"x": data}), session.run("y", {"x": data}))


X = sf.input("x", (3,))
REFUSED: dict[str, tuple[type[Exception], Callable[[], Any]]] = {
    r"the condition is a scalar.*ops.all": (sf.ShapeError, lambda: sf.cond(X > 0, X, X)),
    r"types of result differ.*\[3\] if true.*\[2\] if false": (
        sf.ShapeError, lambda: sf.cond(X[0] > 0, X, X[:2]),
    ),
    r"types of result\['a'\] differ": (
        sf.DTypeError, lambda: sf.cond(X[0] > 0, {"a": X}, {"a": X.astype("int32")}),
    ),
    "return the same structure": (sf.GraphError, lambda: sf.cond(X[0] > 0, X, (X, X))),
    "carry changes its type": (
        sf.ShapeError, lambda: sf.while_loop(lambda v: v[0] > 0, lambda v: v[:2], X),
    ),
    "while_loop: the condition is a scalar": (
        sf.ShapeError, lambda: sf.while_loop(lambda v: v > 0, lambda v: v, X),
    ),
    "needs a carry": (sf.GraphError, lambda: sf.while_loop(lambda v: X[0] > 0, lambda v: v, ())),
    "max_steps is a number": (
        sf.GraphError, lambda: sf.while_loop(lambda v: v[0] > 0, lambda v: v, X, max_steps=1.5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message: str) -> None:
    kind, make = REFUSED[message]
    with pytest.raises(kind, match=f"(?s){message}") as caught:
        make()
    assert "test_conditionals.py" in str(caught.value)


def test_draws_of_a_loop_are_drawn_anew_in_each_step() -> None:
    def digits(c: Any) -> Any:
        return c[0] + ops.floor(10 * ops.random.uniform((50,))) * 10.0 ** c[1], c[1] + 1

    start = ops.zeros((50,), "float64"), 0.0
    found, steps = sf.while_loop(lambda c: c[1] < 6, digits, start, max_steps=4)
    w = sf.input("w", (3,), "float64")
    scaled, _ = sf.while_loop(lambda c: c[1] < 2,
                              lambda c: (c[0] * ops.random.uniform((3,)), c[1] + 1),
                              (w, 0), max_steps=2)  # fmt: skip
    waits = [sf.while_loop(lambda c: ops.random.uniform(()) > 0.3, lambda c: c + 1, 0, max_steps=99)
             for _ in range(8)]  # fmt: skip
    f = sf.function([w], [found, steps, scaled, sf.grad(ops.sum(scaled), w), *waits])
    numbers, count, y, slope, *lengths = f(np.array([1.0, 2.0, 4.0]))
    assert count == 4
    drawn = numbers.astype(int) // 10 ** np.arange(4)[:, None] % 10
    equal = [(drawn[k] == drawn[j]).mean() for k in range(4) for j in range(k)]
    assert max(equal) < 0.4, "one in ten of independent digits are equal"
    np.testing.assert_allclose(slope * [1.0, 2.0, 4.0], y)  # of the draws that the value has
    assert len(set(map(float, lengths))) > 2


def test_draws_of_a_loop_without_a_bound_are_refused() -> None:
    draw = ops.random.uniform(())
    outside, _ = sf.while_loop(lambda c: c[1] < 3, lambda c: (c[0] + draw, c[1] + 1), (0.0, 0))
    total, once = sf.function([], [outside, draw])()
    np.testing.assert_allclose(total, 3 * once, rtol=1e-6)
    with pytest.raises(sf.GraphError, match="the same in every step") as raised:
        sf.while_loop(lambda c: c < 3, lambda c: c + ops.random.uniform(()), 0.0)
    assert "give max_steps=" in str(raised.value)
