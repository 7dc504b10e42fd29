"""Ops whose value is one of their inputs, and which mean something to a pass or to the session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, Op, OutType, apply
from staticflow.graph.require import is_size, require, require_operands
from staticflow.graph.types import TensorType, broadcast_shapes
from staticflow.ops.coerce import as_nodes, stretch
from staticflow.ops.public import public


class Alias(Op):
    """The first input as it is."""

    kind = Kind.ALIAS

    def infer(self, *xs: TensorType) -> TensorType:
        return xs[0]

    def reference(self, *xs: Array) -> Any:
        return xs[0]

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return xs[0]


@dataclass(frozen=True)
class StopGradient(Alias):
    """Nothing is differentiated through it."""

    stops_derivatives = True

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return None


@dataclass(frozen=True)
class BoundedLabel(Alias):
    """An integer x with 0 <= x < limit, which the session checks where x is fed."""

    limit: AnyDim

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1, "whole")
        require(is_size(self.limit), f"labels below {self.limit}")

    @property
    def limit_of_labels(self) -> AnyDim:
        return self.limit

    def key(self) -> tuple[Any, ...]:
        return (self.name,)

    def attributes(self) -> str:
        return f"limit={self.limit}"


@dataclass(frozen=True)
class Sized(Alias):
    """The input, where `least` are not negative, which is checked once the data's sizes are known.

    Its derivative is the identity: a cotangent asks for no sizes of its own.
    """

    least: tuple[AnyDim, ...]
    what: str = ""  # the function that asks for them

    @property
    def asked_by(self) -> str:
        return self.what or self.name

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 1)
        require(all(isinstance(n, int | Dim) for n in self.least), "least sizes that are no sizes")

    def reference(self, *xs: Array) -> Any:
        if any(n < 0 for n in self.least if isinstance(n, int)):
            fail(ShapeError, f"{self.asked_by}: there are too few elements", self.attributes())
        return xs[0]

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (g,)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return tangents[0]

    def sizes(self) -> tuple[AnyDim, ...]:
        return self.least

    def size_guards(self, *xs: TensorType) -> tuple[AnyDim, ...]:
        return self.least

    def batched(self, length: AnyDim) -> Sized:
        return self

    def attributes(self) -> str:
        return ", ".join(f"{n} >= 0" for n in self.least)


@dataclass(frozen=True)
class Tied(Alias):
    """The first input, which the others give their sizes to: its formula has them, and reads
    nothing that has.
    """

    def check(self, *xs: TensorType) -> None:
        require(len(xs) > 1, "tied: to nothing")

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        return (g, *(None for _ in xs[1:]))

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        return tangents[0]


@dataclass(frozen=True)
class ByMode(Alias):
    """(training, inference): the first in a training step, the second elsewhere.

    The compiler resolves it before anything else.
    """

    def check(self, *xs: TensorType) -> None:
        require_operands(self.name, xs, 2)
        require(xs[0] == xs[1], f"bymode: {xs[0]} and {xs[1]}")

    def select(self, training: bool) -> int:
        return 0 if training else 1

    def reference(self, *xs: Array) -> Any:
        raise AssertionError("a value by mode is resolved before it is computed")

    def vjp(self, g: Any, y: Node, *xs: Node) -> Sequence[Node | None]:
        zero = np.zeros((), g.dtype)
        return by_mode(g, zero), by_mode(zero, g)

    def jvp(self, tangents: Sequence[Node | None], y: Node, *xs: Node) -> Node | None:
        zero = np.zeros((), y.dtype)
        return by_mode(*(zero if t is None else t for t in tangents))

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return tuple(classes.same(a, b) for a, b in zip(*xs, strict=True))


@public(Kind.ALIAS)
def stop_gradient(x: Any) -> Node:
    """x, taken as a constant by derivatives."""
    return apply(StopGradient(), as_nodes([x])[0])


@public(Kind.ALIAS)
def by_mode(training: Any, inference: Any) -> Node:
    """`training` in the mode of fit, step and gradients, `inference` in that of everything else."""
    nodes = as_nodes([training, inference])
    if nodes[0].dtype != nodes[1].dtype:
        fail(
            GraphError,
            "by_mode: the values differ in dtype",
            got=" and ".join(str(x.type) for x in nodes),
            do="convert one with .astype",
        )
    shape = broadcast_shapes([x.shape for x in nodes], "by_mode")
    return apply(ByMode(), *(stretch(x, shape) for x in nodes))


def bounded(x: Node, limit: AnyDim) -> Node:
    """The integers `x`, which must lie in 0 ... limit - 1."""
    return apply(BoundedLabel(limit), x)


def sized(what: str, x: Node, *least: AnyDim) -> Node:
    """x with the demand of a function that sizes are not negative, if any of them is known at run
    time only.
    """
    open_ = tuple(n for n in least if not isinstance(n, int))
    return apply(Sized(open_, what), x) if open_ else x
