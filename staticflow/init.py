"""Initial values of parameters: functions `f(rng, shape) -> array`, and the names for them.

Call an initializer with settings to get another one: `sf.init.normal(std=0.02)`. A matrix has the
shape (fan in, fan out); axes before these count as positions, as in a convolution.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import DTypeError, GraphError, NumericsError, ShapeError, fail

Array = NDArray[Any]
Rng = np.random.Generator
Sizes = tuple[int, ...]
Draw = Callable[..., NDArray[np.float64]]

_DRAWS: dict[str, Draw] = {}


@dataclass(frozen=True)
class Initializer:
    """A named initializer and its settings; a value that compares, prints and can be saved."""

    name: str
    settings: tuple[tuple[str, float], ...] = ()

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """`f(rng, shape)` draws a float64 array; `f(settings)` gives another initializer."""
        draw = _DRAWS[self.name]
        if args and isinstance(args[0], Rng):
            return draw(*args, **(dict(self.settings) | settings))
        bound = inspect.signature(draw).bind(None, (), *args, **settings)
        given = {name: float(value) for name, value in list(bound.arguments.items())[2:]}
        return Initializer(self.name, tuple(sorted((dict(self.settings) | given).items())))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value:g}" for name, value in self.settings)
        return f"{self.name}({settings})" if settings else self.name


def _initializer(draw: Draw) -> Initializer:
    _DRAWS[draw.__name__] = draw
    return Initializer(draw.__name__)


@_initializer
def zeros(rng: Rng, shape: Sizes) -> NDArray[np.float64]:
    """All 0."""
    return np.zeros(shape)


@_initializer
def ones(rng: Rng, shape: Sizes) -> NDArray[np.float64]:
    """All 1."""
    return np.ones(shape)


@_initializer
def constant(rng: Rng, shape: Sizes, value: float = 0.0) -> NDArray[np.float64]:
    """All `value`."""
    return np.full(shape, value)


@_initializer
def normal(rng: Rng, shape: Sizes, *, mean: float = 0.0, std: float = 0.05) -> NDArray[np.float64]:
    """Normal numbers; name the settings, since libraries differ in their order."""
    return rng.normal(mean, std, shape)


@_initializer
def uniform(rng: Rng, shape: Sizes, low: float = -0.05, high: float = 0.05) -> NDArray[np.float64]:
    """Uniform numbers in [low, high)."""
    return rng.uniform(low, high, shape)


@_initializer
def glorot_uniform(rng: Rng, shape: Sizes, gain: float = 1.0) -> NDArray[np.float64]:
    """Uniform within gain * sqrt(6 / (fan in + fan out)), for tanh and linear layers."""
    return _symmetric(rng, shape, gain * math.sqrt(6 / max(sum(_fans(shape)), 1)))


@_initializer
def glorot_normal(rng: Rng, shape: Sizes, gain: float = 1.0) -> NDArray[np.float64]:
    """Normal with deviation gain * sqrt(2 / (fan in + fan out))."""
    return rng.normal(0.0, gain * math.sqrt(2 / max(sum(_fans(shape)), 1)), shape)


@_initializer
def he_uniform(rng: Rng, shape: Sizes, gain: float = math.sqrt(2)) -> NDArray[np.float64]:
    """Uniform within gain * sqrt(3 / fan in), for relu and its kin."""
    return _symmetric(rng, shape, gain * math.sqrt(3 / max(_fans(shape)[0], 1)))


@_initializer
def he_normal(rng: Rng, shape: Sizes, gain: float = math.sqrt(2)) -> NDArray[np.float64]:
    """Normal with deviation gain / sqrt(fan in)."""
    return rng.normal(0.0, gain / math.sqrt(max(_fans(shape)[0], 1)), shape)


@_initializer
def lecun(rng: Rng, shape: Sizes) -> NDArray[np.float64]:
    """Normal with deviation 1 / sqrt(fan in), for selu."""
    return rng.normal(0.0, 1 / math.sqrt(max(_fans(shape)[0], 1)), shape)


@_initializer
def orthogonal(rng: Rng, shape: Sizes, gain: float = 1.0) -> NDArray[np.float64]:
    """Orthonormal columns, or rows if it is wide; all axes but the last count as one."""
    if len(shape) < 2:
        fail(ShapeError, "init orthogonal: takes a matrix", got=f"shape {shape}")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall = rng.normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # else the signs are LAPACK's, and not uniform
    return np.asarray(gain * (q if rows >= columns else q.T).reshape(shape), np.float64)


NAMES = tuple(_DRAWS)


@dataclass(frozen=True, eq=False)
class ByMember:
    """Initial values (members, *shape) for a session of so many members."""

    values: Array

    def __call__(self, rng: Rng, shape: Sizes) -> Array:
        fail(
            GraphError,
            f"initial values are given for each of {len(self.values)} members",
            do=f"make the session with members={len(self.values)}",
        )


def by_member(values: Any) -> ByMember:
    """Initial values with a leading axis of members, see `Session(members=n)`."""
    return ByMember(np.asarray(values))


def initialise(init: Any, rng: Rng, shape: Sizes, dtype: str, name: str = "init") -> Array:
    """The initial value that `init` stands for, a new contiguous array of `shape` and `dtype`.

    `init` is a name, a number, an array or `f(rng, shape)`; `name` says in messages whose it is.
    Raises GraphError, ShapeError, DTypeError or NumericsError for what cannot be one.
    """
    made = resolve(init, name)
    drawn = made(rng, shape) if callable(made) else made
    try:
        value = np.asarray(drawn)
    except ValueError as error:
        fail(ShapeError, f"{name}: the initial value is not an array: {error}")
    if value.shape != shape and (callable(made) or value.shape):
        fail(
            ShapeError,
            f"{name}: the initial value's shape differs from the declared one",
            got=f"{value.shape} for {shape}",
        )
    return _converted(np.broadcast_to(value, shape), dtype, name)


def resolve(init: Any, name: str = "init") -> Any:
    """The initializer that a name stands for; anything else as it is."""
    if not isinstance(init, str):
        return init
    if init not in _DRAWS:
        near = difflib.get_close_matches(init, NAMES, 1)
        hint = f"did you mean {near[0]!r}? The" if near else "the"
        fail(
            GraphError,
            f"{name}: there is no initializer {init!r}",
            do=f"{hint} names are {', '.join(NAMES)}",
        )
    return Initializer(init)


def _converted(value: Array, dtype: str, name: str) -> Array:
    """A copy in `dtype`; what that dtype cannot hold is refused."""
    if value.dtype.kind not in "fiub":
        fail(DTypeError, f"{name}: the initial value must be numeric", got=f"dtype {value.dtype}")
    if not np.isfinite(value).all():
        fail(NumericsError, f"{name}: the initial value has NaN or Inf in it")
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.array(value, dtype=dtype, order="C")
    exact = np.isfinite(result) if result.dtype.kind == "f" else result == value
    if not exact.all():
        fail(
            DTypeError,
            f"{name}: {dtype} cannot hold the initial value",
            got=f"{value[~exact].ravel()[0]} at {tuple(map(int, np.argwhere(~exact)[0]))}",
        )
    return result


def _fans(shape: Sizes) -> tuple[int, int]:
    """How many numbers each output sums, and each input feeds."""
    if len(shape) < 2:
        n = math.prod(shape)
        return n, n
    positions = math.prod(shape[:-2])
    return shape[-2] * positions, shape[-1] * positions


def _symmetric(rng: Rng, shape: Sizes, bound: float) -> NDArray[np.float64]:
    return rng.uniform(-bound, bound, shape)


__all__ = ["NAMES", "ByMember", "Initializer", "by_member", "initialise", "resolve", *NAMES]
