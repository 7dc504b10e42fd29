"""Reductions that pass over NaN; where nothing is left, sums are 0, products 1, the others NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticflow.graph import Node
from staticflow.ops.accumulate import cumprod, cumsum
from staticflow.ops.arithmetic import divide
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes, floating
from staticflow.ops.compare import isnan, logical_not, where
from staticflow.ops.elementwise import sqrt, square
from staticflow.ops.public import public
from staticflow.ops.reductions import all as every
from staticflow.ops.reductions import max as largest
from staticflow.ops.reductions import min as smallest
from staticflow.ops.reductions import prod as product
from staticflow.ops.reductions import sum as total
from staticflow.ops.statistics import argmax, argmin

NAN, INFINITY = float("nan"), float("inf")


def _without(x: Any, value: float) -> Node:
    """x with `value` in place of NaN."""
    node = as_nodes([x])[0]
    return where(isnan(node), value, node) if node.type.is_float else node


def _present(x: Node, axis: Any, keepdims: bool) -> Node:
    """How many elements are not NaN."""
    return total(cast(logical_not(isnan(x)), x.dtype), axis, keepdims)


@public()
def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The sum of the elements that are not NaN."""
    return total(_without(x, 0.0), axis, keepdims)


@public()
def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The product of the elements that are not NaN."""
    return product(_without(x, 1.0), axis, keepdims)


@public()
def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The largest of the elements that are not NaN."""
    return _extreme("nanmax", x, axis, keepdims)


@public()
def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The smallest of the elements that are not NaN."""
    return _extreme("nanmin", x, axis, keepdims)


def _extreme(what: str, x: Any, axis: Any, keepdims: bool) -> Node:
    reduce, worst = (largest, -INFINITY) if what == "nanmax" else (smallest, INFINITY)
    node = as_nodes([x])[0]
    result = reduce(_without(node, worst), axis, keepdims)
    if not node.type.is_float:
        return result
    return where(every(isnan(node), axis, keepdims), NAN, result)


@public()
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """The mean of the elements that are not NaN."""
    node = floating("nanmean", x)
    return divide(nansum(node, axis, keepdims), _present(node, axis, keepdims))


@public()
def nanvar(x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Node:
    """The variance of the elements that are not NaN."""
    node = floating("nanvar", x)
    centred = where(isnan(node), 0.0, node - nanmean(node, axis, True))
    number = _present(node, axis, keepdims)
    return divide(total(square(centred), axis, keepdims), number - float(ddof) if ddof else number)


@public()
def nanstd(x: Any, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Node:
    """The standard deviation of the elements that are not NaN."""
    return sqrt(nanvar(x, axis, ddof, keepdims))


@public()
def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Node:
    """The index of the largest element that is not NaN; -1 where all are, which NumPy refuses."""
    return _position(argmax, -INFINITY, x, axis, keepdims)


@public()
def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Node:
    """The index of the smallest element that is not NaN; -1 where all are, which NumPy refuses."""
    return _position(argmin, INFINITY, x, axis, keepdims)


def _position(
    search: Callable[..., Node], worst: float, x: Any, axis: int | None, keepdims: bool
) -> Node:
    node = as_nodes([x])[0]
    found = search(_without(node, worst), axis, keepdims)
    return where(every(isnan(node), axis, keepdims), -1, found) if node.type.is_float else found


@public(formula="the sums of dy from the other end, 0 where x is NaN")
def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Node:
    """The sums of the elements up to each, NaN counting as 0."""
    return cumsum(_without(x, 0.0), axis, dtype)


@public(formula="a recurrence from the other end, 0 where x is NaN")
def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Node:
    """The products of the elements up to each, NaN counting as 1."""
    return cumprod(_without(x, 1.0), axis, dtype)
