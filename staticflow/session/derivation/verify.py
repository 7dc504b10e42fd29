"""Lines compared at random points: all those of one quantity have one value, and df is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from staticflow.autodiff.derivatives import grad
from staticflow.autodiff.jacobian import jacobian
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import evaluate, names_of
from staticflow.graph.leaves import Const, Leaf
from staticflow.graph.node import Array, Node
from staticflow.graph.traversal import toposort
from staticflow.ops import sum as total
from staticflow.runtime.interpreter import interpret
from staticflow.session.derivation.expr import (
    Expr,
    symbol,
)
from staticflow.session.derivation.reader import GraphReader
from staticflow.session.derivation.steps import Step
from staticflow.session.derivation.values import Values

POINTS = 3
SIZES = (3, 4, 5, 6, 7)  # what named dimensions are, in turn
ONE_STEP = "one step of the scan"  # the rule of lines whose deltas are symbols of any value
LARGEST = 1e6  # of a function and its derivative, where it can be compared
TOLERANCE = 1e-7
# Of the graph's own derivative, which is computed in the graph's dtype, to its largest element.
GRAPH_TOLERANCE = {"float64": TOLERANCE, "float32": 1e-4}


def verify(f: Node, X: Node, steps: Sequence[Step], reader: GraphReader) -> None:
    """Raises GraphError if a line's value differs from that of the line before."""
    first = sizes_of(f, X)
    for sizes in (first, *(other for other in _candidates(f, X) if other != first)):
        try:
            with np.errstate(all="ignore"):
                tried = [_verify_at(s, sizes, f, X, steps, reader) for s in range(POINTS)]
        except np.linalg.LinAlgError:
            continue  # of a matrix that has no inverse if it has so many rows
        if any(tried):
            return
    fail(GraphError, "derive: the lines have no values at the points tried", str(steps[0]))


def _verify_at(
    seed: int,
    sizes: Mapping[str, int],
    f: Node,
    X: Node,
    steps: Sequence[Step],
    reader: GraphReader,
) -> bool:
    """Whether the lines have values at a point, where they are compared."""
    env = points(f, X, np.random.default_rng(seed), sizes)
    values = _values(env, steps, reader, np.random.default_rng(seed), sizes)
    known: dict[str, Array] = {}
    moving = _moving(steps)
    for step in steps:
        if step.expr.head == "sum_t":
            continue  # over steps, each of which the line before has shown
        value = values.toward(moving.get(step.quantity)).of(step.expr)
        if not np.all(np.isfinite(value)):
            return False
        before = known.setdefault(step.quantity, value)
        error = np.abs(value - before).max(initial=0)
        if not error <= TOLERANCE * (1 + np.abs(before).max(initial=0)):
            fail(GraphError, "derive: a line differs from the one before", str(step))
        values.give(symbol(step.quantity, step.expr.shape), value)
    _compare(steps, known, values)
    if not any(step.rule == ONE_STEP for step in steps):
        _compare_with_graph(f, X, steps[-1], values.of(steps[-1].expr), env)
    return True


def _compare_with_graph(
    f: Node, X: Node, last: Step, value: Array, env: Mapping[Node, Array]
) -> None:
    """Raises GraphError if the result is not what the graph's own derivative is."""
    scalar = all(n == 1 for n in f.shape)
    found = grad(total(f), X) if scalar else jacobian(f, X)
    wanted = np.asarray(interpret([found], dict(env))[0])
    if not scalar and f.ndim + X.ndim > 2:  # by columns
        order = [*range(f.ndim)[::-1], *(f.ndim + k for k in range(X.ndim)[::-1])]
        wanted = wanted.transpose(order)
    if wanted.size != value.size:
        return  # of one step of what is scanned over
    either = [value.reshape(wanted.shape), value.T.reshape(wanted.shape)]
    allowed = GRAPH_TOLERANCE[X.dtype] * (1 + np.abs(wanted).max(initial=0))
    if not any((np.abs(x - wanted) <= allowed).all() for x in either):
        fail(GraphError, "derive: the derivative is not that of the graph", str(last))


def _compare(steps: Sequence[Step], known: dict[str, Array], values: Values) -> None:
    """Raises GraphError if df is not the derivative times dX: tr(G' dX), or J dx."""
    change = next((x for step in steps for x in _changes(step.expr)), None)
    if change is None or not {"df", "derivative"} <= known.keys():
        return
    df, g, dx = known.get("dvec", known["df"]), known["derivative"], values.of(change)
    dx = dx.T.reshape(-1, 1) if "dvec" in known else dx
    if dx.size == 1:
        right = np.allclose(g * dx[0, 0], df, TOLERANCE, TOLERANCE)
    elif df.size == 1:
        right = g.shape == dx.shape and np.allclose((g * dx).sum(), df, TOLERANCE, TOLERANCE)
    else:
        right = g.shape[1] == dx.shape[0] and np.allclose(g @ dx, df, TOLERANCE, TOLERANCE)
    if not right:
        fail(GraphError, "derive: the derivative does not make up df", str(steps[-1]))


def _values(
    env: dict[Node, Array],
    steps: Sequence[Step],
    reader: GraphReader,
    rng: np.random.Generator,
    sizes: Mapping[str, int],
) -> Values:
    """The values at a random point, with a random change of every symbol."""
    known = computed(reader, env)
    given = {step.quantity for step in steps}
    for step in steps:
        for x in _symbols(step.expr):
            if x not in known and x.attr not in given:
                shape = tuple(evaluate(n, sizes) for n in x.shape)
                known[x] = np.asarray(rng.normal(size=shape))
    return Values(known, sizes)


def _symbols(x: Expr) -> Iterator[Expr]:
    """The symbols and differentials of symbols: what a value is given for."""
    if x.head in ("symbol", "known") or (x.head == "d" and x.args[0].head == "symbol"):
        yield x
    for a in x.args:
        yield from _symbols(a)


def _moving(steps: Sequence[Step]) -> dict[str, Expr]:
    """The symbol that changes in the lines of a quantity."""
    return {step.quantity: change.args[0] for step in steps for change in _changes(step.expr)}


def _changes(x: Expr) -> Iterator[Expr]:
    """The differentials of symbols in an expression."""
    if x.head == "d" and x.args[0].head == "symbol":
        yield x
    for a in x.args:
        yield from _changes(a)


def sizes_of(f: Node, X: Node) -> dict[str, int]:
    """What named dimensions are: sizes at which f is a number that is not too large.

    X.T @ X has an inverse if X has more rows than columns, and X @ X.T if it has fewer.
    """
    chosen = _candidates(f, X)
    for sizes in chosen:
        with np.errstate(all="ignore"):
            value, slope = _tried(f, X, sizes)
        if np.all(np.abs(value) < LARGEST) and np.all(np.abs(slope) < LARGEST):
            return sizes
    return chosen[0]


def _candidates(f: Node, X: Node) -> list[dict[str, int]]:
    """Named dimensions in growing and in falling order."""
    names = sorted(set(_names(toposort([f, X]))))
    orders = (SIZES, SIZES[: len(names)][::-1])
    return [{name: order[k % len(order)] for k, name in enumerate(names)} for order in orders]


def _tried(f: Node, X: Node, sizes: Mapping[str, int]) -> list[Array]:
    env = points(f, X, np.random.default_rng(0), sizes)
    return interpret([f, grad(total(f), X)], env)


def _names(order: Sequence[Node]) -> list[str]:
    dims = [n for node in order if not isinstance(node.type, tuple) for n in node.shape]
    return [name for dim in dims for name in names_of([dim])]


def points(
    f: Node, X: Node, rng: np.random.Generator, sizes: Mapping[str, int]
) -> dict[Node, Array]:
    """Values of all leaves: positive ones, of square matrices well conditioned."""
    order = toposort([f, X])
    leaves = [n for n in order if isinstance(n.op, Leaf) and not isinstance(n.op, Const)]
    return {leaf: _point(leaf, sizes, rng) for leaf in leaves}


def _point(leaf: Node, sizes: Mapping[str, int], rng: np.random.Generator) -> Array:
    shape = tuple(evaluate(n, sizes) for n in leaf.shape)
    if not leaf.type.is_float:
        return rng.integers(0, 2, shape)
    value = rng.uniform(0.2, 0.9, shape)
    if len(shape) == 2 and shape[0] == shape[1]:
        value += 2 * np.eye(shape[0])
    return value


def computed(reader: GraphReader, env: dict[Node, Array]) -> dict[Expr, Array]:
    """The values of symbols and of what was not taken apart, as matrices."""
    pairs = list(reader.known.items())
    found = interpret([node for _, node in pairs], env)
    return {x: _matrix(value) for (x, _), value in zip(pairs, found, strict=True)}


def _matrix(value: Array) -> Array:
    found = np.asarray(value, np.float64)
    return found if found.ndim == 2 else found.reshape(-1, 1)
