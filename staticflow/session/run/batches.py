"""The data of a fit or an evaluation: checked, and cut into batches along the dimension of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.native.memory import Array
from staticflow.runtime.feeds import match_feeds, row_dimension
from staticflow.runtime.index_checks import check_indices
from staticflow.session.state.graph import SessionGraph


@dataclass(frozen=True)
class Rows:
    """Checked data: arrays sliced along the batch dimension, on the axis that has it, others whole.

    An array with that dimension on several axes is among those that are whole.
    """

    sliced: dict[str, Array]
    axes: dict[str, int]
    whole: dict[str, Array]
    env: dict[str, int]
    batch: str
    count: int


def read_rows(graph: SessionGraph, data: Any, batch_axis: str | None) -> Rows:
    """Check a dict of array-likes and split it by what is sliced; without rows, it is one batch."""
    if not isinstance(data, Mapping):
        fail(
            GraphError,
            "data must be a dict from input name to array, or a callable that returns batches",
            got=type(data).__name__,
        )
    inputs = graph.training_inputs
    arrays, env = graph.checked(match_feeds(inputs, data))
    batch = row_dimension(inputs, batch_axis)
    if not batch:
        return Rows({}, {}, arrays, env, "", 1)
    count = env[batch]
    if count == 0:
        fail(GraphError, "the data has no rows", got=f"{batch} = 0", do="feed at least one row")
    found = {n: [k for k, dim in enumerate(x.shape) if dim == batch] for n, x in inputs.items()}
    axes = {n: own[0] for n, own in found.items() if len(own) == 1}
    sliced = {n: a for n, a in arrays.items() if n in axes}
    whole = {n: a for n, a in arrays.items() if n not in axes}
    return Rows(sliced, axes, whole, env, batch, count)


def check_slices(graph: SessionGraph, rows: Rows, sizes: Iterable[int]) -> None:
    """Refuse data that cannot be cut into batches of these sizes, or whose indices are too large
    for one of them.
    """
    inputs = graph.training_inputs
    for size in sizes:
        if size == rows.count:
            continue
        for name in rows.whole:
            if rows.batch in map(str, inputs[name].shape):
                fail(
                    GraphError,
                    f"input {name!r} has {rows.batch!r} on several axes: it cannot be cut into "
                    "batches",
                    got=f"shape {inputs[name].type}, batches of {size} of {rows.count} rows",
                    do=f"pass batch_size={rows.count} to take all rows at once, name the other "
                    "axes differently, or give batch_axis= another dimension",
                    where=inputs[name].where,
                )
        arrays = {**rows.sliced, **rows.whole}
        check_indices(graph.training_limits, arrays, {**rows.env, rows.batch: size})


def in_batches(graph: SessionGraph, data: Any, size: int, batch_axis: str | None) -> Iterator[Rows]:
    """Batches of `size` rows in order, the last one maybe smaller; those of a callable as it has
    them.
    """
    if callable(data):
        for feeds in data():
            yield read_rows(graph, feeds, batch_axis)
        return
    rows = read_rows(graph, data, batch_axis)
    if rows.batch:
        most = min(size, rows.count)
        check_slices(graph, rows, {most, rows.count % most or most})
    for first in range(0, rows.count, size):
        end = min(first + size, rows.count)
        sliced = {n: a[_along(rows.axes[n], first, end)] for n, a in rows.sliced.items()}
        yield Rows(sliced, rows.axes, rows.whole, rows.env, rows.batch, end - first)


def _along(axis: int, first: int, end: int) -> tuple[slice, ...]:
    """The index of a slice along one axis."""
    return (*[slice(None)] * axis, slice(first, end))
