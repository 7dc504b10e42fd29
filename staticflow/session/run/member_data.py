"""The data of members: shared by all, or with a leading axis of members; and each one's rows.

fit({"x": (n, 8), "t": (n,)}, rows=folds)               one table, of which each has its rows
fit({"x": (members, n, 8), "t": (members, n)})          a table for each
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staticflow.errors import GraphError, fail
from staticflow.graph.node import Node
from staticflow.native.memory import Array
from staticflow.runtime.feeds import as_array, match_feeds
from staticflow.runtime.stacked import check_members
from staticflow.session.run.batches import Rows, read_rows
from staticflow.session.state.graph import SessionGraph
from staticflow.training.member_place import Region, region_of
from staticflow.training.member_run import MemberData

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MemberRows:
    """Checked data: `rows` are those of the first member, `stacked` the arrays that each has of its
    own, by name, (members, ...).
    """

    rows: Rows
    stacked: dict[str, Array]

    @property
    def regions(self) -> list[Region]:
        """Where the members' own arrays lie."""
        return [region_of(array) for array in self.stacked.values()]

    def of(self, member: int) -> dict[str, Array]:
        """What a member is given, without its choice of rows."""
        own = {name: array[member] for name, array in self.stacked.items()}
        return {**self.rows.sliced, **self.rows.whole, **own}

    def data(self, counts: Sequence[int]) -> MemberData:
        """The same for a fit in which each member has so many rows."""
        rows = self.rows
        return MemberData(rows.sliced, rows.whole, rows.axes, self.regions, counts)


def read_member_rows(
    graph: SessionGraph, data: Any, members: int, batch_axis: str | None
) -> MemberRows:
    """Check a dict of array-likes, some of which may have a leading axis of members."""
    if not isinstance(data, Mapping):
        return MemberRows(read_rows(graph, data, batch_axis), {})
    named, stacked = split_members(graph.training_inputs, data, members)
    rows = read_rows(graph, named, batch_axis)
    if stacked:
        for k in range(1, members):
            graph.checked({**named, **{name: array[k] for name, array in stacked.items()}})
        rows = replace(
            rows,
            sliced={n: stacked[n][0] if n in stacked else a for n, a in rows.sliced.items()},
            whole={n: stacked[n][0] if n in stacked else a for n, a in rows.whole.items()},
        )
    return MemberRows(rows, stacked)


def split_members(
    inputs: Mapping[str, Node],
    feeds: Mapping[Any, Any],
    members: int,
    others: Mapping[str, Node] | None = None,
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Feeds by name, of the first member, and the arrays (members, ...) that each has itself."""
    named = match_feeds(inputs, feeds, others)
    stacked: dict[str, Array] = {}
    for name, value in named.items():
        node = inputs[name]
        if np.ndim(value) != node.ndim + 1:
            continue
        check_members(f"the arrays for input {name!r}", len(value), members)
        given = np.asarray(value)
        plain = given.dtype == node.dtype and given.flags.c_contiguous
        if not plain:
            given = np.stack([as_array(node, part) for part in given])
        stacked[name] = given
        named[name] = given[0]
    return named, stacked


def member_indices(rows: Any, members: int, count: int) -> list[Indices] | None:
    """The numbers of each member's rows, in order, from indices or masks by member."""
    if rows is None:
        return None
    if not hasattr(rows, "__len__"):
        fail(
            GraphError,
            "fit: rows are indices or masks for each member",
            got=type(rows).__name__,
            do=f"pass an array (members, n) of integers, or of booleans (members, {count})",
        )
    check_members("fit: the lists of rows", len(rows), members)
    return [_indices(own, k, count) for k, own in enumerate(rows)]


def _indices(own: Any, member: int, count: int) -> Indices:
    given = np.asarray(own)
    if given.dtype == bool and given.shape == (count,):
        found = np.flatnonzero(given)
    elif given.dtype.kind in "iu" and given.ndim == 1:
        found = given.astype(np.int64)
    else:
        fail(
            GraphError,
            f"fit: the rows of member {member} are neither indices nor a mask",
            got=f"{given.dtype}{list(given.shape)} for {count} rows of data",
            do=f"pass integers (n,) or booleans ({count},) for each member",
        )
    outside = found[(found < 0) | (found >= count)]
    if outside.size:
        fail(
            GraphError,
            f"fit: member {member} has a row that is not there",
            got=f"row {outside[0]} of {count}",
            do=f"count rows from 0 to {count - 1}",
        )
    if not found.size:
        fail(
            GraphError,
            f"fit: member {member} has no rows",
            do="give each member at least one row",
        )
    return np.ascontiguousarray(found, np.int64)
