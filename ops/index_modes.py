"""What `take` makes of indices beyond their axis."""

from __future__ import annotations

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import AnyDim
from staticflow.graph.leaves import Const, const
from staticflow.graph.node import Node, apply
from staticflow.ops.arithmetic import clip
from staticflow.ops.arithmetic import mod as remainder
from staticflow.ops.counting import SizeOf


def by_mode_of_take(index: Node, size: AnyDim, mode: str | None) -> Node:
    """The indices that a mode makes of those given."""
    if mode in ("clip", "wrap"):
        if isinstance(index.op, Const) and isinstance(size, int) and size:
            value = index.op.value
            moved = np.clip(value, 0, size - 1) if mode == "clip" else value % size
            return const(moved, index.dtype)
        number = apply(SizeOf(size, index.dtype))
        return clip(index, 0, number - 1) if mode == "clip" else remainder(index, number)
    if mode not in (None, "raise"):
        fail(ShapeError, "take: mode is 'raise', 'clip' or 'wrap'", got=repr(mode))
    if mode == "raise" and not isinstance(index.op, Const):
        fail(
            GraphError,
            "take: compiled code cannot raise at an index that is known only when it runs",
            got=f"mode='raise' with {index}",
            do="choose 'clip' or 'wrap', or leave mode out: an index beyond the axis is then moved "
            "into it, and ops.embedding checks indices that are fed",
        )
    return index
