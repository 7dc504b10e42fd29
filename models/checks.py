"""Refusals of what a model cannot take, at the user's line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import staticflow as sf
from staticflow.errors import fail


def check_sizes(sizes: Sequence[int], name: str) -> tuple[int, ...]:
    """The widths of a network's input, hidden layers and output."""
    widths = tuple(sizes) if isinstance(sizes, Iterable) else ()
    if len(widths) < 2 or not all(map(_is_positive, widths)):
        fail(
            sf.ShapeError,
            f"{name}: sizes are the widths of the input, of any hidden layers and of the output",
            got=repr(sizes),
            do="give two or more positive integers",
        )
    return tuple(map(int, widths))


def check_count(value: Any, what: str) -> int:
    """A positive integer."""
    if not _is_positive(value):
        fail(sf.ShapeError, f"{what} must be a positive integer", got=repr(value))
    return int(value)


def check_rate(rate: Any, name: str) -> Any:
    """The probability of dropping an element; as a list with one for each member of a session of
    several, a leaf that holds it.
    """
    if isinstance(rate, list | tuple) or getattr(rate, "ndim", 0) == 1:
        rates = [check_rate(one, name) for one in rate]
        return sf.state(f"{name}.dropout", (), sf.init.by_member(rates), "float64")
    if not 0.0 <= rate < 1.0:
        fail(sf.GraphError, f"{name}: dropout is a probability below 1", got=repr(rate))
    return float(rate)


def check_name(value: Any, known: Sequence[str], what: str) -> Any:
    """One of the known names."""
    if value not in known:
        fail(sf.GraphError, f"there is no {what} {value!r}", do=f"use one of {', '.join(known)}")
    return value


def float_dtype(x: sf.Node, name: str) -> str:
    """The dtype of `x`, which must be a float's."""
    if x.dtype not in ("float32", "float64"):
        fail(
            sf.DTypeError,
            f"{name}: the input must be of a float dtype",
            got=str(x),
            do="convert it with .astype, or look it up by ops.embedding or ops.one_hot",
        )
    return x.dtype


def check_width(x: sf.Node, width: int, name: str) -> None:
    """Refuse an input whose last axis is not `width` long."""
    if not x.shape or x.shape[-1] != width:
        fail(
            sf.ShapeError,
            f"{name}: the input must have the shape (..., {width})",
            got=str(x),
            do="make the model's input width and the last axis of its input equal",
        )


def _is_positive(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and value > 0
