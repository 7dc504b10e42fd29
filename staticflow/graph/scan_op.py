"""The op behind `scan`: a body, run once for each element.

Its derivatives are in `scan_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from staticflow.graph.dims import AnyDim
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Axes, Classes, Node, OutType
from staticflow.graph.require import is_size, require
from staticflow.graph.types import TensorType


@dataclass(frozen=True, eq=False)
class Scan(Loop):
    """Inputs are the initial carries, xs and constants; outputs the last carries and the ys."""

    carries: tuple[Node, ...]
    xs: tuple[Node, ...]
    consts: tuple[Node, ...]
    next: tuple[Node, ...]
    ys: tuple[Node, ...]
    length: AnyDim
    reverse: bool
    origin: Any  # shared by scans of one body that differ in how many ys they return
    steps = True
    segmented: bool = False  # each step is a loop, which the derivative runs again

    @property
    def regions(self) -> tuple[tuple[Node, ...], ...]:
        """The next carries, then the ys."""
        return ((*self.next, *self.ys),)

    def renewed(self, body_inputs: Sequence[Node], regions: Sequence[Sequence[Node]]) -> Scan:
        carries, xs, consts = self.split(body_inputs)
        count = len(carries)
        return replace(
            self,
            carries=tuple(carries),
            xs=tuple(xs),
            consts=tuple(consts),
            next=tuple(regions[0][:count]),
            ys=tuple(regions[0][count:]),
        )

    def placed(self, region: Sequence[Node]) -> int:
        return len(self.carries)

    def check(self, *xs: TensorType) -> None:
        super().check(*xs)
        carries = [node.type for node in self.carries]
        require([node.type for node in self.next] == carries, "scan: a carry changes its type")
        require(is_size(self.length), f"scan: {self.length} steps")
        require(type(self.origin) is object, "scan: without an origin")

    def infer(self, *xs: TensorType) -> OutType:
        stacked = [y.type.with_shape((self.length, *y.shape)) for y in self.ys]
        return (*(c.type for c in self.carries), *stacked)

    def handed(self, *xs: TensorType) -> Sequence[TensorType]:
        carries, rows, consts = self.split(xs)
        led = all(x.ndim and x.shape[0] == self.length for x in rows)
        require(led, f"scan: what is scanned has not {self.length} elements")
        return [*carries, *(x.with_shape(x.shape[1:]) for x in rows), *consts]

    def unroll(self, evaluate: Callable[..., list[Any]], *inputs: Any) -> Any:
        """The values by plain Python; `evaluate(outputs, values of inputs)` computes one step."""
        carries, xs, consts = self.split(inputs)
        length = len(xs[0]) if xs else int(np.asarray(self.length))
        stacks: list[list[Any]] = [[] for _ in self.ys]

        def step(elements: Sequence[Any]) -> list[Any]:
            values = [*carries, *elements, *consts]
            return evaluate(self.body, dict(zip(self.body_inputs, values, strict=True)))

        for t in range(length - 1, -1, -1) if self.reverse else range(length):
            results = step([x[t] for x in xs])
            carries = results[: len(carries)]
            for stack, y in zip(stacks, results[len(carries) :], strict=True):
                stack.append(y)
        if length == 0:  # a step that counts for nothing tells the shapes
            results = step([np.zeros(x.shape[1:], x.dtype) for x in xs])
            return (*carries, *(np.asarray(y)[None][:0] for y in results[len(carries) :]))
        return (*carries, *(np.stack(s[::-1] if self.reverse else s) for s in stacks))

    def enter(self, *inputs: Axes) -> list[Axes]:
        init, xs, consts = self.split(inputs)
        return [*init, *(x[1:] for x in xs), *consts]

    def leave(self, classes: Classes, inputs: Sequence[Axes], regions: Sequence[Any]) -> Any:
        """Carries keep their axes from step to step; xs and ys lead with the loop's length."""
        init, xs, _ = self.split(inputs)
        length = xs[0][0] if xs else classes.fresh(self.length)
        for x in xs[1:]:
            classes.same(length, x[0])
        count = len(init)
        for first, following in zip(init, regions[0][:count], strict=True):
            for a, b in zip(first, following, strict=True):
                classes.same(a, b)
        return (*init, *((length, *y) for y in regions[0][count:]), (length,))

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.reverse, len(self.carries), len(self.xs), len(self.ys))

    def attributes(self) -> str:
        return f"length={self.length}" + (", reverse" if self.reverse else "")
