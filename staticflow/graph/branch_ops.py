"""The ops behind `cond` and `while_loop`: one of two bodies is run, or one as long as a test holds.

Their derivatives are in `branch_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Axes, Classes, Node, OutType
from staticflow.graph.require import require
from staticflow.graph.types import TensorType


@dataclass(frozen=True, eq=False)
class Branch(Loop):
    """Inputs are an integer, the constant `consts[0]`, and the others; `then` is run if it is not
    zero.
    """

    consts: tuple[Node, ...]
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    carries: tuple[Node, ...] = field(default=(), init=False)
    xs: tuple[Node, ...] = field(default=(), init=False)

    @property
    def regions(self) -> tuple[tuple[Node, ...], ...]:
        return (self.then, self.otherwise)

    def renewed(self, body_inputs: Sequence[Node], regions: Sequence[Sequence[Node]]) -> Branch:
        return Branch(tuple(body_inputs), tuple(regions[0]), tuple(regions[1]))

    def check(self, *xs: TensorType) -> None:
        super().check(*xs)
        require(xs and xs[0] == TensorType((), "int64"), "branch: the choice is an integer")
        types = [[node.type for node in region] for region in self.regions]
        require(types[0] == types[1], "branch: the types of the results differ")

    def infer(self, *xs: TensorType) -> OutType:
        return tuple(node.type for node in self.then)

    def unroll(self, evaluate: Callable[..., list[Any]], *inputs: Any) -> Any:
        taken = self.then if int(inputs[0]) else self.otherwise
        return tuple(evaluate(taken, dict(zip(self.body_inputs, inputs, strict=True))))

    def leave(self, classes: Classes, inputs: Sequence[Axes], regions: Sequence[Any]) -> Any:
        for one, other in zip(*regions, strict=True):
            for a, b in zip(one, other, strict=True):
                classes.same(a, b)
        return tuple(regions[0])


@dataclass(frozen=True, eq=False)
class While(Loop):
    """Inputs are the initial carries and the constants; outputs are the last carries.

    `test` is an integer; the loop goes on while it is not zero, for `max_steps` steps at most.
    """

    carries: tuple[Node, ...]
    consts: tuple[Node, ...]
    test: Node
    next: tuple[Node, ...]
    max_steps: int | None
    xs: tuple[Node, ...] = field(default=(), init=False)

    @property
    def regions(self) -> tuple[tuple[Node, ...], ...]:
        return ((self.test,), self.next)

    @property
    def expected(self) -> int:
        """A guess at the number of steps, for the cost model."""
        return self.max_steps or 10

    def renewed(self, body_inputs: Sequence[Node], regions: Sequence[Sequence[Node]]) -> While:
        carries, _, consts = self.split(body_inputs)
        (test,), following = regions
        return replace(
            self, carries=tuple(carries), consts=tuple(consts), test=test, next=tuple(following)
        )

    def check(self, *xs: TensorType) -> None:
        super().check(*xs)
        require(self.test.type == TensorType((), "int64"), "while: the test is an integer")
        carries = [node.type for node in self.carries]
        require([node.type for node in self.next] == carries, "while: a carry changes its type")
        require((self.max_steps or 0) >= 0, f"while: {self.max_steps} steps at most")

    def infer(self, *xs: TensorType) -> OutType:
        return tuple(s.type for s in self.carries)

    def unroll(self, evaluate: Callable[..., list[Any]], *inputs: Any) -> Any:
        carries, _, consts = self.split(inputs)

        def values() -> dict[Node, Any]:
            return dict(zip(self.body_inputs, [*carries, *consts], strict=True))

        while int(np.asarray(evaluate([self.test], values())[0])):
            carries = evaluate(self.next, values())
        return tuple(carries)

    def leave(self, classes: Classes, inputs: Sequence[Axes], regions: Sequence[Any]) -> Any:
        init, _, _ = self.split(inputs)
        for first, following in zip(init, regions[1], strict=True):
            for a, b in zip(first, following, strict=True):
                classes.same(a, b)
        return tuple(init)
