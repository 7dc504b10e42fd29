"""Functions between guard pages that take special ways: chains, blocks of rows, loops, branches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.runtime.interpreter import interpret
from tests.fuzz.guard_pages.calls import called, dtype_of
from tests.fuzz.guard_pages.case import Array, Case, Count, extent, extents, normal, settings

CLOSE = {"float32": 2e-3, "float64": 1e-9}


def several(
    about: str,
    inputs: list[sf.Node],
    outputs: list[sf.Node],
    fed: list[list[Array]],
    random: Random,
    close: float,
) -> Case:
    """A function called twice with each of several arrays, against NumPy."""

    def work(count: Count) -> list[Array]:
        function = sf.function(inputs, outputs)
        return [y for arrays in fed for _ in range(2) for y in called(function, arrays, count)]

    def expected() -> list[Array]:
        found = [interpret(outputs, dict(zip(inputs, arrays, strict=True))) for arrays in fed]
        return [y for own in found for _ in range(2) for y in own]

    return Case(about, work, expected, close, settings=settings(random))


def chained(random: Random) -> Case:
    """Rows through layers, of which two threads may make one half each."""
    dtype = dtype_of(random)
    names = ["rows", "a", "b", "c", "d"]
    x = sf.input("x", ("rows", "a"), dtype)
    weights = [sf.input(f"w{k}", (names[k + 1], names[k + 2]), dtype) for k in range(3)]
    h = x
    for w in weights:
        h = random.choice((ops.tanh, ops.relu, lambda z: z))(h @ w)
    outputs = [h]
    if random.random() < 0.4:
        outputs = sf.grad(ops.sum(h), [x, *weights])
    sizes = []
    for _ in range(6):
        rows = random.choice((0, 1, 15, 16, 17, 31, 33, 64, 127, 200))
        sizes.append([rows, *(extent(random, 257) for _ in range(4))])
    fed = []
    for rows, *widths in sizes:
        shapes = [(rows, widths[0]), *pairwise(widths)]
        fed.append([normal(k, s, dtype) / max(s[0], 1) ** 0.5 for k, s in enumerate(shapes)])
    return several(f"chain {dtype} of {sizes}", [x, *weights], outputs, fed, random, CLOSE[dtype])


def by_rows(random: Random) -> Case:
    """A matrix that is read in blocks of rows, by two threads where it is large."""
    dtype = dtype_of(random)
    x, t = sf.input("x", ("n", "m"), dtype), sf.input("t", ("m",), dtype)
    y, v = sf.input("y", ("n",), dtype), sf.input("v", ("m",), dtype)
    z = x @ t
    loss = ops.mean(ops.softplus(z) - y * z)
    forms: dict[str, Callable[[], Any]] = {
        "gradient": lambda: sf.grad(loss, t),
        "curvature": lambda: sf.hvp(loss, t, v),
        "left": lambda: (ops.tanh(z) * y) @ x,
        "two steps": lambda: ops.sin(x @ (ops.tanh(z) @ x)) @ x,
        "other order": lambda: (ops.flip(ops.tanh(z)) + y) @ x,
    }
    name = random.choice(sorted(forms))
    sizes = [extents(random, 2, 2049, 1 << 18) for _ in range(6)]
    fed = []
    for n, m in sizes:
        shapes = ((n, m), (m,), (n,), (m,))
        own = [normal(k, shape, dtype) for k, shape in enumerate(shapes)]
        own[0] /= np.asarray((n * m) ** 0.5, dtype)
        fed.append(own)
    about = f"{name} {dtype} of {sizes}"
    return several(about, [x, t, y, v], [forms[name]()], fed, random, CLOSE[dtype])


def controlled(random: Random) -> Case:
    """Branches and loops whose number of steps is found on the way, with derivatives."""
    dtype = dtype_of(random)
    x, w = sf.input("x", ("n",), dtype), sf.input("w", ("n",), dtype)

    def doubled() -> sf.Node:
        return sf.while_loop(
            lambda u: ops.sum(u * u) < 900.0, lambda u: 1.5 * u + 0.1 * w, x, max_steps=25
        )

    def branched() -> sf.Node:
        return sf.cond(ops.sum(x) > 0, lambda: ops.tanh(x[None] @ ops.outer(w, w))[0], lambda: x)

    y = {"loop": doubled, "branch": branched}
    name = random.choice(sorted(y))
    made = y[name]()
    outputs = [made, *sf.grad(ops.sum(ops.sin(made)), [x, w])]
    fed = []
    for k in range(6):
        n = extent(random, 257)
        fed.append([normal(k, (n,), dtype), np.abs(normal(k + 9, (n,), dtype)) + 0.1])
    sizes = [len(own[0]) for own in fed]
    return several(f"{name} {dtype} of {sizes}", [x, w], outputs, fed, random, CLOSE[dtype])


def derived(random: Random) -> Case:
    """Jacobians and Hessians, which run backwards or forwards many times."""
    dtype = dtype_of(random)
    x, a = sf.input("x", ("n",), dtype), sf.input("a", ("m", "n"), dtype)
    y = ops.tanh(a @ x)
    forms: dict[str, Callable[[], sf.Node]] = {
        "jacobian": lambda: sf.jacobian(y, x),
        "hessian": lambda: sf.hessian(ops.sum(y * y), x),
        "jvp": lambda: sf.jvp(y, [x], [ops.ones_like(x)]),
        "cumsum": lambda: ops.cumsum(a, axis=1) * ops.sort(x),
    }
    name = random.choice(sorted(forms))
    sizes = [extents(random, 2, 33, 1 << 10) for _ in range(6)]
    fed = [[normal(k, (n,), dtype), normal(k, (m, n), dtype)] for k, (n, m) in enumerate(sizes)]
    return several(f"{name} {dtype} of {sizes}", [x, a], [forms[name]()], fed, random, CLOSE[dtype])
