"""The words in which ops check themselves: what a graph from a file must hold to be one of ours.

Functions that users call check what they are given, and say so at the user's line. An op's `check`
says the same of the op itself, for graphs that no function has made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.dims import AnyDim
from staticflow.graph.types import DTYPES, FLOATS, INTEGERS, TensorType

DOMAINS = {
    "any": DTYPES,
    "number": (*FLOATS, *INTEGERS),
    "float": FLOATS,
    "integer": (*INTEGERS, "bool"),
    "whole": INTEGERS,
    "bool": ("bool",),
}


def require(holds: object, what: str) -> None:
    """Refuse, in words, what does not hold."""
    if not holds:
        fail(GraphError, what, do="load it with the version that saved it")


def require_operands(name: str, xs: Sequence[Any], count: int, domain: str = "any") -> None:
    """So many arrays of one dtype, which is of the domain."""
    require(len(xs) == count, f"{name} takes {count} arrays, not {len(xs)}")
    require(all(isinstance(x, TensorType) for x in xs), f"{name} takes arrays")
    require(len({x.dtype for x in xs}) < 2, f"{name} takes arrays of one dtype")
    if xs:
        require(xs[0].dtype in DOMAINS[domain], f"{name} does not take {xs[0].dtype}")


def require_axis(name: str, axis: int, rank: int) -> None:
    """An axis of an array of that rank."""
    require(0 <= axis < rank, f"{name}: there is no axis {axis} of {rank}")


def require_axes(name: str, axes: Sequence[int], rank: int) -> None:
    """Ascending axes of an array of that rank."""
    inside = all(0 <= axis < rank for axis in axes)
    require(inside and sorted(set(axes)) == list(axes), f"{name}: no axes of {rank}: {axes}")


def require_matrices(name: str, xs: Sequence[TensorType], square: bool) -> None:
    """Arrays of two axes or more, of equal sizes if they are square."""
    for x in xs:
        require(x.ndim >= 2, f"{name} takes matrices, not {x}")
        require(not square or x.shape[-1] == x.shape[-2], f"{name} takes square matrices, not {x}")


def is_size(n: AnyDim) -> bool:
    """Whether a size is named, or an integer that is no less than nothing."""
    return not isinstance(n, int) or n >= 0


def as_float(value: Any) -> float | None:
    """A number as a float, infinite if it is too large for one; None for text and what is none."""
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None
