"""Recurrent programs written once, for staticflow and for JAX, and their comparison.

A program is a function of a library (`ops` or `jax.numpy`), a `scan`, and its arrays; it returns a
scalar, or a structure of arrays. All of its derivatives are compiled into one function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import staticflow as sf
from staticflow import Node, ops
from staticflow.graph.pytree import flatten
from staticflow.runtime.interpreter import interpret

Array = NDArray[Any]
Program = Callable[..., Any]
TOLERANCE = 1e-10


def inputs_for(shapes: Mapping[str, Sequence[Any]], dtypes: Mapping[str, str]) -> list[Node]:
    """An input for each shape, float64 unless said otherwise."""
    return [sf.input(n, tuple(s), dtypes.get(n, "float64")) for n, s in shapes.items()]


def arrays_for(inputs: Sequence[Node], sizes: Mapping[str, int], seed: int = 0) -> list[Array]:
    """Random arrays of the inputs' shapes."""
    rng = np.random.default_rng(seed)
    arrays = []
    for node in inputs:
        shape = [n if isinstance(n, int) else n.evaluate(sizes) for n in node.shape]
        if node.type.is_float:
            arrays.append(rng.uniform(-0.8, 0.8, shape))
        else:
            arrays.append(rng.integers(0, 3, shape).astype(node.dtype))
    return arrays


def derivatives(program: Program, inputs: Sequence[Node]) -> dict[str, Any]:
    """The value of a scalar program, and its derivatives by the float inputs, as nodes."""
    floats = [x for x in inputs if x.type.is_float]
    y = program(ops, sf.scan, *inputs)
    ones = [ops.ones_like(x) * 0.5 for x in floats]
    gradients = sf.grad(y, floats)
    squares = _sum([ops.sum(g * g) for g in gradients])
    return {
        "value": y,
        "grad": gradients,
        "jvp": sf.jvp(y, floats, ones),
        "jvp of grad": sf.hvp(y, floats, ones[0]) if len(floats) == 1 else [
            sf.jvp(g, floats, ones) for g in gradients
        ],
        "grad of grad": sf.grad(squares, floats),
        "grad of jvp": sf.grad(sf.jvp(y, floats, ones), floats),
    }  # fmt: skip


def jax_derivatives(program: Program, kinds: Sequence[bool]) -> Callable[..., dict[str, Any]]:
    """The same by JAX; `kinds` says which arguments are floats."""
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    positions = tuple(i for i, is_float in enumerate(kinds) if is_float)

    def compute(*arrays: Any) -> dict[str, Any]:
        def scalar(*floats: Any) -> Any:
            full = list(arrays)
            for i, x in zip(positions, floats, strict=True):
                full[i] = x
            return program(jnp, jax.lax.scan, *full)

        given = [jnp.asarray(arrays[i]) for i in positions]
        ones = [jnp.full_like(x, 0.5) for x in given]
        every = tuple(range(len(given)))
        gradient = jax.grad(scalar, every)

        def along(*floats: Any) -> Any:
            return jax.jvp(scalar, floats, tuple(ones))[1]

        def squares(*floats: Any) -> Any:
            return sum((g * g).sum() for g in gradient(*floats))

        return {
            "value": scalar(*given),
            "grad": list(gradient(*given)),
            "jvp": along(*given),
            "jvp of grad": list(jax.jvp(gradient, tuple(given), tuple(ones))[1]),
            "grad of grad": list(jax.grad(squares, every)(*given)),
            "grad of jvp": list(jax.grad(along, every)(*given)),
        }

    return jax.jit(compute)  # type: ignore[no-any-return]


ALL = ("value", "grad", "jvp", "jvp of grad", "grad of grad", "grad of jvp")


def check_program(
    program: Program,
    shapes: Mapping[str, Sequence[Any]],
    sizes: Sequence[Mapping[str, int]],
    dtypes: Mapping[str, str] | None = None,
    compiled: Sequence[str] = ALL,
) -> None:
    """Compare compiled code with the interpreter, for all sizes, and with JAX for the last."""
    inputs = inputs_for(shapes, dtypes or {})
    outputs = derivatives(program, inputs)
    function = sf.function(inputs, {name: outputs[name] for name in compiled})
    for size in sizes:
        arrays = arrays_for(inputs, size)
        env = dict(zip(inputs, arrays, strict=True))
        last = size is sizes[-1]
        told = interpret(flatten(outputs if last else function.outputs), env)
        got = function(*arrays)
        found = [value for name in compiled for value in as_list(got[name])]
        close(found, told[: len(found)], f"compiled, {compiled} at {dict(size)}")
    by_jax = jax_derivatives(program, [x.type.is_float for x in inputs])(*arrays)
    told = iter(told)
    for name, nodes in outputs.items():
        close([next(told) for _ in as_list(nodes)], as_list(by_jax[name]), f"{name} and JAX's")


def close(
    found: Sequence[Any], expected: Sequence[Any], what: str, tolerance: float = TOLERANCE
) -> None:
    """Equal up to rounding."""
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert np.shape(a) == np.shape(b), f"{what}, {k}"
        np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=f"{what}, number {k}")


def as_list(value: Any) -> list[Any]:
    """A list or tuple as a list, anything else as its only entry."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _sum(terms: Sequence[Node]) -> Node:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
