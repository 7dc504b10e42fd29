"""`sf.scan` against the interpreter and JAX: structures, lengths, directions, derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from recurrences import arrays_for, check_program, close, derivatives, inputs_for
from test_placement import assert_close, force, train

import staticflow as sf
from staticflow import ops
from staticflow.compile import Compiled, compile_graph
from staticflow.graph import toposort
from staticflow.interpret import interpret
from staticflow.op import Kind
from staticflow.schedule import LoopStep
from staticflow.structure import flatten

# The last of them is compared with JAX as well.
LENGTHS = [{"time": n, "batch": 2} for n in (0, 1, 2, 7, 5)]
ELMAN = {"x": ("time", "batch", 3), "w": (3, 4), "u": (4, 4), "b": (4,), "h": ("batch", 4)}


@pytest.fixture(autouse=True)
def _double() -> Any:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)


def elman(lib: Any, scan: Any, x: Any, w: Any, u: Any, b: Any, h: Any, **options: Any) -> Any:
    def step(h: Any, row: Any) -> Any:
        new = lib.tanh(row @ w + h @ u + b)
        return new, new

    last, every = scan(step, h, x, **options)
    return lib.sum(last * last) + lib.sum(every * every * every)


def backwards(lib: Any, scan: Any, *arrays: Any) -> Any:
    return elman(lib, scan, *arrays, reverse=True)


def lstm(lib: Any, scan: Any, x: Any, w: Any, u: Any, b: Any, h: Any) -> Any:
    def step(state: Any, row: Any) -> Any:
        z = row @ w + state["h"] @ u + b
        i, f, g, o = (z[:, k : k + 2] for k in (0, 2, 4, 6))
        c = state["c"] / (1 + lib.exp(-f)) + lib.tanh(g) / (1 + lib.exp(-i))
        new = lib.tanh(c) / (1 + lib.exp(-o))
        return {"h": new, "c": c}, (new, {"cell": c})

    start = {"h": h, "c": lib.zeros_like(h)}
    state, (hs, more) = scan(step, start, x)
    return lib.sum(hs * hs) + lib.sum(more["cell"]) + lib.sum(state["c"] ** 2 * state["h"])


def no_outputs(lib: Any, scan: Any, x: Any, w: Any, u: Any, b: Any, h: Any) -> Any:
    last, nothing = scan(lambda c, r: (lib.tanh(r @ w + c @ u + b), None), h, x)
    assert nothing is None
    return lib.sum(last * last)


def no_elements(lib: Any, scan: Any, w: Any, h: Any) -> Any:
    def step(h: Any, nothing: Any) -> Any:
        assert nothing is None
        return lib.tanh(h @ w), h

    last, every = scan(step, h, None, length=5)
    return lib.sum(last * last) + lib.sum(every * every)


def two_elements(lib: Any, scan: Any, x: Any, y: Any, h: Any) -> Any:
    def step(h: Any, rows: Any) -> Any:
        new = lib.tanh(rows["x"] * h + rows["y"])
        return new, [new * rows["x"], rows["y"]]

    last, (a, b) = scan(step, h, {"x": x, "y": y})
    return lib.sum(last) + lib.sum(a * a * b)


def carry_as_outputs(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    """The carry before and after the step, and one node twice."""

    def step(h: Any, row: Any) -> Any:
        new = lib.sin(h + row)
        return new, (h, new, new, h)

    last, (before, after, again, first) = scan(step, h, x)
    return lib.sum(before * after) + lib.sum(again * first * first) + lib.sum(last)


def carry_as_outputs_reversed(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    def reverse(*arguments: Any) -> Any:
        return scan(*arguments, reverse=True)

    return carry_as_outputs(lib, reverse, x, h)


def unchanged_carry(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        same, moving = carry
        return (same, moving + same * row), same * moving

    (same, moving), every = scan(step, (h, lib.zeros_like(h)), x)
    return lib.sum(same * moving) + lib.sum(every * every)


def swapped_carries(lib: Any, scan: Any, x: Any, h: Any, k: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        a, b = carry
        return (b, a * row), a

    (a, b), every = scan(step, (h, k), x)
    return lib.sum(a * b) + lib.sum(every * every)


def equal_next_carries(lib: Any, scan: Any, x: Any, h: Any, k: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        new = lib.tanh(carry[0] * row + carry[1])
        return (new, new), new

    (a, b), every = scan(step, (h, k), x)
    return lib.sum(a * b) + lib.sum(every * every)


def carry_becomes_element(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    last, before = scan(lambda h, row: (row, h), h, x)
    return lib.sum(last * last) + lib.sum(before * before * before)


def constant_carry(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    """The next carry is a constant of the outer graph, so it is a constant of the body too."""
    last, before = scan(lambda c, row: (h * 2, c * row), h, x)
    return lib.sum(last * last) + lib.sum(before * before * before)


def output_without_carry(lib: Any, scan: Any, x: Any, w: Any, h: Any) -> Any:
    def step(h: Any, row: Any) -> Any:
        return h + 1.0, (lib.exp(row @ w), w * 2.0)

    last, (every, same) = scan(step, h, x)
    return lib.sum(every * every) + lib.sum(last) + lib.sum(same * same)


def view_as_start(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    def step(h: Any, row: Any) -> Any:
        return lib.tanh(h + row), h.T

    last, every = scan(step, h.T[1:, ::-1], x)
    return lib.sum(last * last) + lib.sum(every * every)


def constant_start(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    start = lib.asarray(np.linspace(-1, 1, 3)) if hasattr(lib, "asarray") else (
        sf.const(np.linspace(-1, 1, 3))
    )  # fmt: skip
    last, _ = scan(lambda c, row: (lib.tanh(c * row + h), None), start, x)
    return lib.sum(last * last)


def shared_start(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    """One value starts two carries, is a constant of the body, and is used behind the loop."""

    def step(carry: Any, row: Any) -> Any:
        a, b = carry
        return (lib.tanh(a + row * h), b * a), None

    (a, b), _ = scan(step, (h, h), x)
    return lib.sum(a * b * h)


def counting(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    """An integer carry chooses what is computed."""

    def step(carry: Any, row: Any) -> Any:
        count, h = carry
        new = lib.where(lib.equal(count % 2, 0), lib.sin(h + row), h * row)
        return (count + 1, new), count

    start = lib.asarray(np.int64(0)) if hasattr(lib, "asarray") else sf.const(np.int64(0))
    (count, last), counts = scan(step, (start, h), x)
    return lib.sum(last * last) + lib.sum(counts * 1.0) + count * 1.0


def integer_elements(lib: Any, scan: Any, ids: Any, table: Any, h: Any) -> Any:
    last, every = scan(lambda h, i: (lib.tanh(h + lib.take(table, i, 0)), i), h, ids)
    return lib.sum(last * last) + lib.sum(every * 1.0)


def scalars(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    last, every = scan(lambda h, r: (lib.sin(h + r), h * r), h, x)
    return last * last + lib.sum(every * every)


def nested(lib: Any, scan: Any, x: Any, u: Any, h: Any) -> Any:
    """For each row of x, a loop over its elements."""

    def outer(h: Any, row: Any) -> Any:
        last, inner = scan(lambda h, e: (lib.tanh(h @ u + e), lib.sum(h) * e), h, row)
        return last * 0.5, (lib.sum(inner * inner), h)

    last, (sums, before) = scan(outer, h, x)
    return lib.sum(last * last) + lib.sum(sums) + lib.sum(before * before)


def repeated(lib: Any, scan: Any, x: Any, h: Any) -> Any:
    """A loop over the outputs of a loop."""
    last, first = scan(lambda h, r: (lib.tanh(h + r), h * r), h, x)
    end, second = scan(lambda h, r: (lib.sin(h * r), h + r), last, first, reverse=True)
    return lib.sum(end * last) + lib.sum(second * first)


def carry_free(lib: Any, scan: Any, x: Any, w: Any) -> Any:
    _, every = scan(lambda _, row: (None, lib.tanh(row @ w)), None, x)
    return lib.sum(every * every)


VECTORS = {"x": ("time", 3), "h": (3,)}
PROGRAMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "elman": (elman, ELMAN),
    "backwards": (backwards, ELMAN),
    "lstm": (lstm, {**ELMAN, "w": (3, 8), "u": (2, 8), "b": (8,), "h": ("batch", 2)}),
    "no outputs": (no_outputs, ELMAN),
    "no elements": (no_elements, {"w": (3, 3), "h": ("batch", 3)}),
    "two elements": (two_elements, {"x": ("time", 3), "y": ("time", 3), "h": (3,)}),
    "carry as outputs": (carry_as_outputs, VECTORS),
    "carry as outputs, reversed": (carry_as_outputs_reversed, VECTORS),
    "unchanged carry": (unchanged_carry, VECTORS),
    "swapped carries": (swapped_carries, {**VECTORS, "k": (3,)}),
    "equal next carries": (equal_next_carries, {**VECTORS, "k": (3,)}),
    "carry becomes element": (carry_becomes_element, VECTORS),
    "constant carry": (constant_carry, VECTORS),
    "output without carry": (output_without_carry, {"x": ("time", 2, 3), "w": (3, 2), "h": (2,)}),
    "view as start": (view_as_start, {"x": ("time", 2, 4), "h": (4, 3)}),
    "constant start": (constant_start, VECTORS),
    "shared start": (shared_start, VECTORS),
    "counting": (counting, VECTORS),
    "integer elements": (
        integer_elements, {"ids": ("time", "batch"), "table": (3, 4), "h": ("batch", 4)},
    ),
    "scalars": (scalars, {"x": ("time",), "h": ()}),
    "nested": (nested, {"x": ("time", "batch", 1, 3), "u": (3, 3), "h": (1, 3)}),
    "repeated": (repeated, VECTORS),
    "carry-free": (carry_free, {"x": ("time", 2, 3), "w": (3, 2)}),
}  # fmt: skip


@pytest.mark.peers
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_derivatives(name: str) -> None:
    program, shapes = PROGRAMS[name]
    check_program(program, shapes, LENGTHS, {"ids": "int32"})


# Shards: a recurrent net trains as one


def data(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def recurrent(cell: str, **options: Any) -> Any:
    """A net over sequences of 6 steps, for `train` of test_placement."""
    x, t = sf.input("x", ("batch", "time", 3)), sf.input("t", ("batch", 1))
    width = {"elman": 4, "lstm": 16, "gru": 12}[cell]
    w, u = sf.param("w", (3, width)), sf.param("u", (4, width))
    b = sf.param("b", (width,), init="zeros")
    h = ops.zeros((x.shape[0], 4))

    def step(state: Any, row: Any) -> Any:
        h, c = state
        if cell == "elman":
            return (ops.tanh(row @ w + h @ u + b), c), h
        if cell == "gru":
            (r, z, n), (p, q, m) = ops.split(row @ w + b, 3, -1), ops.split(h @ u, 3, -1)
            new = ops.tanh(n + ops.sigmoid(r + p) * m)
            keep = ops.sigmoid(z + q)
            return (keep * h + (1 - keep) * new, c), h
        i, f, g, o = ops.split(row @ w + h @ u + b, 4, -1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return (ops.sigmoid(o) * ops.tanh(c), c), h

    (h, _), every = sf.scan(step, (h, h), x.transpose(1, 0, 2), **options)
    y = (h + every.mean(axis=0)) @ sf.param("v", (4, 1))
    return ops.mse(y, t), {"mae": ops.mae(y, t)}, {"x": data(0, 45, 6, 3), "t": data(1, 45, 1)}


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_shards_train_as_one(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    one = train(lambda: recurrent(cell), 1)
    for threads in (2, 3):
        assert_close(train(lambda: recurrent(cell), threads), one)


# What is refused


H, X = sf.input("h", (4,)), sf.input("x", ("time", 4))
REFUSED: dict[str, tuple[type[Exception], Any]] = {
    r"carry changes its type.*float32\[4\] in init, float32\[2\] from": (
        sf.ShapeError, lambda: sf.scan(lambda h, x: (h[:2], None), H, X),
    ),
    r"carry\['b'\] changes its type.*float32\[4\] in init, float64\[4\]": (
        sf.DTypeError,
        lambda: sf.scan(
            lambda s, x: ({"a": s["a"], "b": s["b"].astype("float64")}, x), {"a": H, "b": H}, X
        ),
    ),
    r"carry\[1\] changes its type": (
        sf.ShapeError, lambda: sf.scan(lambda s, x: ((s[0], s[1][:1]), None), (H, H), X),
    ),
    "of the structure of init": (
        sf.GraphError, lambda: sf.scan(lambda h, x: ((h, h), None), H, X),
    ),
    r"must return \(carry, y\)": (sf.GraphError, lambda: sf.scan(lambda h, x: h, H, X)),
    "a length is needed": (sf.GraphError, lambda: sf.scan(lambda h, x: (h, None), H, None)),
    "leading axes of xs differ": (
        sf.ShapeError, lambda: sf.scan(lambda h, x: (h, None), H, (X, H)),
    ),
    "need a leading axis": (
        sf.ShapeError, lambda: sf.scan(lambda h, x: (h, None), H, sf.input("s", ())),
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message: str) -> None:
    kind, make = REFUSED[message]
    with pytest.raises(kind, match=f"(?s){message}") as caught:
        make()
    assert "test_scan.py" in str(caught.value)


def test_another_length_compiles_nothing() -> None:
    """Sizes are run-time values: one program, of one code size."""
    x, h = sf.input("x", ("time", 3)), sf.input("h", (3,))
    _, every = sf.scan(lambda h, row: (ops.tanh(h + row),) * 2, h, x)
    f = sf.function([x, h], every)
    program = f.runner.program
    for n in (3, 0, 1000):
        rows = data(n, n, 3)
        close([f(rows, rows.sum(0))], interpret([every], {x: rows, h: rows.sum(0)}), str(n), 1e-5)
    assert f.runner.program is program


def test_constants_are_computed_once() -> None:
    """What does not depend on the slots stays outside, computed once."""
    x, w = sf.input("x", ("time", 3)), sf.input("w", (3,))
    _, every = sf.scan(lambda _, row: (None, row * ops.exp(w)), None, x)
    (scan,) = (n for n in toposort([every]) if n.op.kind is Kind.LOOP)
    assert all(n.op.name != "exp" for n in toposort(scan.op.body))


def test_a_length_beside_elements_must_agree() -> None:
    x = sf.input("x", ("time", 3))
    last, _ = sf.scan(lambda h, row: (h + row, None), ops.zeros((3,)), x, length="time")
    assert last.shape == (3,)
    with pytest.raises(sf.ShapeError, match="leading axes of xs differ"):
        sf.scan(lambda h, row: (h + row, None), ops.zeros((3,)), x, length=4)


def test_a_length_of_run_time_without_elements() -> None:
    """It is that of another input, and may be none at all."""
    w, h = sf.input("w", (3, 3), "float64"), sf.input("h", (3,), "float64")
    x = sf.input("x", ("time",), "float64")
    last, every = sf.scan(lambda h, _: (ops.tanh(h @ w),) * 2, h, None, length="time")
    outputs = [last, every, *sf.grad(ops.sum(last) + ops.sum(every**2) * ops.sum(x), [w, h, x])]
    f = sf.function([w, h, x], outputs)
    for n in (5, 0, 1, 12):
        arrays = arrays_for([w, h, x], {"time": n})
        wanted = interpret(outputs, dict(zip([w, h, x], arrays, strict=True)))
        close(f(*arrays), wanted, f"length {n}")


def saved(loss: sf.Node, wrt: list[sf.Node]) -> list[str]:
    """What the forward loop of a compiled gradient stores beside all carries, by op."""
    compiled = compile_graph([loss, *sf.grad(loss, wrt)])
    (forward, *_) = [step for step in compiled.steps if isinstance(step, LoopStep)]
    op = forward.node.op
    return sorted(y.op.name for y in op.ys if y not in (*op.carries, *op.next))


def test_only_what_is_read_is_saved() -> None:
    """By the derivative; what a step computes on the way to it is not."""
    x = sf.input("x", ("time", "batch", 3))
    w, u, c = sf.param("w", (3, 4)), sf.param("u", (4, 4)), sf.param("c", (4,))
    h = ops.zeros((x.shape[1], 4))

    def loss(step: Any) -> sf.Node:
        return ops.sum(sf.scan(step, h, x)[0])

    def elman(h: Any, row: Any) -> Any:
        return ops.tanh(row @ w + h @ u + c), None

    assert saved(loss(elman), [w, u, c]) == []  # all states tell the slopes of tanh

    def linear(h: Any, row: Any) -> Any:
        return 0.5 * (h + ops.exp(row @ w + c)), None

    assert saved(loss(linear), [c]) == []  # nor the state

    def gate(h: Any, row: Any) -> Any:
        return ops.sigmoid(row @ w + c) * ops.tanh(h) + ops.sin(h), None

    assert saved(loss(gate), [c]) == ["tanh"]  # the sigmoid needs no state: it is no step's


def test_of_a_value_in_parts_only_those_that_are_read_are_saved() -> None:
    """The reset gate multiplies a third of the projected state; the rest is known by its gates."""
    x, u = sf.input("x", ("time", "batch", 12)), sf.param("u", (4, 12))
    b = sf.param("b", (12,))

    def step(h: Any, row: Any) -> Any:
        (r, z, n), (p, q, m) = ops.split(row, 3, -1), ops.split(h @ u + b, 3, -1)
        new = ops.tanh(n + ops.sigmoid(r + p) * m)
        return new + ops.sigmoid(z + q) * (h - new), None

    loss = ops.sum(sf.scan(step, ops.zeros((x.shape[1], 4)), x)[0])
    compiled = compile_graph([loss, *sf.grad(loss, [u, b])])
    loops = [step.node.op for step in compiled.steps if isinstance(step, LoopStep)]
    assert {y.shape[-1] for y in loops[0].ys} == {4}
    arrays = [0.5 * a for a in arrays_for([x, u, b], {"time": 6, "batch": 3})]
    env = dict(zip([x, u, b], arrays, strict=True))
    wanted = interpret(outputs := [loss, *sf.grad(loss, [u, b])], env)
    close(sf.function([x, u, b], outputs)(*arrays), wanted, "", 1e-5)


def test_long_sequences() -> None:
    """10 000 steps, and their gradient."""
    x, a = sf.input("x", ("time", 2), "float64"), sf.input("a", (2,), "float64")
    last, _ = sf.scan(lambda h, row: (ops.sin(a * h + row), None), ops.zeros((2,), "float64"), x)
    f = sf.function([x, a], [last, sf.grad(last.sum(), a)])
    rows = np.random.default_rng(0).standard_normal((10_000, 2))
    scale = np.array([0.4, -0.3])
    h, d = np.zeros(2), np.zeros(2)
    for row in rows:
        inner = scale * h + row
        h, d = np.sin(inner), np.cos(inner) * (h + scale * d)
    close(f(rows, scale), [h, d], "10 000 steps")


# Derivatives that save little, or do not go far back


def with_options(**options: Any) -> Any:
    def scan(*arguments: Any, **others: Any) -> Any:
        return sf.scan(*arguments, **others, **options)

    return scan


@pytest.mark.parametrize("name", ["lstm", "backwards", "carry as outputs", "nested", "counting"])
def test_segments_change_no_derivative(name: str) -> None:
    """Also where the segments do not cover all steps, and where there is not even one."""
    program, shapes = PROGRAMS[name]
    inputs = inputs_for(shapes, {})

    def outputs(scan: Any) -> list[Any]:
        found = derivatives(lambda lib, _, *arrays: program(lib, scan, *arrays), inputs)
        further = [found["jvp"], found["jvp of grad"]] if name == "backwards" else []
        return flatten([found["value"], found["grad"], *further])

    plain = sf.function(inputs, outputs(sf.scan))
    for remat in (1, 3, True):
        f = sf.function(inputs, outputs(with_options(remat=remat)))
        for n in (0, 1, 2, 3, 7, 12):
            arrays = arrays_for(inputs, {"time": n, "batch": 2})
            close(f(*arrays), plain(*arrays), f"{name}, {remat}, length {n}", 1e-9)


def test_segments_of_a_known_length() -> None:
    w = sf.input("w", (3,), "float64")
    for n in (4, 6, 7):
        rows = sf.input("x", (n, 3), "float64")
        found = []
        for remat in (None, 3):
            last, ys = sf.scan(lambda h, r: (ops.sin(h * r + w),) * 2, w, rows, remat=remat)
            found += [last, ys, *sf.grad(ops.sum(last * ys[1]), [rows, w])]
        half = len(found) // 2
        arrays = arrays_for([rows, w], {})
        values = sf.function([rows, w], found)(*arrays)
        close(values[half:], values[:half], f"length {n}")


def arena_bytes(compiled: Compiled, **sizes: int) -> int:
    table = compiled.g.evaluate(sizes, sizes)
    return compiled.memory.offsets({f"n{i}": n for i, n in enumerate(table)})[1]


def test_segments_save_memory() -> None:
    """Instead of all steps, one segment's, and a carry for each segment."""
    x, w = sf.input("x", ("time", "batch", 8)), sf.param("w", (8, 16))
    u = sf.param("u", (16, 16))

    def memory(remat: Any, time: int) -> int:
        def step(h: Any, row: Any) -> Any:
            return ops.tanh(row @ w + h @ u) * ops.sigmoid(h), None

        last, _ = sf.scan(step, ops.zeros((x.shape[1], 16)), x, remat=remat)
        outputs = [last.sum(), *sf.grad(last.sum(), [w, u])]
        return arena_bytes(compile_graph(outputs), time=time, batch=4)

    assert memory(50, 10_000) < memory(None, 10_000) / 30
    assert memory(True, 10_000) < memory(None, 10_000) / 30
    assert memory(True, 40_000) < 3 * memory(True, 10_000)


@pytest.mark.parametrize("remat", [2, True])
def test_segments_on_shards(remat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch)
    one = train(lambda: recurrent("lstm"), 1)
    for threads in (1, 2):
        assert_close(train(lambda: recurrent("lstm", remat=remat), threads), one)


@pytest.mark.parametrize("reverse", [False, True])
def test_truncated_derivatives(reverse: bool) -> None:
    """No gradient flows back from one run of three steps to the one before."""
    x, u = sf.input("x", (8, 4), "float64"), sf.input("u", (4, 4), "float64")

    def step(h: Any, row: Any) -> Any:
        return ops.tanh(h @ u + row), h

    h, ys = ops.ones((4,), "float64"), {}
    for k, t in enumerate(reversed(range(8)) if reverse else range(8)):
        h, ys[t] = step(ops.stop_gradient(h) if k % 3 == 0 else h, x[t])
    expected = ops.sum(h) + ops.sum(ops.stack([ys[t] for t in range(8)]) ** 2)
    arrays = arrays_for([x, u], {})
    wanted = interpret(
        [expected, *sf.grad(expected, [x, u])], dict(zip([x, u], arrays, strict=True))
    )
    for remat in (None, 4):
        start = ops.ones((4,), "float64")
        last, every = sf.scan(step, start, x, reverse=reverse, truncate=3, remat=remat)
        loss = ops.sum(last) + ops.sum(every**2)
        f = sf.function([x, u], [loss, *sf.grad(loss, [x, u])])
        close(f(*arrays), wanted, f"remat={remat}")


@pytest.mark.parametrize("options", [{"remat": 0}, {"remat": 2.5}, {"truncate": 0}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(sf.GraphError, match="a number of steps, at least 1"):
        sf.scan(lambda h, x: (h, None), H, X, **options)
