"""Functions of matrices, as staticflow and as JAX compute them, and how the two are compared.

Every case is checked for its value, its derivative in reverse and in forward mode, and its second
derivative as forward over reverse and as reverse over reverse, all in one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import staticflow as sf

Arrays = Sequence[np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Case:
    """`ours(*nodes)` and `theirs(*arrays)` give an array or a tuple of them."""

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    inputs: tuple[np.ndarray[Any, Any], ...]
    second: bool = True


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def weights(case: Case) -> tuple[list[Any], list[Any], list[Any]]:
    """Cotangents of the outputs, and two directions for the inputs."""
    rng = np.random.default_rng(7)
    outputs = _tuple(jax.eval_shape(case.theirs, *case.inputs))
    cotangents = [np.asarray(rng.normal(size=y.shape)) for y in outputs]
    first = [np.asarray(rng.normal(size=x.shape)) for x in case.inputs]
    return cotangents, first, [np.asarray(rng.normal(size=x.shape)) for x in case.inputs]


def compiled(case: Case) -> list[Any]:
    """Outputs, reverse, forward, forward over reverse, reverse over reverse."""
    cotangents, tangents, _ = weights(case)
    xs = [sf.input(f"x{k}", x.shape, "float64") for k, x in enumerate(case.inputs)]
    ys = _tuple(case.ours(*xs))
    loss = sum((c * y).sum() for c, y in zip(cotangents, ys, strict=True))
    gradient = sf.grad(loss, xs)
    results = [*ys, *gradient, *(sf.jvp(y, xs, tangents) for y in ys)]
    if case.second:
        slope = sum((t * g).sum() for t, g in zip(tangents, gradient, strict=True))
        results += [sf.jvp(g, xs, tangents) for g in gradient] + sf.grad(slope, xs)
    values: list[Any] = sf.function(xs, results)(*case.inputs)
    return values


def expected(case: Case) -> list[Any]:
    """The same by JAX."""
    cotangents, tangents, _ = weights(case)

    def loss(*xs: Any) -> Any:
        pairs = zip(cotangents, _tuple(case.theirs(*xs)), strict=True)
        return sum((c * y).sum() for c, y in pairs)

    numbers = tuple(range(len(case.inputs)))
    gradient = jax.grad(loss, numbers)

    def everything(*xs: Any) -> Any:
        ys, moved = jax.jvp(case.theirs, xs, tuple(tangents))
        results = [*_tuple(ys), *gradient(*xs), *_tuple(moved)]
        if case.second:
            change = jax.jvp(gradient, xs, tuple(tangents))[1]
            results += [*change, *change]  # the Hessian is symmetric
        return results

    return list(jax.jit(everything)(*case.inputs))


def check(case: Case, first: float = 1e-10, second: float = 1e-8) -> None:
    """Compare all of it, relative to the largest element."""
    ours, theirs = compiled(case), expected(case)
    assert len(ours) == len(theirs)
    outputs = len(_tuple(jax.eval_shape(case.theirs, *case.inputs)))
    simple = 2 * outputs + len(case.inputs)
    for place, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.shape == b.shape
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        bound = first if place < simple else second
        np.testing.assert_allclose(
            a / scale, b / scale, rtol=0, atol=bound, err_msg=f"part {place}"
        )
