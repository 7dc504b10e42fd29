"""Runs, functions and jitted functions between guard pages, with whatever sizes and options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import models, ops
from staticflow.graph.leaves import Input
from staticflow.graph.pytree import flatten
from staticflow.graph.traversal import leaves
from staticflow.runtime.interpreter import interpret
from tests.fuzz.graphs.maker import (
    make_graph,
    outputs_of,
    sizes_for,
    tolerance,
    values_for,
    with_gradients,
)
from tests.fuzz.guard_pages.case import (
    THREADS,
    Array,
    Case,
    Count,
    extent,
    extents,
    normal,
    settings,
)
from tests.fuzz.guard_pages.pages import fed, part_entries, spoil
from tests.ops.cases.table import CASES
from tests.support.finite_differences import leaves_for

REPEATED = 30  # calls of few rows: helpers have to wake up before they come
BEYOND = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33)  # sizes of random graphs


def dtype_of(random: Random) -> str:
    return random.choice(("float32", "float64"))


def called(function: Callable[..., Any], arrays: Sequence[Array], count: Count) -> list[Array]:
    """What a compiled function gives for arrays between pages."""
    count.calls += 1
    return [np.array(y) for y in flatten_arrays(function(*(fed(a) for a in arrays)))]


def flatten_arrays(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [array for entry in value for array in flatten_arrays(entry)]
    return [value]


def runs(random: Random) -> Case:
    """A net at many numbers of rows: on all threads, in pieces, by the long way and by both."""
    dtype = dtype_of(random)
    sizes = extents(random, random.randint(2, 4), 1025, 1 << 17)
    x = sf.input("x", ("batch", sizes[0]), dtype)
    y = models.FNN(sizes, activation=random.choice(("relu", "tanh")), norm="layer")(x)
    threads = random.choice(THREADS)
    most = max(1, min(300, (1 << 22) // max(1, sizes[0] * max(sizes))))
    counts = [extent(random, most) for _ in range(random.randint(3, 20))]

    def work(count: Count) -> list[Array]:
        session = sf.Session(outputs={"y": y, "sum": ops.sum(y, axis=-1)}, threads=threads, seed=2)
        spoil(session)
        found = []
        for k, rows in enumerate(counts):
            array = fed(normal(k, (rows, sizes[0]), dtype))
            times = REPEATED if rows < 40 else 2
            found += [np.array(session.run("y", {"x": array})) for _ in range(times)]
            found += session.run(["sum", "y"], {"x": array})
            count.calls += 2  # however often it is repeated
        return found

    about = f"runs of {sizes} {dtype}, {threads} threads, rows {counts}"
    return Case(about, work, settings=settings(random))


def products(random: Random) -> Case:
    """Matrix products of all layouts, in chains, with what can be done to their results."""
    dtype = dtype_of(random)
    a, b, c = (sf.input(n, s, dtype) for n, s in (
        ("a", ("m", "k")), ("b", ("k", "n")), ("c", ("n", "m"))
    ))  # fmt: skip
    forms: dict[str, Callable[[], sf.Node]] = {
        "ab": lambda: a @ b,
        "relu(ab)": lambda: ops.relu(a @ b + ops.sum(b, axis=0)),
        "a'c'": lambda: a.T @ c.T,
        "ac'": lambda: a.T @ (a @ b),
        "b'b": lambda: b.T @ b,
        "abc": lambda: ops.tanh(a @ b) @ c,
        "a'a b": lambda: (a.T @ a) @ b,
        "column": lambda: (a @ b)[:, :1] + a[:, :1],
        "gradient": lambda: sf.grad(ops.sum(ops.tanh(a @ b @ c)), a),
        "batch": lambda: ops.stack([a, 2.0 * a]) @ ops.stack([b, b + 1.0]),
    }
    names = random.sample(sorted(forms), 3)
    outputs = [forms[name]() for name in names]
    sizes = [extents(random, 3, 1025, 1 << 21) for _ in range(6)]

    def work(count: Count) -> list[Array]:
        function, found = sf.function([a, b, c], outputs), []
        for m, n, k in sizes:
            arrays = [normal(m + n, s, dtype) for s in ((m, k), (k, n), (n, m))]
            found += called(function, arrays, count)
            found += called(function, arrays, count)
        return found

    return Case(f"products {names} {dtype} of {sizes}", work, settings=settings(random))


def algebra(random: Random) -> Case:
    """Linear algebra at run-time sizes, and its derivatives."""
    dtype = dtype_of(random)
    a, b = sf.input("a", ("n", "n"), dtype), sf.input("b", ("n", "m"), dtype)
    forms: dict[str, Callable[[], Any]] = {
        "inv": lambda: ops.inv(a),
        "det": lambda: ops.det(a),
        "slogdet": lambda: ops.slogdet(a)[1],
        "solve": lambda: ops.solve(a, b),
        "lower": lambda: ops.solve_triangular(a, b, lower=True),
        "upper": lambda: ops.solve_triangular(a, b, trans=True),
        "cholesky": lambda: ops.cholesky(a @ a.T),
        "pinv": lambda: ops.pinv(a),
        "qr": lambda: ops.qr(a)[1],
        "eigvalsh": lambda: ops.eigvalsh(a + a.T),
        "svdvals": lambda: ops.svdvals(a),
        "expm": lambda: ops.expm(0.1 * a),
        "batch": lambda: ops.inv(ops.stack([a, 2.0 * a])),
    }
    name = random.choice(sorted(forms))
    y = forms[name]()
    outputs = [y]
    if name not in ("svdvals", "eigvalsh", "pinv", "expm"):
        outputs += sf.grad(ops.sum(y), [a])
    sizes = [extents(random, 2, 65, 1 << 11) for _ in range(6)]

    def work(count: Count) -> list[Array]:
        function, found = sf.function([a, b], outputs), []
        for n, m in sizes:
            regular = normal(n, (n, n), dtype) / n**0.5 + 3.0 * np.eye(n, dtype=dtype)
            found += called(function, [regular, normal(m, (n, m), dtype)], count)
        return found

    close = 1e-4 if dtype == "float32" else 1e-10
    about = f"{name} {dtype} of {sizes}"
    return Case(about, work, equal=close, settings=settings(random))


def jitted(random: Random) -> Case:
    """A network as a function for jitted code, with every temporary by itself."""
    dtype = dtype_of(random)
    sizes = extents(random, random.randint(2, 3), 257, 1 << 15)
    x = sf.input("x", ("batch", sizes[0]), dtype)
    y = models.FNN(sizes, activation="tanh")(x)
    outputs = random.choice((y, sf.grad(ops.sum(ops.square(y)), x)))
    most = max(1, min(129, (1 << 21) // max(1, sizes[0] * max(sizes))))
    counts = [extent(random, most) for _ in range(6)]

    def work(count: Count) -> list[Array]:
        session = sf.Session(outputs={"y": outputs}, seed=2)
        function = session.jit("y")
        spoil(session)
        found = []
        for rows in counts:
            array = fed(normal(rows, (rows, sizes[0]), dtype))
            out = fed(np.zeros((rows, int(str(outputs.shape[-1]))), dtype), writable=True)
            for _ in range(2):  # the second time with buffers by themselves
                function(array, out)
                found.append(np.array(out))
                part_entries()
            count.calls += 2
        return found

    return Case(f"jit of {sizes} {dtype}, rows {counts}", work, settings=settings(random))


def tabled(random: Random) -> Case:
    """Cases of the table of ops, several in a program, with derivatives where they are smooth."""
    chosen = random.sample(CASES, 8)
    given = [leaves_for(case.inputs) for case in chosen]
    outputs: list[Any] = []
    for k, (case, xs) in enumerate(zip(chosen, given, strict=True)):
        xs = given[k] = [sf.input(f"x{k}_{i}", x.shape, x.dtype) for i, x in enumerate(xs)]
        ys = flatten(case.call(*xs))
        outputs += ys
        floats = [x for x in xs if x.dtype == "float64"]
        if case.smooth and floats and ys[0].dtype == "float64":
            outputs += sf.grad(ops.sum(ys[0]), floats)
    inputs = [x for xs in given for x in xs]
    arrays = [np.asarray(a) for case in chosen for a in case.inputs]

    def work(count: Count) -> list[Array]:
        function = sf.function(inputs, outputs)
        return called(function, arrays, count) + called(function, arrays, count)

    def expected() -> list[Array]:
        return 2 * interpret(outputs, dict(zip(inputs, arrays, strict=True)))

    about = f"ops {', '.join(map(str, chosen))}"
    return Case(about, work, expected, 1e-9, settings=settings(random))


def graphs(random: Random) -> Case:
    """A random graph at several sizes, as a function or as runs of rows, against NumPy."""
    lead = random.choice(("", "rows"))
    slopes = not lead and random.random() < 0.4
    exact = not slopes and random.random() < 0.5
    graph = make_graph(random.randrange, "x", random.randint(4, 14), exact, lead)
    outputs = outputs_of(graph)
    outputs = with_gradients(graph, outputs) if slopes else outputs
    threads = random.choice(THREADS)
    sizes = [sizes_for(graph, random.randrange, BEYOND) for _ in range(5)]
    seed = random.randrange(1 << 30)
    values = [values_for(graph, s, np.random.default_rng(seed)) for s in sizes]
    plain = random.random() < 0.5  # arrays in C order, between pages; else in any layout

    def feed(array: Array) -> Array:
        return fed(array) if plain else array

    def work(count: Count) -> list[Array]:
        found: list[Array] = []
        if lead:
            session = sf.Session(outputs=outputs, threads=threads)
            call = session.run
        else:
            function = sf.function(graph.leaves, outputs)
        for own in values:
            for _ in range(2):
                count.calls += 1
                if lead:
                    made = call(outputs, {x: feed(a) for x, a in own.items() if used(x)})
                else:
                    made = function(*(feed(own[x]) for x in graph.leaves))
                found += [np.array(y) for y in made]
        return found

    needed = set(leaves(outputs, Input))

    def used(x: sf.Node) -> bool:
        return x in needed

    def expected() -> list[Array]:
        return [y for own in values for _ in range(2) for y in interpret(outputs, own)]

    limits = [tolerance(graph, outputs, own) for own in values]
    close = max(max(absolute, relative) for relative, absolute in limits)
    about = f"graph {[str(y) for y in outputs]} of {sizes}, {threads} threads"
    return Case(about, work, expected, close, settings=settings(random))


def indexed(random: Random) -> Case:
    """Arrays by arrays of indices, of shapes that may not fit: NumPy's value, or a refusal."""
    rank = random.randint(1, 3)
    axis = random.randrange(rank)
    here = [random.choice((1, 2, 3, 5, 8, 17)) for _ in range(rank)]
    there = [n if random.random() < 0.6 else random.choice((1, 2, 3, 6)) for n in here]
    name = random.choice(("take_along_axis", "take_along_axis", "take", "scatter_add", "getitem"))
    x = sf.input("x", declared(random, "x", here), "float64")
    k = sf.input("k", declared(random, "k", there), "int64")
    numbers = np.random.default_rng(random.randrange(99))
    data = [
        numbers.standard_normal(here),
        numbers.integers(-here[axis], here[axis], there),
        numbers.standard_normal([*here[:axis], *there, *here[axis + 1 :]]),
    ]
    v = sf.input("v", declared(random, "v", list(data[2].shape)), "float64")
    forms: dict[str, Callable[[], sf.Node]] = {
        "take_along_axis": lambda: ops.take_along_axis(x, k, axis=axis),
        "take": lambda: ops.take(x, k, axis=axis),
        "scatter_add": lambda: ops.scatter_add(x, k, v, axis=axis),
        "getitem": lambda: x[k],
    }

    def numpys() -> Array:
        x, k, v = data
        if name == "scatter_add":
            x = x.copy()
            np.add.at(x, (slice(None),) * axis + (k,), v)
            return x
        if name == "getitem":
            return np.asarray(x[k])
        return np.asarray(getattr(np, name)(x, k, axis=axis))

    def work(count: Count) -> list[Array]:
        try:
            y = forms[name]()
            function = sf.function([x, k, v], [y, *sf.grad(ops.sum(y * y), [x])])
            return called(function, data, count)
        except (sf.ShapeError, sf.GraphError):
            return []

    def expected() -> list[Array]:
        try:
            return [numpys(), slope(numpys, data[0])]
        except (IndexError, ValueError) as error:
            raise AssertionError(f"not refused, as by NumPy: {error}") from error

    about = f"{name} of {x.type} by {k.type}, axis {axis}, fed {here} by {there}"
    return Case(about, work, expected, 1e-6, settings=settings(random))


def declared(random: Random, name: str, shape: list[int]) -> tuple[Any, ...]:
    """Some of the sizes as names."""
    return tuple(f"{name}{axis}" if random.random() < 0.4 else n for axis, n in enumerate(shape))


def slope(function: Callable[[], Array], x: Array) -> Array:
    """The derivatives of the sum of squares by x, which the function reads, by differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        old, sums = x[place], []
        for step in (1e-4, -1e-4):
            x[place] = old + step
            sums.append(float((function() ** 2).sum()))
        x[place] = old
        found[place] = (sums[0] - sums[1]) / 2e-4
    return found
