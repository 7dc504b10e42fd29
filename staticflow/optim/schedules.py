"""Learning rates as functions of the step count, in the graph.

A schedule is called with two float64 scalar nodes: `done`, the number of steps finished before this
one (0 at the first), and `lr`, the node of its base rate. That node is fed by the session, so that
another base rate compiles nothing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.leaves import as_node
from staticflow.graph.node import Node
from staticflow.graph.require import as_float
from staticflow.ops import cos, equal, floor, logical_or, maximum, minimum, power, where

ByMember: TypeAlias = float | tuple[float, ...]  # of all members, or of each


class Schedule:
    """The base of all schedules; `base` is the rate that the session feeds, or one by member of a
    session of several members.
    """

    base: ByMember

    @property
    def members(self) -> int:
        """Of how many members there are rates; 0 if they have the same."""
        return len(self.base) if isinstance(self.base, tuple) else 0

    def of_member(self, index: int) -> Schedule:
        """That of one member."""
        return self.with_base(self.base[index]) if isinstance(self.base, tuple) else self

    def with_base(self, base: float) -> Schedule:
        """The same with another base rate."""
        one = copy.copy(self)
        object.__setattr__(one, "base", base)
        return one

    def __call__(self, done: Node, lr: Node) -> Node:
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """Always the base rate."""

    base: ByMember

    def __post_init__(self) -> None:
        _rates("lr", self.base)

    def __call__(self, done: Node, lr: Node) -> Node:
        return lr


@dataclass(frozen=True)
class Cosine(Schedule):
    """final + (lr - final) (1 + cos(pi t / steps)) / 2, and `final` after that."""

    base: ByMember
    steps: int
    final: float

    def __post_init__(self) -> None:
        _rates("lr", self.base)
        _count("steps", self.steps)
        _rate("final", self.final)

    def __call__(self, done: Node, lr: Node) -> Node:
        part = minimum(done / float(self.steps), 1.0)
        return self.final + (lr - self.final) * (0.5 + 0.5 * cos(math.pi * part))


@dataclass(frozen=True)
class Step(Schedule):
    """lr * factor^floor(t / every)."""

    base: ByMember
    every: int
    factor: float

    def __post_init__(self) -> None:
        _rates("lr", self.base)
        _count("every", self.every)
        _rate("factor", self.factor)

    def __call__(self, done: Node, lr: Node) -> Node:
        return lr * power(self.factor, floor(done / float(self.every)))


@dataclass(frozen=True)
class Exponential(Schedule):
    """lr * rate^t."""

    base: ByMember
    rate: float

    def __post_init__(self) -> None:
        _rates("lr", self.base)
        _rate("rate", self.rate)

    def __call__(self, done: Node, lr: Node) -> Node:
        return lr * power(self.rate, done)


@dataclass(frozen=True)
class Warmup(Schedule):
    """`then` from its start, multiplied during the first `steps` by 1/steps, 2/steps, ..."""

    steps: int
    then: Schedule

    def __post_init__(self) -> None:
        _count("steps", self.steps)

    @property
    def base(self) -> ByMember:  # type: ignore[override]
        return self.then.base

    def with_base(self, base: float) -> Schedule:
        return replace(self, then=self.then.with_base(base))

    def __call__(self, done: Node, lr: Node) -> Node:
        ramp = minimum((done + 1.0) / float(self.steps), 1.0)
        return ramp * self.then(maximum(done - float(self.steps), 0.0), lr)


@dataclass(frozen=True)
class Custom(Schedule):
    """The user's own function of the step count; it stands for the rate itself."""

    function: Callable[[Node], Any]
    base: ByMember = 1.0

    def __call__(self, done: Node, lr: Node) -> Node:
        rate = as_node(self.function(done), "float64")
        if rate.shape:
            fail(
                ShapeError,
                "a learning rate must be a scalar",
                got=str(rate.type),
                do="let the schedule return a number for each step",
            )
        return rate.astype("float64")


@dataclass(frozen=True)
class Each(Schedule):
    """A schedule of its own for each member of a session of several."""

    schedules: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedules", tuple(self.schedules))
        if any(one.members for one in self.schedules):
            fail(GraphError, "a list of schedules has one for each member, with one rate each")

    @property
    def base(self) -> ByMember:  # type: ignore[override]
        return tuple(float(np.ravel(one.base)[0]) for one in self.schedules)

    def of_member(self, index: int) -> Schedule:
        return self.schedules[index]

    def of_number(self, done: Node, lr: Node, member: Node) -> Node:
        """The rate of the member of a number, an int64 scalar; `lr` is its base rate. Schedules
        that differ in their base rates alone are one formula.
        """
        groups: dict[Schedule, list[int]] = {}
        for k, one in enumerate(self.schedules):
            groups.setdefault(one.with_base(1.0), []).append(k)
        *others, (last, _) = groups.items()
        rate = last(done, lr)
        for schedule, own in others:
            chosen = equal(member, own[0])
            for k in own[1:]:
                chosen = logical_or(chosen, equal(member, k))
            rate = where(chosen, schedule(done, lr), rate)
        return rate


def as_schedule(lr: Any) -> Schedule:
    """The schedule for a number, a schedule, a function from the step count to a rate, or a list of
    one of these for each member.
    """
    if isinstance(lr, Schedule):
        return lr
    if is_by_member(lr) and any(map(callable, lr)):
        return Each(tuple(map(as_schedule, lr)))
    if isinstance(lr, Mapping):
        fail(
            GraphError,
            "an optimizer takes a learning rate; it is given no parameters",
            got=f"{type(lr).__name__} of {', '.join(map(repr, lr))}"[:80],
            do="sf.Session(loss, optimizer=sf.optim.Adam(1e-3)) trains them; train= says which",
        )
    if callable(lr):
        return Custom(lr)
    return Constant(_rates("lr", lr))


def cosine(lr: Any, steps: int, final: float = 0.0) -> Schedule:
    """From `lr` down to `final` along half a cosine over `steps` steps; `final` after that."""
    return Cosine(_rates("lr", lr), _count("steps", steps), _rate("final", final))


def step(lr: Any, every: int, factor: float = 0.1) -> Schedule:
    """`lr`, multiplied by `factor` after each `every` steps."""
    return Step(_rates("lr", lr), _count("every", every), _rate("factor", factor))


def exponential(lr: Any, rate: float) -> Schedule:
    """`lr`, multiplied by `rate` after each step."""
    return Exponential(_rates("lr", lr), _rate("rate", rate))


def warmup(steps: int, then: Any) -> Schedule:
    """A linear rise over `steps` steps to the start of `then`, a rate or a schedule."""
    return Warmup(_count("steps", steps), as_schedule(then))


def is_by_member(value: Any) -> bool:
    """Whether a setting is a list of one value for each member."""
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _rates(name: str, values: Any) -> ByMember:
    """A rate, or a rate for each member."""
    if not is_by_member(values):
        return _rate(name, values)
    return tuple(_rate(name, value) for value in values)


def _rate(name: str, value: Any) -> float:
    rate = as_float(value)
    if rate is None:
        fail(GraphError, f"{name} must be a number", got=repr(value)[:80])
    if not 0 <= rate < math.inf:
        fail(GraphError, f"{name} must be finite and not negative", got=repr(value)[:80])
    return rate


def _count(name: str, value: Any) -> int:
    if not hasattr(value, "__index__") or value < 1:
        fail(GraphError, f"{name} must be a positive integer", got=repr(value)[:80])
    return int(value)
