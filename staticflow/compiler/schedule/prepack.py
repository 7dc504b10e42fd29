"""Copy what every step of a loop multiplies by into panels, once, before the loop.

Before:  for t: z = h @ u                  u is read as it lies, 50 times
After:   p = panels of u
         for t: z = h @ p                  ... with stride one, and the nearest cache

Above all it is for the way back, whose products are with u': its columns are contiguous, which
costs each product a turn of its own. Whether it pays is decided where the sizes are known
(`native.products.PACK`); if not, the products read u itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from staticflow.compiler.ir.steps import BranchStep, LoopStep, PackStep, ProductStep, Step, walk
from staticflow.compiler.lowering.buffers import Buffer
from staticflow.graph.dims import AnyDim
from staticflow.native.gemm.prepacked import SPARE_ROWS, WIDEST


def prepack(steps: Sequence[Step], buffers: list[Buffer]) -> list[Step]:
    """The steps, with panels before the outermost loop that does not change what they show.

    Their buffers are added to `buffers`.
    """
    found: list[Step] = []
    for step in steps:
        if isinstance(step, LoopStep) and step.flag is None:
            packed = _Packing(step, buffers)
            body = packed.changed(step.body, step.length)
            step = replace(step, body=tuple(prepack(body, buffers)))
            found += packed.steps.values()
        found.append(step)
    return found


class _Packing:
    """What is packed before one loop."""

    def __init__(self, loop: LoopStep, buffers: list[Buffer]) -> None:
        self.buffers = buffers
        self.steps: dict[Any, PackStep] = {}
        self._own: set[int] = set()  # what changes within the loop
        for inner in walk([loop]):
            if isinstance(inner, LoopStep | BranchStep):
                self._own |= {*inner.writes, *inner.bases, *inner.moving}

    def changed(self, steps: Sequence[Step], count: AnyDim) -> list[Step]:
        """The steps, each made `count` times, with panels for their products."""
        return [self._change(step, count) for step in steps]

    def _change(self, step: Step, count: AnyDim) -> Step:
        if isinstance(step, LoopStep) and step.flag is None:
            return replace(step, body=tuple(self.changed(step.body, count * step.length)))
        if not isinstance(step, ProductStep) or step.batch or step.panels is not None:
            return step
        if step.b.place[0] in self._own:
            return step
        return replace(step, panels=self._panels(step, count))

    def _panels(self, step: ProductStep, count: AnyDim) -> int:
        key = (step.m, step.n, step.k, step.b, count)
        if key not in self.steps:
            index = len(self.buffers)
            room = (step.k + SPARE_ROWS) * (step.n + WIDEST)
            self.buffers.append(Buffer(index, step.node.inputs[1], step.dtype, room, "temp"))
            self.steps[key] = PackStep(step, count, index)
        return self.steps[key].panels
