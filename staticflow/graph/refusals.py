"""What cannot be done with a node while its graph is declared, and what to write instead."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail


def refuse_pickling(node: object) -> NoReturn:
    """Nodes are told apart by identity, which a pickle does not keep."""
    fail(
        GraphError,
        "a node cannot be pickled by itself, as it would no longer be the same node",
        got=str(node),
        do="pickle the session or the sf.function that computes it",
    )


def refuse_comparison(node: object, other: object) -> NoReturn:
    """A node is no number yet: `==` between nodes asks whether they are one."""
    number = f"{other.dtype}{list(other.shape)}" if isinstance(other, np.ndarray) else repr(other)
    fail(
        GraphError,
        "== and != ask whether two nodes are the same, and compare no values",
        got=f"{node} and {number}",
        do="write ops.equal(x, y) or ops.not_equal(x, y)",
    )


def refuse_unpacking(node: object) -> NoReturn:
    """How many rows there are is not known."""
    fail(
        ShapeError,
        "only a node with an integer leading size can be unpacked",
        got=str(node),
        do="go over its rows with sf.scan, or write what is done for all of them at once",
    )


def refuse_length(node: object) -> NoReturn:
    """`len` is an integer in Python, which a named size is not yet."""
    fail(
        ShapeError,
        "this node has no length while the graph is declared",
        got=str(node),
        do="node.shape has its sizes; one that is a name gets its number with the data, "
        "and stands in expressions as it is: x.sum(axis=0) / x.shape[0]",
    )
