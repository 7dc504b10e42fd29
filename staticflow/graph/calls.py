"""Ops that are one call: of a native routine, or of what combines the shards' values."""

from __future__ import annotations

from typing import ClassVar

from staticflow.graph.dims import AnyDim
from staticflow.graph.node import Axes, Kind, Op

# Dtypes, "" for that of the first input, and numbers of elements
Scratch = tuple[tuple[str, AnyDim], ...]


class Call(Op):
    """One call of a native routine on contiguous arrays.

    The routine gets the inputs, the outputs and the scratch, then `routine_sizes` and `sizes`. It
    is chosen for the dtype of the first input.
    """

    kind = Kind.CALL
    routine: ClassVar[str]  # its name, without the dtype
    multiplies: ClassVar[bool] = False  # whether the routine calls the matrix product
    fails: ClassVar[bool] = False  # whether it returns a code, 0 for success

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        """Sizes and flags, from the size classes of the inputs' axes."""
        raise NotImplementedError

    def scratch(self, *xs: Axes) -> Scratch:
        """The memory that the routine needs beside its inputs and outputs."""
        return ()


class Collective(Op):
    """A value combined over all shards by `combine`; on one shard, the value itself."""

    kind = Kind.CALL
    combine: str
