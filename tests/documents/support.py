"""What the tests of the documents on matrix derivatives share.

Each of them names a statement in its docstring, computes the derivative by the compiled program in
float64, and compares it with the closed form. A derivative of a scalar has the shape of what it is
taken by; one of a vector by a vector has a row for each element of the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import staticflow as sf

RNG = np.random.default_rng(5)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape)


def leaf(name: str, array: Any) -> sf.Node:
    return sf.input(name, np.shape(array), "float64")


def compiled(build: Any, *arrays: Any) -> Any:
    """The values of what `build` makes of nodes, for the given arrays."""
    xs = [leaf(f"x{k}", a) for k, a in enumerate(arrays)]
    return sf.function(xs, build(*xs))(*arrays)


def close(actual: Any, expected: Any) -> None:
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


def differential(build: Any, arrays: Any, changes: Any) -> Any:
    """d f for the given changes of the arguments."""
    return compiled(lambda *xs: sf.jvp(build(*xs), list(xs), list(changes)), *arrays)
