"""Run an op over pairs of shapes, against NumPy: the same value, or a refusal by both.

Sizes are declared in three ways. "fixed": as integers. "named": those other than 1 by a name for
each size, as data do that have equal sizes. "apart": by a name for each axis of each array; what
NumPy asks of them must then be refused when it is declared, or when the arrays are fed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import Node
from staticflow.compiler.passes.simplify import resolve_mode
from staticflow.runtime.interpreter import interpret
from tests.ops.cases.shape_pairs import Array, Pair

WAYS = ("fixed", "named", "apart")
REFUSALS = (sf.ShapeError, sf.GraphError, sf.DTypeError)
SHAPES: tuple[tuple[int, ...], ...] = (
    (), (0,), (1,), (2,), (3,), (1, 1), (1, 3), (3, 1), (2, 3), (3, 2), (3, 3), (0, 3), (2, 0),
    (1, 2, 3), (2, 1, 3), (2, 3, 1), (2, 2, 3), (2, 3, 3), (3, 2, 2), (2, 0, 3), (1, 1, 1),
)  # fmt: skip


def check_pair(pair: Pair, first: tuple[int, ...], second: tuple[int, ...], way: str) -> str:
    """ "value", "refused", or "narrower" where run-time sizes are refused that NumPy would take;
    "undefined" where NumPy objects to a value, not to a shape.

    AssertionError where the op takes what NumPy refuses, has another value, or refuses more than it
    may.
    """
    arrays = _arrays(pair, first, second)
    try:
        expected = _numpys(pair, arrays)
    except ZeroDivisionError:
        return "undefined"
    xs, ys = _declared(pair, arrays, way)
    what = f"{pair} of {first} and {second}, sizes {way}"
    narrower = way == "apart" or (
        way == "named" and (0 in (*first, *second) or bool(pair.integers))
    )  # names say nothing of sizes of 0, and do not equal the integers of others
    try:
        outputs = _nodes(pair.call(*ys))
    except REFUSALS as error:
        assert expected is None or narrower, f"{what}: {error}"
        return "refused" if expected is None else "narrower"
    env = dict(zip(xs, arrays, strict=False))
    if expected is None:
        assert way != "fixed", f"{what}: taken where NumPy refuses"
        _check_refused_when_fed(what, xs, outputs, env)
        return "refused"
    try:
        values = interpret(outputs, env)
    except (ValueError, AssertionError):
        assert way != "fixed", f"{what}: the reference fails"
        _check_refused_when_fed(what, xs, outputs, env)
        return "narrower"
    for found, value in zip(values, expected, strict=True):
        assert found.shape == value.shape, f"{what}: {found.shape} instead of {value.shape}"
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-12, err_msg=what)
    _check_gradients(what, xs, outputs, env)
    return "value"


def check_compiled(pair: Pair, first: tuple[int, ...], second: tuple[int, ...], way: str) -> None:
    """The value and the gradients as machine code are those of the interpreter."""
    arrays = _arrays(pair, first, second)
    xs, ys = _declared(pair, arrays, way)
    outputs = _nodes(pair.call(*ys))
    wrt, floats = ([node for node in nodes if node.type.is_float] for nodes in (xs, outputs))
    if wrt and floats and pair.op != "stop_gradient":
        outputs += sf.grad(_total([sf.ops.sum(y * y) for y in floats]), wrt)
    env = dict(zip(xs, arrays, strict=False))
    found = sf.function(xs, outputs)(*(env[x] for x in xs))
    references = interpret(resolve_mode(outputs, training=False), env)
    for ours, reference in zip(found, references, strict=True):
        np.testing.assert_allclose(
            ours, reference, rtol=1e-9, atol=1e-12, err_msg=f"{pair} of {first} and {second}, {way}"
        )


def _arrays(pair: Pair, first: tuple[int, ...], second: tuple[int, ...]) -> list[Array]:
    rng = np.random.default_rng((7, *first, 7, *second))
    x = rng.uniform(0.5, 2.0, first)
    if pair.op == "searchsorted" and first:
        x = np.sort(x)
    y = rng.uniform(0.5, 2.0, second)
    kinds = {"float": y, "index": rng.integers(-1, 1, second), "mask": y > 1}
    return [x, kinds[pair.second]]


def _numpys(pair: Pair, arrays: Sequence[Array]) -> list[Array] | None:
    """NumPy's values; None if it refuses."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            made = pair.expected(*arrays)
        except (ValueError, IndexError, TypeError, np.exceptions.AxisError):
            return None
    return [np.asarray(v) for v in made] if isinstance(made, tuple | list) else [np.asarray(made)]


def _declared(pair: Pair, arrays: Sequence[Array], way: str) -> tuple[list[Node], list[Any]]:
    """The inputs, and what the op is called with: a mask stays NumPy's."""
    xs: list[Node] = []
    for letter, array in zip("xy", arrays, strict=True):
        if way == "fixed":
            shape: tuple[Any, ...] = array.shape
        else:
            kept = [k % array.ndim for k in pair.integers if -array.ndim <= k < array.ndim]
            names = [f"n{n}" if way == "named" else f"{letter}{k}"
                     for k, n in enumerate(array.shape)]  # fmt: skip
            shape = tuple(n if n == 1 or k in kept else names[k]
                          for k, n in enumerate(array.shape))  # fmt: skip
        xs.append(sf.input(letter, shape, array.dtype))
    if pair.second == "mask":
        return xs[:1], [xs[0], arrays[1]]
    return xs, list(xs)


def _nodes(made: Any) -> list[Node]:
    return list(made) if isinstance(made, tuple | list) else [made]


def _check_refused_when_fed(
    what: str, xs: Sequence[Node], outputs: list[Node], env: dict[Node, Array]
) -> None:
    """Sizes that are known only now are refused before compiled code runs on them."""
    try:
        sf.function(list(xs), outputs)(*(env[x] for x in xs))
    except REFUSALS:
        return
    raise AssertionError(f"{what}: taken where NumPy refuses")


def _check_gradients(
    what: str, xs: Sequence[Node], outputs: list[Node], env: dict[Node, Array]
) -> None:
    """Cotangents have the types of their inputs, and are the transpose of the forward mode."""
    wrt, ys = ([node for node in nodes if node.type.is_float] for nodes in (xs, outputs))
    if not wrt or not ys:
        return
    rng = np.random.default_rng(3)
    try:
        total = _total([sf.ops.sum(y * 0.7) for y in ys])
        gradients = sf.grad(total, wrt)
        moved = [sf.input(f"d{x.name}", x.shape, x.dtype) for x in wrt]
        tangent = sf.jvp(total, wrt, moved)
    except sf.GraphError as error:  # what depends on no float input
        assert "depend" in str(error), f"{what}: {error}"
        return
    for x, g in zip(wrt, gradients, strict=True):
        assert g.type == x.type, f"{what}: a gradient {g.type} by {x.type}"
    tangents = [rng.uniform(-1, 1, env[x].shape) for x in wrt]
    every = {**env, **dict(zip(moved, tangents, strict=True))}
    forward, *backward = interpret([tangent, *gradients], every)
    along = sum(np.vdot(g, v) for g, v in zip(backward, tangents, strict=True))
    if np.isfinite(forward):  # not that of a mean of nothing
        np.testing.assert_allclose(forward, along, rtol=1e-8, atol=1e-9, err_msg=what)


def _total(terms: Sequence[Node]) -> Node:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
