"""Optimizers: the update of the parameters as a graph, by PyTorch's formulas and defaults.

An optimizer is a value that builds nodes. The session keeps all parameters of one dtype in ONE flat
vector, and each of the optimizer's arrays ("slots") likewise; `update` maps these vectors of shape
("elements",) to their successors, so that a step of training ends in one fused loop. Coefficients
that depend on the step count are computed as float64 scalars and enter the loop as one number each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from staticflow import ops
from staticflow.errors import GraphError, fail
from staticflow.graph import Node
from staticflow.learning_rates import Schedule, as_schedule, cosine, exponential, step, warmup

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
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    decoupled: ClassVar[bool] = False  # whether the decay leaves the gradient alone

    def __post_init__(self) -> None:
        as_schedule(self.lr)
        _check(self, "weight_decay", low=0.0)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                _check(self, name, low=0.0, above=True)

    @property
    def schedule(self) -> Schedule:
        """The learning rate as a function of the step count."""
        return as_schedule(self.lr)

    @property
    def base_lr(self) -> float:
        """The number that the session feeds as the learning rate."""
        return self.schedule.base

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

    def learning_rate(self, step: Node, lr: Node) -> Node:
        """The rate of step number `step` (int64, from 1) as a float64 scalar; `lr` is base_lr's."""
        return self.schedule(step.astype("float64") - 1.0, lr)

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
    ) -> tuple[Node, Slots]:
        """The new parameters and slots.

        `p`, `g`, each slot, `decay_mask` and `lr_scale` are vectors of one float dtype; `lr` is the
        result of `learning_rate`, `norm` that of the whole gradient.
        """
        g = self._clipped(g, norm)
        if self.weight_decay and not self.decoupled:
            masked = p if decay_mask is None else decay_mask * p
            g = g + self.weight_decay * masked
        now = Update(g, slots, step.astype("float64"), lr, lr_scale)
        change, new = self._change(now)
        if self.weight_decay and self.decoupled:
            p = self._decayed(p, now, decay_mask)
        return p - change, new

    def _decayed(self, p: Node, now: Update, mask: Node | None) -> Node:
        """p (1 - lr * weight_decay), the factor as one number where it is the same for all."""
        if mask is None and now.scale is None:
            return p * now.scalar(1.0 - now.lr * self.weight_decay)
        part = now.rate(now.lr * self.weight_decay)
        return p * (1.0 - (part if mask is None else part * mask))

    def _change(self, now: Update) -> tuple[Node, Slots]:
        """What is subtracted from the parameters, and the new slots."""
        raise NotImplementedError

    def _clipped(self, g: Node, norm: Node | None) -> Node:
        """The gradient, its norm limited first, then its elements."""
        if self.clip_norm is not None:
            if norm is None:
                fail(GraphError, "clip_norm: the norm of the gradient is missing")
            factor = ops.minimum(self.clip_norm / (norm.astype("float64") + 1e-6), 1.0)
            g = g * factor.astype(g.dtype)
        if self.clip_value is not None:
            g = ops.clip(g, -self.clip_value, self.clip_value)
        return g


@dataclass(frozen=True)
class SGD(Optimizer):
    """p - lr b, with b = momentum * b + g."""

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "momentum", low=0.0)
        if self.nesterov and not self.momentum:
            fail(GraphError, "SGD: nesterov needs a momentum", do="set momentum, 0.9 for example")

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def _change(self, now: Update) -> tuple[Node, Slots]:
        if not self.momentum:
            return now.rate(now.lr) * now.g, {}
        b = self.momentum * now.slots["momentum"] + now.g
        direction = now.g + self.momentum * b if self.nesterov else b
        return now.rate(now.lr) * direction, {"momentum": b}


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """p - lr g / (sqrt(v) + eps), with v a running mean of g^2, less that of g if `centered`."""

    lr: Any = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "alpha", low=0.0, high=1.0)
        _check(self, "eps", low=0.0)
        _check(self, "momentum", low=0.0)

    @property
    def slots(self) -> tuple[str, ...]:
        wanted = {"square": True, "mean": self.centered, "momentum": self.momentum > 0}
        return tuple(name for name, used in wanted.items() if used)

    def _change(self, now: Update) -> tuple[Node, Slots]:
        g = now.g
        v = self.alpha * now.slots["square"] + (1.0 - self.alpha) * (g * g)
        new = {"square": v}
        if self.centered:
            mean = self.alpha * now.slots["mean"] + (1.0 - self.alpha) * g
            new["mean"] = mean
            v = v - mean * mean
        direction = g / (ops.sqrt(v) + self.eps)
        if self.momentum:
            direction = self.momentum * now.slots["momentum"] + direction
            new["momentum"] = direction
        return now.rate(now.lr) * direction, new


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """p - lr g / (sqrt(v) + eps), with v the sum of all g^2."""

    lr: Any = 1e-2
    lr_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lr_decay", "initial_accumulator_value", "eps"):
            _check(self, name, low=0.0)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("sum",)

    def slot_init(self, name: str) -> float:
        return self.initial_accumulator_value

    def _change(self, now: Update) -> tuple[Node, Slots]:
        total = now.slots["sum"] + now.g * now.g
        rate = now.lr / (1.0 + (now.t - 1.0) * self.lr_decay) if self.lr_decay else now.lr
        return now.rate(rate) * now.g / (ops.sqrt(total) + self.eps), {"sum": total}


@dataclass(frozen=True)
class Adam(Optimizer):
    """p - lr m' / (sqrt(v') + eps), with m', v' running means of g and g^2 free of their bias."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_betas(self)
        _check(self, "eps", low=0.0)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def _change(self, now: Update) -> tuple[Node, Slots]:
        b1, b2 = self.betas
        m = b1 * now.slots["m"] + (1.0 - b1) * now.g
        v = b2 * now.slots["v"] + (1.0 - b2) * (now.g * now.g)
        rate = now.rate(now.lr / (1.0 - ops.power(b1, now.t)))
        root = now.scalar(1.0 / ops.sqrt(1.0 - ops.power(b2, now.t)))
        return rate * m / (ops.sqrt(v) * root + self.eps), {"m": m, "v": v}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: p is first multiplied by 1 - lr * weight_decay."""

    _: KW_ONLY
    weight_decay: float = 1e-2
    decoupled = True


@dataclass(frozen=True)
class Lion(Optimizer):
    """p - lr sign(b1 m + (1 - b1) g), with m a running mean of g by b2; decoupled weight decay."""

    lr: Any = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    decoupled = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_betas(self)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m",)

    def _change(self, now: Update) -> tuple[Node, Slots]:
        b1, b2 = self.betas
        m = now.slots["m"]
        direction = ops.sign(b1 * m + (1.0 - b1) * now.g)
        return now.rate(now.lr) * direction, {"m": b2 * m + (1.0 - b2) * now.g}


def _check(
    optimizer: Optimizer, name: str, low: float, high: float = math.inf, above: bool = False
) -> None:
    """Refuse a setting outside [low, high), or (low, high) if it must be above; make it a float."""
    given = getattr(optimizer, name)
    value = float(given) if hasattr(given, "__float__") else math.nan
    if not low <= value < high or (above and value == low):
        interval = f"{'(' if above else '['}{low:g}, {high:g})"
        fail(GraphError, f"{type(optimizer).__name__}: {name} must lie in {interval}", repr(given))
    object.__setattr__(optimizer, name, value)


def _check_betas(optimizer: Adam | Lion) -> None:
    good = len(optimizer.betas) == 2 and all(0 <= beta < 1 for beta in optimizer.betas)
    if not good:
        fail(
            GraphError,
            f"{type(optimizer).__name__}: betas must be two numbers in [0, 1)",
            got=repr(optimizer.betas),
        )


__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Optimizer",
    "RMSProp",
    "cosine",
    "exponential",
    "step",
    "warmup",
]
