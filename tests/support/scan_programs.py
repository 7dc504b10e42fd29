"""Programs with scans, written for NumPy's names in any library, and recurrent nets to train."""

from __future__ import annotations

from typing import Any

import numpy as np

import staticflow as sf
from staticflow import ops

ELMAN = {"x": ("time", "batch", 3), "w": (3, 4), "u": (4, 4), "b": (4,), "h": ("batch", 4)}


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


def data(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def recurrent(cell: str, **options: Any) -> Any:
    """A net over sequences of 6 steps, for `train` of sharding.py."""
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
