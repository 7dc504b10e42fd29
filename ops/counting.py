"""Values that follow from an element's position or from a size: the axis index, and sizes.

They are computed where they are used, so that a mask, a one-hot row or the divisor of a mean needs
no array, and no size becomes part of the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.graph.dims import AnyDim, product
from staticflow.graph.kinds import IndexMap
from staticflow.graph.node import Array, Axes, Classes, Node, OutType, apply
from staticflow.graph.require import is_size, require, require_operands
from staticflow.graph.types import DTYPES, Shape, TensorType
from staticflow.ops.views import spread


class _OfSize(IndexMap):
    """A value that a size makes, in a dtype."""

    dim: AnyDim
    dtype: str

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 0)
        require(
            self.dtype in DTYPES and is_size(self.dim), f"{self.name}: {self.dtype}[{self.dim}]"
        )

    def sizes(self) -> tuple[AnyDim, ...]:
        return (self.dim,)

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.dtype)

    def attributes(self) -> str:
        return str(self.dim)


@dataclass(frozen=True)
class Iota(_OfSize):
    """0, 1, 2, ... `dim - 1`."""

    dim: AnyDim
    dtype: str
    counts = True

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType((self.dim,), self.dtype)

    def reference(self, *xs: Array) -> Any:
        assert isinstance(self.dim, int)
        return np.arange(self.dim, dtype=self.dtype)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return (classes.fresh(self.dim),)


@dataclass(frozen=True)
class SizeOf(_OfSize):
    """The size `dim` as a number: of all rows, also where they are computed in shards."""

    dim: AnyDim
    dtype: str
    whole_size = True

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType((), self.dtype)

    def reference(self, *xs: Array) -> Any:
        return np.asarray(self.dim, self.dtype)

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return ()


def iota(dim: AnyDim, dtype: str = "int64") -> Node:
    """The vector 0 ... dim - 1."""
    return apply(Iota(dim, dtype))


def iota_like(shape: Shape, axis: int, dtype: str = "int64") -> Node:
    """For each element of `shape`, its index along `axis`."""
    return spread(iota(shape[axis], dtype), shape, (axis,))


def count(shape: Shape, axes: tuple[int, ...], dtype: str) -> Node:
    """How many elements a reduction of `shape` along `axes` takes together."""
    return apply(SizeOf(product(shape[axis] for axis in axes), dtype))
