"""Reductions that pass over NaN; where nothing is left, sums are 0, products 1, the others NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticflow.graph.node import Node
from staticflow.ops.accumulate import cumprod, cumsum
from staticflow.ops.coerce import as_nodes
from staticflow.ops.compare import isnan, logical_and, logical_not
from staticflow.ops.compare import where as choose
from staticflow.ops.elementwise import sqrt
from staticflow.ops.public import public
from staticflow.ops.reductions import all as every
from staticflow.ops.reductions import max as largest
from staticflow.ops.reductions import min as smallest
from staticflow.ops.reductions import prod as product
from staticflow.ops.reductions import sum as total
from staticflow.ops.statistics import argmax, argmin, mean, var

NAN, INFINITY = float("nan"), float("inf")


def _without(x: Any, value: float) -> Node:
    """x with `value` in place of NaN."""
    node = as_nodes([x])[0]
    return choose(isnan(node), value, node) if node.type.is_float else node


@public()
def nansum(
    x: Any,
    axis: Any = None,
    keepdims: bool = False,
    *,
    dtype: Any = None,
    initial: Any = None,
    where: Any = None,
) -> Node:
    """The sum of the elements that are not NaN."""
    return total(_without(x, 0.0), axis, keepdims, dtype=dtype, initial=initial, where=where)


@public()
def nanprod(
    x: Any,
    axis: Any = None,
    keepdims: bool = False,
    *,
    dtype: Any = None,
    initial: Any = None,
    where: Any = None,
) -> Node:
    """The product of the elements that are not NaN."""
    return product(_without(x, 1.0), axis, keepdims, dtype=dtype, initial=initial, where=where)


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
    return choose(every(isnan(node), axis, keepdims), NAN, result)


@public()
def nanmean(
    x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None, where: Any = None
) -> Node:
    """The mean of the elements that are not NaN."""
    return mean(x, axis, keepdims, dtype=dtype, where=_counted(x, where))


@public()
def nanvar(
    x: Any,
    axis: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    dtype: Any = None,
    where: Any = None,
    correction: float | None = None,
) -> Node:
    """The variance of the elements that are not NaN."""
    counted = _counted(x, where)
    return var(x, axis, ddof, keepdims, dtype=dtype, where=counted, correction=correction)


@public()
def nanstd(
    x: Any,
    axis: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    dtype: Any = None,
    where: Any = None,
    correction: float | None = None,
) -> Node:
    """The standard deviation of the elements that are not NaN."""
    return sqrt(nanvar(x, axis, ddof, keepdims, dtype=dtype, where=where, correction=correction))


def _counted(x: Any, where: Any) -> Any:
    """Which elements count: those that are not NaN, of those that `where` names."""
    node = as_nodes([x])[0]
    if not node.type.is_float:
        return where
    present = logical_not(isnan(node))
    return present if where is None else logical_and(present, where)


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
    return choose(every(isnan(node), axis, keepdims), -1, found) if node.type.is_float else found


@public(formula="the sums of dy from the other end, 0 where x is NaN")
def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Node:
    """The sums of the elements up to each, NaN counting as 0."""
    return cumsum(_without(x, 0.0), axis, dtype)


@public(formula="a recurrence from the other end, 0 where x is NaN")
def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Node:
    """The products of the elements up to each, NaN counting as 1."""
    return cumprod(_without(x, 1.0), axis, dtype)
