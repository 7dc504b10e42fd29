"""What a node's value is: a shape and a dtype, with NumPy's broadcasting and promotion.

Two deviations from NumPy, as in JAX and PyTorch: a Python scalar never promotes, and an integer or
boolean beside a float keeps the float's dtype (NumPy would make float64 of int32 and float32).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, ShapeError, fail
from staticflow.graph.dims import AnyDim, as_dim

FLOATS = ("float32", "float64")
INTEGERS = ("int32", "int64")
DTYPES = (*FLOATS, *INTEGERS, "bool")
Shape = tuple[AnyDim, ...]


@dataclass(frozen=True)
class TensorType:
    """The type of a node: `float32[batch, 784]`."""

    shape: Shape
    dtype: str

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def with_shape(self, shape: Shape) -> TensorType:
        return TensorType(shape, self.dtype)

    def with_dtype(self, dtype: str) -> TensorType:
        return TensorType(self.shape, dtype)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def as_shape(dims: object) -> Shape:
    """Read a shape as the user writes it; a single dimension stands for a vector."""
    entries = tuple(dims) if isinstance(dims, tuple | list) else (dims,)
    try:
        return tuple(as_dim(d) for d in entries)
    except ValueError as error:
        fail(ShapeError, str(error), got=f"shape {dims!r}", do="use ints and names in a tuple")


def as_dtype(dtype: object) -> str:
    """Read a dtype: one of staticflow's five, by name or as NumPy's."""
    try:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        fail(DTypeError, f"dtype {name} is not supported", do=f"use one of {', '.join(DTYPES)}")
    return str(name)


def promote(dtypes: Sequence[str]) -> str:
    """The common dtype: the widest float if there is any float, else NumPy's."""
    floats = [d for d in dtypes if d in FLOATS]
    return np.result_type(*(floats or dtypes)).name


def broadcast_shapes(shapes: Sequence[Shape], what: str) -> Shape:
    """NumPy's broadcasting; a named dimension equals only itself, and never stretches."""
    rank = max((len(s) for s in shapes), default=0)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    out: list[AnyDim] = []
    for axis in range(rank):
        sizes = {s[axis] for s in padded if s[axis] != 1}
        if len(sizes) > 1:
            fail(
                ShapeError,
                f"{what}: shapes do not broadcast at axis {axis - rank}",
                got=" and ".join("(" + ", ".join(map(str, s)) + ")" for s in shapes),
                do="make the sizes equal, or 1, or give equal dimensions equal names",
            )
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, of Python or of NumPy; True and False are none."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool | np.bool_)


def normalise_axis(axis: int, rank: int, what: str) -> int:
    """Turn a possibly negative axis into 0..rank-1."""
    if not is_whole(axis):
        fail(ShapeError, f"{what}: an axis is an integer here", got=repr(axis))
    axis = operator.index(axis)
    if not -rank <= axis < rank:
        fail(ShapeError, f"{what}: axis {axis} is out of range for {rank} dimensions")
    return axis % rank


def normalise_axes(axis: object, rank: int, what: str) -> tuple[int, ...]:
    """Axes as NumPy takes them: None for all, an int, or a tuple; sorted, without repeats."""
    if axis is None:
        return tuple(range(rank))
    entries = axis if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(sorted(normalise_axis(a, rank, what) for a in entries))
    if len(set(axes)) != len(axes):
        fail(ShapeError, f"{what}: an axis is given twice", got=str(axis))
    return axes
