"""The bases of what linear algebra is made of: ops that call a native routine, and values whose
derivative is given by a formula of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from staticflow.graph.calls import Call
from staticflow.graph.dims import AnyDim, product
from staticflow.graph.leaves import Input
from staticflow.graph.node import Axes, Classes, Node, apply
from staticflow.graph.require import require, require_operands
from staticflow.graph.types import TensorType
from staticflow.ops.alias import Alias, stop_gradient


class NativeCall(Call):
    """A call of `staticflow.native.routines.table.ROUTINES[routine]`.

    Leading axes are a batch, which the routine loops over.
    """

    def batched(self, length: AnyDim) -> NativeCall | None:
        return self

    def key(self) -> tuple[Any, ...]:
        return (self.name, repr(self))


def batch_of(shape: Axes, rank: int) -> AnyDim:
    """How many arrays of `rank` axes there are in `shape`."""
    return product(shape[: len(shape) - rank])


def same_batch(classes: Classes, a: Axes, b: Axes, rank_a: int, rank_b: int) -> Axes:
    """Leading axes that two inputs share."""
    pairs = zip(a[: len(a) - rank_a], b[: len(b) - rank_b], strict=True)
    return tuple(classes.same(p, q) for p, q in pairs)


@dataclass(frozen=True, eq=False)
class DerivativeRule:
    """A derivative: `vjp(g, y, *xs)` gives the cotangents of xs, `jvp(tangents, y, *xs)` a tangent.

    Without a `jvp`, forward mode is the transpose of `vjp`. `of` names the function whose
    derivative it is, as formulas do.
    """

    vjp: Callable[..., Sequence[Node | None]]
    jvp: Callable[..., Node | None] | None = None
    of: str = ""


@dataclass(frozen=True)
class Ruled(Alias):
    """The first input, computed from the others; its derivative by them is that of `rule`."""

    rule: DerivativeRule

    def check(self, *xs: TensorType) -> None:
        require(len(xs) > 1, "a rule without operands")
        for x in xs:
            require_operands(self.name, [x], 1)
        y, *operands = [apply(Input(f"x{i}", x)) for i, x in enumerate(xs)]
        pairs = list(zip(self.rule.vjp(y, y, *operands), xs[1:], strict=True))
        same = all(x is None or x.type == type_ for x, type_ in pairs)
        require(same, f"a rule gives {', '.join(str(x) for x, _ in pairs)}")

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (None, *self.rule.vjp(g, y, *xs[1:]))

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Any:
        if self.rule.jvp is None:
            return NotImplemented
        return self.rule.jvp(tangents[1:], y, *xs[1:])

    def batched(self, length: AnyDim) -> Ruled:
        return self

    def key(self) -> tuple[Any, ...]:
        return (self.name,)


def ruled(value: Callable[..., Node], rule: DerivativeRule, *xs: Node) -> Node:
    """`value(*xs)`, with a derivative by a rule instead of through its parts."""
    return apply(Ruled(rule), value(*map(stop_gradient, xs)), *xs)
