"""The base of the optimizers: clipping, weight decay, the learning rate, and the interface.

An optimizer is a value that builds nodes. The session keeps all parameters of one dtype in ONE flat
vector, and each of the optimizer's arrays ("slots") likewise; `update` maps these vectors of shape
("elements",) to their successors, so that a step of training ends in one fused loop. Coefficients
that depend on the step count are computed as float64 scalars and enter the loop as one number each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Self

from staticflow.errors import GraphError, fail
from staticflow.graph.node import Node
from staticflow.graph.require import as_float
from staticflow.ops import clip, minimum
from staticflow.optim.schedules import ByMember, Constant, Each, Schedule, as_schedule, is_by_member

Slots = dict[str, Node]


@dataclass(frozen=True)
class Update:
    """What one update works on: the flat vectors `g` and `slots`, and float64 scalars."""

    g: Node
    slots: Mapping[str, Node]
    t: Node  # the number of this step, counted from 1
    lr: Node
    scale: Node | None  # of the learning rate, where parameters differ in it

    def scalar(self, coefficient: Node) -> Node:
        """A scalar in the vectors' dtype."""
        return coefficient.astype(self.g.dtype)

    def rate(self, coefficient: Node) -> Node:
        """A scalar in the vectors' dtype, for each element times its own scale."""
        scalar = self.scalar(coefficient)
        return scalar if self.scale is None else scalar * self.scale


@dataclass(frozen=True)
class Optimizer:
    """The base of all optimizers: the learning rate, clipping, weight decay."""

    lr: Any = 1e-3
    _: KW_ONLY
    weight_decay: ByMember = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    decoupled: ClassVar[bool] = False  # whether the decay leaves the gradient alone

    def __post_init__(self) -> None:
        as_schedule(self.lr)
        if is_by_member(self.lr):
            given = self.schedule
            object.__setattr__(self, "lr", given.base if isinstance(given, Constant) else given)
        if is_by_member(self.weight_decay):
            decays = tuple(checked(self, "weight_decay", x, low=0.0) for x in self._decays)
            object.__setattr__(self, "weight_decay", decays)
        else:
            check(self, "weight_decay", low=0.0)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                check(self, name, low=0.0, above=True)

    @property
    def schedule(self) -> Schedule:
        """The learning rate as a function of the step count."""
        return as_schedule(self.lr)

    @property
    def base_lr(self) -> ByMember:
        """The number that the session feeds as the learning rate, or one for each member."""
        return self.schedule.base

    @property
    def _decays(self) -> Sequence[float]:
        """The decays of members; none if it is the same for all."""
        decay: Any = self.weight_decay
        return list(decay) if is_by_member(decay) else ()

    @property
    def lengths(self) -> dict[str, int]:
        """Of how many members there are settings, by name; those that are the same for all are
        left out.
        """
        found = {"lr": self.schedule.members, "weight_decay": len(self._decays)}
        return {name: count for name, count in found.items() if count}

    def of_member(self, index: int) -> Self:
        """The optimizer with the settings of one member."""
        decay, lr = self.weight_decay, self.lr
        if self.schedule.members:
            one = self.schedule.of_member(index)
            lr = one.base if isinstance(one, Constant) else one
        return replace(self, lr=lr, weight_decay=self._decays[index] if self._decays else decay)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept for each parameter."""
        return ()

    @property
    def needs_norm(self) -> bool:
        """Whether `update` must be given the norm of the whole gradient."""
        return self.clip_norm is not None

    def slot_init(self, name: str) -> float:
        """What a slot is filled with at the start."""
        return 0.0

    @property
    def needs_member(self) -> bool:
        """Whether `learning_rate` must be given the number of the member."""
        return isinstance(self.schedule, Each)

    def learning_rate(self, step: Node, lr: Node, member: Node | None = None) -> Node:
        """The rate of step number `step` (int64, from 1) as a float64 scalar; `lr` is base_lr's,
        and `member` the number of a member that has a schedule of its own.
        """
        schedule, done = self.schedule, step.astype("float64") - 1.0
        if isinstance(schedule, Each):
            assert member is not None, "of which member"
            return schedule.of_number(done, lr, member)
        return schedule(done, lr)

    def update(
        self,
        p: Node,
        g: Node,
        slots: Mapping[str, Node],
        step: Node,
        lr: Node,
        norm: Node | None = None,
        decay_mask: Node | None = None,
        lr_scale: Node | None = None,
        weight_decay: Node | None = None,
    ) -> tuple[Node, Slots]:
        """The new parameters and slots.

        `p`, `g`, each slot, `decay_mask` and `lr_scale` are vectors of one float dtype; `lr` is the
        result of `learning_rate`, `norm` that of the whole gradient. `weight_decay` is a member's,
        a float64 scalar, where each has its own.
        """
        g = self._clipped(g, norm)
        decay: Any = self.weight_decay if weight_decay is None else weight_decay
        if self.weight_decay and not self.decoupled:
            masked = p if decay_mask is None else decay_mask * p
            g = g + (decay if weight_decay is None else decay.astype(p.dtype)) * masked
        now = Update(g, slots, step.astype("float64"), lr, lr_scale)
        change, new = self._change(now)
        if self.weight_decay and self.decoupled:
            p = self._decayed(p, now, decay, decay_mask)
        return p - change, new

    def _decayed(self, p: Node, now: Update, decay: Any, mask: Node | None) -> Node:
        """p (1 - lr * decay), the factor as one number where it is the same for all."""
        if mask is None and now.scale is None:
            return p * now.scalar(1.0 - now.lr * decay)
        part = now.rate(now.lr * decay)
        return p * (1.0 - (part if mask is None else part * mask))

    def _change(self, now: Update) -> tuple[Node, Slots]:
        """What is subtracted from the parameters, and the new slots."""
        raise NotImplementedError

    def _clipped(self, g: Node, norm: Node | None) -> Node:
        """The gradient, its norm limited first, then its elements."""
        if self.clip_norm is not None:
            if norm is None:
                fail(GraphError, "clip_norm: the norm of the gradient is missing")
            factor = minimum(self.clip_norm / (norm.astype("float64") + 1e-6), 1.0)
            g = g * factor.astype(g.dtype)
        if self.clip_value is not None:
            g = clip(g, -self.clip_value, self.clip_value)
        return g


def check(
    optimizer: Optimizer, name: str, low: float, high: float = math.inf, above: bool = False
) -> None:
    """Refuse a setting outside [low, high), or (low, high) if it must be above; make it a float."""
    given = getattr(optimizer, name)
    object.__setattr__(optimizer, name, checked(optimizer, name, given, low, high, above))


def checked(
    optimizer: Optimizer,
    name: str,
    given: Any,
    low: float,
    high: float = math.inf,
    above: bool = False,
) -> float:
    """A setting as a float, in the same interval."""
    value = as_float(given)
    if value is None or not low <= value < high or (above and value == low):
        interval = f"{'(' if above else '['}{low:g}, {high:g})"
        what = f"{type(optimizer).__name__}: {name} must lie in {interval}"
        fail(GraphError, what, repr(given)[:80])
    return value
