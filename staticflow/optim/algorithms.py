"""Optimizers, by PyTorch's formulas and defaults, and schedules of the learning rate."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

from staticflow.errors import GraphError, fail
from staticflow.graph.node import Node
from staticflow.ops import exp, sign, sqrt
from staticflow.optim.base import Optimizer, Slots, Update, check
from staticflow.optim.schedules import ByMember, cosine, exponential, step, warmup


@dataclass(frozen=True)
class SGD(Optimizer):
    """p - lr b, with b = momentum * b + g."""

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "momentum", low=0.0)
        object.__setattr__(self, "nesterov", bool(self.nesterov))
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
        check(self, "alpha", low=0.0, high=1.0)
        check(self, "eps", low=0.0)
        check(self, "momentum", low=0.0)
        object.__setattr__(self, "centered", bool(self.centered))

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
        direction = g / (sqrt(v) + self.eps)
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
            check(self, name, low=0.0)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("sum",)

    def slot_init(self, name: str) -> float:
        return self.initial_accumulator_value

    def _change(self, now: Update) -> tuple[Node, Slots]:
        total = now.slots["sum"] + now.g * now.g
        rate = now.lr / (1.0 + (now.t - 1.0) * self.lr_decay) if self.lr_decay else now.lr
        return now.rate(rate) * now.g / (sqrt(total) + self.eps), {"sum": total}


@dataclass(frozen=True)
class Adam(Optimizer):
    """p - lr m' / (sqrt(v') + eps), with m', v' running means of g and g^2 free of their bias."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_betas(self)
        check(self, "eps", low=0.0)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def _change(self, now: Update) -> tuple[Node, Slots]:
        b1, b2 = self.betas
        m = b1 * now.slots["m"] + (1.0 - b1) * now.g
        v = b2 * now.slots["v"] + (1.0 - b2) * (now.g * now.g)
        rate = now.rate(now.lr / (1.0 - _decayed(b1, now.t)))
        root = now.scalar(1.0 / sqrt(1.0 - _decayed(b2, now.t)))
        return rate * m / (sqrt(v) * root + self.eps), {"m": m, "v": v}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: p is first multiplied by 1 - lr * weight_decay."""

    _: KW_ONLY
    weight_decay: ByMember = 1e-2
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
        direction = sign(b1 * m + (1.0 - b1) * now.g)
        return now.rate(now.lr) * direction, {"m": b2 * m + (1.0 - b2) * now.g}


def _decayed(beta: float, t: Node) -> Any:
    """beta^t for a float64 scalar t, as exp(t log beta), which costs a fraction of a power."""
    return exp(t * math.log(beta)) if beta > 0 else 0.0


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
