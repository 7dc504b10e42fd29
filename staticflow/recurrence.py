"""The op behind `scan`: a body over slots, run once for each element.

Its derivatives are in `through_time.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.dims import AnyDim
from staticflow.graph import Node
from staticflow.op import Classes, Kind, Op, OutType
from staticflow.types import TensorType

if TYPE_CHECKING:
    from staticflow.through_time import Transposed


@dataclass(frozen=True, eq=False)
class Scan(Op):
    """Inputs are the initial carries, xs and constants; outputs the last carries and the ys."""

    carries: tuple[Node, ...]
    xs: tuple[Node, ...]
    consts: tuple[Node, ...]
    next: tuple[Node, ...]
    ys: tuple[Node, ...]
    length: AnyDim
    reverse: bool
    origin: Any  # shared by scans of one body that differ in how many ys they return
    kind = Kind.LOOP

    @property
    def body(self) -> tuple[Node, ...]:
        """What the body computes: the next carries, then the ys."""
        return (*self.next, *self.ys)

    @property
    def slots(self) -> tuple[Node, ...]:
        """The body's leaves, in the order of the op's inputs."""
        return (*self.carries, *self.xs, *self.consts)

    def split(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The inputs as initial carries, xs and constants."""
        first, second = len(self.carries), len(self.carries) + len(self.xs)
        return list(inputs[:first]), list(inputs[first:second]), list(inputs[second:])

    def infer(self, *xs: TensorType) -> OutType:
        stacked = [y.type.with_shape((self.length, *y.shape)) for y in self.ys]
        return (*(c.type for c in self.carries), *stacked)

    def unroll(self, evaluate: Callable[..., list[Any]], *inputs: Any) -> Any:
        """The values by plain Python; `evaluate(outputs, values of slots)` computes one step."""
        carries, xs, consts = self.split(inputs)
        length = len(xs[0]) if xs else int(np.asarray(self.length))
        stacks: list[list[Any]] = [[] for _ in self.ys]

        def step(elements: Sequence[Any]) -> list[Any]:
            values = [*carries, *elements, *consts]
            return evaluate(self.body, dict(zip(self.slots, values, strict=True)))

        for t in range(length - 1, -1, -1) if self.reverse else range(length):
            results = step([x[t] for x in xs])
            carries = results[: len(carries)]
            for stack, y in zip(stacks, results[len(carries) :], strict=True):
                stack.append(y)
        if length == 0:  # a step that counts for nothing tells the shapes
            results = step([np.zeros(x.shape[1:], x.dtype) for x in xs])
            return (*carries, *(np.asarray(y)[None][:0] for y in results[len(carries) :]))
        return (*carries, *(np.stack(s[::-1] if self.reverse else s) for s in stacks))

    def relate(self, classes: Classes, out: OutType, *xs: Any) -> Any:
        raise AssertionError("generalise walks into the bodies of loops")

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.reverse, len(self.carries), len(self.xs), len(self.ys))

    def attributes(self) -> str:
        return f"length={self.length}" + (", reverse" if self.reverse else "")

    @cached_property
    def transposed(self) -> Transposed:
        """Back-propagation through time; every derivative of this op shares it."""
        from staticflow.through_time import transpose

        return transpose(self)

    @cached_property
    def pushed(self) -> dict[tuple[Node, ...], Scan]:
        """The scans that compute tangents too, by the slots that have tangents."""
        return {}

    def vjp(self, g: Any, y: Node, *inputs: Node) -> Sequence[Node | None]:
        from staticflow.through_time import pull_back_scan

        return pull_back_scan(self, g, inputs)

    def jvp(self, tangents: Sequence[Any], y: Node, *inputs: Node) -> Any:
        from staticflow.through_time import push_through_scan

        return push_through_scan(self, tangents, inputs)
