"""The ops behind `cond` and `while_loop`, and their derivatives.

A branch runs one of two bodies; its derivative is a branch between their derivatives, in which the
body that was taken computes again what it needs. A while loop is differentiated in reverse only if
the number of its steps is bounded: then it is a scan over so many steps, each a branch that does
nothing once the loop has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from staticflow.bodies import Loop, slot, substitute
from staticflow.differentiate import pull_back, push_forward
from staticflow.errors import GraphError, fail
from staticflow.kinds import parts
from staticflow.node import Axes, Classes, Node, OutType, apply
from staticflow.ops import zeros
from staticflow.recurrence import Scan
from staticflow.require import require
from staticflow.types import TensorType


def _is_float(node: Node) -> bool:
    return bool(node.type.is_float)


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

    def renewed(self, slots: Sequence[Node], regions: Sequence[Sequence[Node]]) -> Branch:
        return Branch(tuple(slots), tuple(regions[0]), tuple(regions[1]))

    def check(self, *xs: TensorType) -> None:
        super().check(*xs)
        require(xs and xs[0] == TensorType((), "int64"), "branch: the choice is an integer")
        types = [[node.type for node in region] for region in self.regions]
        require(types[0] == types[1], "branch: the types of the results differ")

    def infer(self, *xs: TensorType) -> OutType:
        return tuple(node.type for node in self.then)

    def unroll(self, evaluate: Callable[..., list[Any]], *inputs: Any) -> Any:
        taken = self.then if int(inputs[0]) else self.otherwise
        return tuple(evaluate(taken, dict(zip(self.slots, inputs, strict=True))))

    def leave(self, classes: Classes, inputs: Sequence[Axes], regions: Sequence[Any]) -> Any:
        for one, other in zip(*regions, strict=True):
            for a, b in zip(one, other, strict=True):
                classes.same(a, b)
        return tuple(regions[0])

    def vjp(self, g: Any, y: Node, *inputs: Node) -> Sequence[Node | None]:
        moving = self._moving
        backward, floats = self.transposed
        gs = [g[i] for i in floats]
        found = iter(parts(apply(backward, *inputs, *gs)) if moving else ())
        return [next(found) if s in moving else None for s in self.slots]

    @property
    def _moving(self) -> list[Node]:
        return [s for s in self.consts if _is_float(s)]

    @cached_property
    def transposed(self) -> tuple[Branch, list[int]]:
        """The branch that computes cotangents, and of which outputs it takes cotangents."""
        floats = [i for i, node in enumerate(self.then) if _is_float(node)]
        gs = [slot(f"cotangent of {self.then[i].name}", self.then[i].type) for i in floats]
        bodies = [
            pull_back([region[i] for i in floats], gs, self._moving) for region in self.regions
        ]
        return Branch((*self.consts, *gs), tuple(bodies[0]), tuple(bodies[1])), floats

    def jvp(self, tangents: Sequence[Any], y: Node, *inputs: Node) -> Any:
        pairs = zip(self.slots, tangents, strict=True)
        given = [(s, t) for s, t in pairs if t is not None and _is_float(s)]
        moving = [s for s, _ in given]
        ts = [slot(f"tangent of {s.name}", s.type) for s in moving]
        floats = [i for i, node in enumerate(self.then) if _is_float(node)]
        bodies = [push_forward([region[i] for i in floats], moving, ts) for region in self.regions]
        pushed = Branch((*self.consts, *ts), tuple(bodies[0]), tuple(bodies[1]))
        made = iter(parts(apply(pushed, *inputs, *(t for _, t in given))))
        return tuple(
            next(made) if _is_float(node) else zeros(node.shape, node.dtype) for node in self.then
        )


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

    def renewed(self, slots: Sequence[Node], regions: Sequence[Sequence[Node]]) -> While:
        carries, _, consts = self.split(slots)
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
            return dict(zip(self.slots, [*carries, *consts], strict=True))

        while int(np.asarray(evaluate([self.test], values())[0])):
            carries = evaluate(self.next, values())
        return tuple(carries)

    def leave(self, classes: Classes, inputs: Sequence[Axes], regions: Sequence[Any]) -> Any:
        init, _, _ = self.split(inputs)
        for first, following in zip(init, regions[1], strict=True):
            for a, b in zip(first, following, strict=True):
                classes.same(a, b)
        return tuple(init)

    def jvp(self, tangents: Sequence[Any], y: Node, *inputs: Node) -> Any:
        pairs = zip(self.slots, tangents, strict=True)
        given = {s: t for s, t in pairs if t is not None and _is_float(s)}
        for s, x in zip(self.carries, inputs, strict=False):
            if _is_float(s):
                given.setdefault(s, zeros(x.shape, x.dtype))
        moving = [s for s in self.slots if s in given]
        ts = {s: slot(f"tangent of {s.name}", s.type) for s in moving}
        floats = [node for node in self.next if _is_float(node)]
        pushed = push_forward(floats, moving, [ts[s] for s in moving])
        own = [s for s in self.carries if s in ts]
        more = [s for s in self.consts if s in ts]
        joint = replace(
            self,
            carries=(*self.carries, *(ts[s] for s in own)),
            consts=(*self.consts, *(ts[s] for s in more)),
            next=(*self.next, *pushed),
        )
        init, _, consts = self.split(inputs)
        operands = [*init, *(given[s] for s in own), *consts, *(given[s] for s in more)]
        made = iter(parts(apply(joint, *operands))[len(init) :])
        return tuple(
            next(made) if _is_float(s) else zeros(s.shape, s.dtype) for s in self.carries
        )

    def vjp(self, g: Any, y: Node, *inputs: Node) -> Sequence[Node | None]:
        if self.max_steps is None:
            fail(
                GraphError,
                "while_loop: reverse mode needs a bound on the number of steps",
                do="pass max_steps=, or use sf.jvp",
                where=y.where,
            )
        op = self.bounded
        init, _, consts = self.split(inputs)
        scan = apply(op, *init, *consts, where=y.where)
        return op.vjp(g, scan, *scan.inputs)

    @cached_property
    def bounded(self) -> Scan:
        """The scan over as many steps as there can be, which has the same last carries."""
        carries = [slot(s.name, s.type) for s in self.carries]
        consts = [slot(s.name, s.type) for s in self.consts]
        places = dict(zip(self.slots, [*carries, *consts], strict=True))
        (test,) = substitute([self.test], places)
        going = slot("going on", test.type)
        branch = Branch((going, *self.slots), self.next, self.carries)
        following = parts(apply(branch, test, *carries, *consts))
        assert self.max_steps is not None
        return Scan(
            carries=tuple(carries),
            xs=(),
            consts=tuple(consts),
            next=tuple(following),
            ys=(),
            length=self.max_steps,
            reverse=False,
            origin=object(),
        )
