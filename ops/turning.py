"""The transpose of a matrix as a value in memory, for those who read it again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.dims import AnyDim
from staticflow.graph import Node, apply
from staticflow.op import Array, Axes, Classes, OutType
from staticflow.ops.native_call import NativeCall, batch_of
from staticflow.types import TensorType


@dataclass(frozen=True)
class Turn(NativeCall):
    """(m, n) -> (n, m), contiguous; in tiles, for rows that lie far apart share no cache line."""

    routine = "turn"

    def infer(self, *xs: TensorType) -> TensorType:
        (a,) = xs
        return a.with_shape((*a.shape[:-2], a.shape[-1], a.shape[-2]))

    def reference(self, *xs: Array) -> Any:
        return np.ascontiguousarray(np.swapaxes(xs[0], -1, -2))

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (apply(self, g),)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None if tangents[0] is None else apply(self, tangents[0])

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        (a,) = xs
        return (*a[:-2], a[-1], a[-2])

    def routine_sizes(self, *xs: Axes) -> tuple[AnyDim, ...]:
        return (batch_of(xs[0], 2), xs[0][-2], xs[0][-1])
