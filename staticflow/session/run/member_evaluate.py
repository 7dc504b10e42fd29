"""Loss and metrics of the members of a session over data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.native.memory import Array
from staticflow.session.run.batches import check_slices, in_batches
from staticflow.session.run.member_data import MemberRows, read_member_rows
from staticflow.session.run.member_fetch import MemberFetches


def evaluate_members(
    fetches: MemberFetches, data: Any, batch_size: int, batch_axis: str | None
) -> dict[str, Array]:
    """Loss and metrics over all rows, in inference mode: means over rows, (members,) by name."""
    graph, members = fetches.state.graph, fetches.whole.members
    nodes = {"loss": graph.loss, **graph.metrics}
    wanted = {name: node for name, node in nodes.items() if node is not None}
    if not wanted:
        fail(GraphError, "there is no loss and no metric to evaluate", do="pass metrics=")
    totals = {name: np.zeros(members) for name in wanted}
    count = 0
    for feeds, rows in _batches(fetches, data, batch_size, batch_axis):
        for name, value in fetches.run(wanted, feeds).items():
            totals[name] += value.astype(np.float64) * rows
        count += rows
    return {name: total / count for name, total in totals.items()}


def _batches(
    fetches: MemberFetches, data: Any, size: int, batch_axis: str | None
) -> Iterator[tuple[dict[str, Array], int]]:
    """What is fed for each batch, and its rows."""
    graph = fetches.state.graph
    if callable(data):
        for rows in in_batches(graph, data, size, batch_axis):
            yield {**rows.sliced, **rows.whole}, rows.count
        return
    found = read_member_rows(graph, data, fetches.whole.members, batch_axis)
    rows = found.rows
    if rows.batch:
        most = min(size, rows.count)
        check_slices(graph, rows, {most, rows.count % most or most})
    for first in range(0, rows.count, size):
        end = min(first + size, rows.count)
        yield _slice(found, first, end), end - first


def _slice(found: MemberRows, first: int, end: int) -> dict[str, Array]:
    """Some rows of every array, also of those that members have of their own."""
    rows, feeds = found.rows, {}
    for name, array in {**rows.sliced, **rows.whole}.items():
        own = found.stacked.get(name)
        whole = array if own is None else own
        axis = rows.axes.get(name)
        if axis is not None:
            before = axis if own is None else axis + 1
            whole = whole[(*[slice(None)] * before, slice(first, end))]
        feeds[name] = whole
    return feeds
