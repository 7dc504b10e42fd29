"""Random values, as functions of (seed, node, step, position): the same for any number of threads.

    mask = ops.random.uniform(x.shape) < 0.9       # drawn anew in every training step and run

Each call makes a node of its own, told apart by a token; the same node has one value in a step,
however often it is used. No derivative passes through a draw. What the step of an `sf.scan` draws
is drawn anew in each of its steps, and so is that of an `sf.while_loop` with `max_steps`.
A session counts its runs, so that each draws anew; `run(..., seed=k)`, `sf.function` and
`session.jit` draw by their seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import AnyDim
from staticflow.graph.kinds import FlatMap
from staticflow.graph.leaves import Hyper
from staticflow.graph.node import Array, Axes, Classes, Kind, Node, OutType, apply
from staticflow.graph.require import is_size, require
from staticflow.graph.types import FLOATS, Shape, TensorType, as_dtype, as_shape, normalise_axis
from staticflow.native.math.random_formulas import draw
from staticflow.ops.alias import stop_gradient
from staticflow.ops.coerce import floating, stretch
from staticflow.ops.elementwise import log
from staticflow.ops.public import public
from staticflow.ops.shape import moveaxis
from staticflow.ops.statistics import argmax

_BODIES = {d: d + "_{t}({seed}, {stream}, {step}, {flat})" for d in ("uniform", "normal")}


@dataclass(frozen=True)
class Random(FlatMap):
    """(seed, step) -> an array of `shape` drawn from `dist`: uniform in [0, 1), or normal."""

    dist: str
    shape: Shape
    token: Any  # an object that makes this node distinct; the stream's number where it is computed
    dtype: str
    is_random = True
    whole_size = True
    letters = ("seed", "step")

    @property
    def body(self) -> str:
        return _BODIES[self.dist]

    def check(self, *xs: TensorType) -> None:
        require(self.dist in _BODIES, f"there are no draws {self.dist!r}")
        require(self.dtype in FLOATS, f"{self.dist}: draws of {self.dtype}")
        require(type(self.token) is object, f"{self.dist}: draws without a stream")
        require(all(map(is_size, self.shape)), f"{self.dist}: draws of shape {self.shape}")
        require(xs == (TensorType((), "int64"),) * 2, f"{self.dist}: draws by {xs}")

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType(self.shape, self.dtype)

    def reference(self, *xs: Array) -> Any:
        seed, step = (int(x) for x in xs)
        shape: Any = self.shape
        count = math.prod(shape)
        return draw(self.dist, self.dtype, seed, self.token, step, count).reshape(shape)

    def drawn(self) -> Any:
        return self.token

    def repeated(self, count: AnyDim) -> Random:
        """A draw of this shape for each of `count` steps of a loop, along a new leading axis."""
        return replace(self, shape=(count, *self.shape), token=object())

    def relate(self, classes: Classes, out: OutType, *xs: Axes) -> Any:
        return tuple(classes.fresh(n) for n in self.shape)

    def sizes(self) -> tuple[Any, ...]:
        return self.shape

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.dist, len(self.shape), self.dtype)

    def attributes(self) -> str:
        return f"{self.dist}, shape=({', '.join(map(str, self.shape))})"


def seed_leaf() -> Node:
    """The seed of a session; all such leaves are one value."""
    return apply(Hyper("seed", TensorType((), "int64")))


def step_leaf() -> Node:
    """The number of training steps done; all such leaves are one value."""
    return apply(Hyper("step", TensorType((), "int64")))


def number_streams(order: Iterable[Node]) -> dict[Node, int]:
    """Number the random nodes of a graph by their place in it, so that a rebuilt graph agrees."""
    numbers: dict[int, int] = {}
    streams: dict[Node, int] = {}
    for node in order:
        if isinstance(node.op, Random):
            streams[node] = numbers.setdefault(id(node.op.token), len(numbers))
    return streams


def with_stream(op: Random, stream: int) -> Random:
    """The op with its stream's number in place of the token, ready to be computed."""
    return replace(op, token=stream)


def _draw(dist: str, shape: Any, dtype: Any) -> Node:
    name = as_dtype(dtype)
    if name not in FLOATS:
        fail(GraphError, f"{dist}: draws floats", got=name, do="convert with .astype")
    return apply(Random(dist, as_shape(shape), object(), name), seed_leaf(), step_leaf())


@public(Kind.MAP)
def uniform(shape: Any, low: float = 0.0, high: float = 1.0, dtype: Any = "float32") -> Node:
    """Random numbers, equally likely anywhere in low <= u < high."""
    draw = _draw("uniform", shape, dtype)
    return draw if (low, high) == (0.0, 1.0) else draw * (high - low) + low


@public(Kind.MAP)
def normal(shape: Any, mean: float = 0.0, std: float = 1.0, dtype: Any = "float32") -> Node:
    """Random numbers from the normal distribution."""
    draw = _draw("normal", shape, dtype)
    return draw if (mean, std) == (0.0, 1.0) else draw * std + mean


@public(Kind.MAP)
def bernoulli(shape: Any, p: float = 0.5) -> Node:
    """Booleans that are true with probability p."""
    return _draw("uniform", shape, "float32") < p


@public(Kind.MAP)
def categorical(logits: Any, axis: int = -1, shape: Any = None) -> Node:
    """Classes, int64, with probabilities softmax(logits) along an axis.

    One for each row of logits; with `shape`, which must end in the shape of the rows, as many more.
    The largest of logits to which noise is added, -log(-log(u)), has that distribution.
    """
    node = floating("categorical", logits)
    node = moveaxis(node, normalise_axis(axis, node.ndim, "categorical"), -1)
    rows = node.shape[:-1] if shape is None else as_shape(shape)
    lead = len(rows) - (node.ndim - 1)
    if lead < 0 or rows[lead:] != node.shape[:-1]:
        fail(
            ShapeError,
            "categorical: the shape must end in the shape of the rows of logits",
            got=f"{rows} for {node.type} along axis {axis}",
        )
    wide = (*rows, node.shape[-1])
    noise = -log(-log(_draw("uniform", wide, node.dtype)))
    return argmax(stretch(stop_gradient(node), wide) + noise, -1)
