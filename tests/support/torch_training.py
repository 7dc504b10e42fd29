"""Training by PyTorch as `Session.fit` does it: the same batches, optimizers, groups and schedules.

In float64, so that only the session's own rounding counts; or in its dtype, which tells how much
rounding counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import staticflow as sf
from staticflow.graph.leaves import Param
from staticflow.graph.traversal import toposort
from staticflow.ops.random import Random
from staticflow.runtime.interpreter import interpret
from tests.support.thread_nets import Net, Tensors

Array = NDArray[Any]
Values = dict[str, Array]


@dataclass(frozen=True)
class Recipe:
    """An optimizer of ours and PyTorch's, with clipping and a schedule (rates of steps 0, 1, ..).

    `slots` maps our name of each array that an optimizer keeps to PyTorch's.
    """

    ours: Callable[[Any], Any]  # of the rate: a number or a schedule
    theirs: Callable[[Any], Any]  # of groups of parameters
    slots: Mapping[str, str]
    clip_norm: float | None = None
    clip_value: float | None = None
    signs: bool = False  # whether only the sign of something counts


class Lion(torch.optim.Optimizer):
    """By the paper's Algorithm 2, with the settings of the recipe below."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.1})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                direction = torch.sign(0.8 * m + (1 - 0.8) * p.grad)
                p -= group["lr"] * (direction + group["weight_decay"] * p)
                m.mul_(0.95).add_((1 - 0.95) * p.grad)


_o, _t = sf.optim, torch.optim
MOMENTUM, ADAM = {"momentum": "momentum_buffer"}, {"m": "exp_avg", "v": "exp_avg_sq"}
RECIPES: dict[str, Recipe] = {
    "sgd": Recipe(_o.SGD, lambda p: _t.SGD(p, 0.1), {}),
    "sgd, clipped norm": Recipe(
        lambda r: _o.SGD(r, 0.9, weight_decay=0.05, clip_norm=0.3),
        lambda p: _t.SGD(p, 0.1, 0.9, weight_decay=0.05), MOMENTUM, clip_norm=0.3,
    ),
    "nesterov, clipped values": Recipe(
        lambda r: _o.SGD(r, 0.8, nesterov=True, clip_value=0.02),
        lambda p: _t.SGD(p, 0.1, 0.8, nesterov=True), MOMENTUM, clip_value=0.02,
    ),
    "rmsprop": Recipe(
        lambda r: _o.RMSProp(r, alpha=0.9, eps=1e-2, momentum=0.5, centered=True),
        lambda p: _t.RMSprop(p, 0.1, 0.9, 1e-2, 0.0, 0.5, centered=True),
        {"square": "square_avg", "mean": "grad_avg", "momentum": "momentum_buffer"},
    ),
    "adagrad": Recipe(
        lambda r: _o.Adagrad(r, 0.1, 0.1, 1e-2), lambda p: _t.Adagrad(p, 0.1, 0.1, 0, 0.1, 1e-2),
        {"sum": "sum"},
    ),
    "adam": Recipe(
        lambda r: _o.Adam(r, eps=1e-2, weight_decay=0.03),
        lambda p: _t.Adam(p, 0.1, eps=1e-2, weight_decay=0.03), ADAM,
    ),
    "adamw, clipped both": Recipe(
        lambda r: _o.AdamW(r, eps=1e-2, weight_decay=0.1, clip_norm=0.5, clip_value=0.05),
        lambda p: _t.AdamW(p, 0.1, eps=1e-2, weight_decay=0.1), ADAM, 0.5, 0.05,
    ),
    "lion": Recipe(
        lambda r: _o.Lion(r, (0.8, 0.95), weight_decay=0.1), Lion, {"m": "m"}, signs=True
    ),
}  # fmt: skip


def _cosine(k: int) -> float:
    return float(0.01 + 0.01 * (1 + np.cos(np.pi * min(k, 8) / 8)))


def _warmup(k: int) -> float:
    return 0.01 * (k + 1) if k < 4 else 0.04 * 0.8 ** (k - 4)


RATES: dict[str, tuple[Any, Callable[[int], float]]] = {  # ours, and the rate of step k
    "constant": (0.02, lambda k: 0.02),
    "cosine": (_o.cosine(0.03, 8, 0.01), _cosine),
    "warmup": (_o.warmup(4, _o.exponential(0.04, 0.8)), _warmup),
}


@dataclass(frozen=True)
class Plan:
    """What one fit does."""

    batch: int
    last: int  # rows of each epoch's last batch
    batches: int
    epochs: int
    shuffle: bool

    @property
    def rows(self) -> int:
        return (self.batches - 1) * self.batch + self.last

    def orders(self, session: sf.Session) -> Iterator[Array]:
        """The order of the rows in each epoch of a session that has not trained yet."""
        rng = copy.deepcopy(session._state.rng)
        for _ in range(self.epochs):
            yield rng.permutation(self.rows) if self.shuffle else np.arange(self.rows)


@dataclass(frozen=True)
class Trained:
    """Parameters, states and slots after a fit, and the loss of each epoch."""

    values: Values
    losses: list[float]


def slots_of(session: sf.Session) -> Values:
    """The optimizer's arrays, named as "slot of parameter"."""
    trainable = [n for n in session.params.nodes.values() if n.op.trainable]
    flat = session.params.flats[(trainable[0].dtype, True)]
    return {
        f"{slot} of {span.node.name}": flat.view(span, array).copy()
        for slot, array in session._state.slots.items()
        for span in flat.spans
    }


def trained_by_session(session: sf.Session, data: Values, plan: Plan) -> Trained:
    """Fit a session as planned."""
    history = session.fit(
        data, epochs=plan.epochs, batch_size=plan.batch, shuffle=plan.shuffle, progress=False,
        batch_axis="batch",
    )  # fmt: skip
    values = {n: a.copy() for n, a in (*session.params.items(), *session.states.items())}
    return Trained({**values, **slots_of(session)}, [log["loss"] for log in history.epochs])


def trained_by_torch(
    session: sf.Session, net: Net, recipe: Recipe, rate: Callable[[int], float],
    data: Values, plan: Plan, dtype: str = "float64",
) -> Trained:  # fmt: skip
    """What fitting the session must give; the session is left as it is."""
    params = {name: _tensor(a, dtype) for name, a in session.params.items()}
    states = {name: _tensor(a, dtype) for name, a in session.states.items()}
    trainable = {n: p for n, p in params.items() if session.params.nodes[n].op.trainable}
    for p in trainable.values():
        p.requires_grad_()
    nodes = [session.params.nodes[name].op for name in trainable]
    optimizer = recipe.theirs(list(map(_group, nodes, trainable.values())))
    losses, step = [], 0
    for order in plan.orders(session):
        total = 0.0
        for first in range(0, plan.rows, plan.batch):
            rows = order[first : first + plan.batch]
            batch = {name: _tensor(a[rows], dtype) for name, a in data.items()}
            draws = _draws(session, {name: a[rows] for name, a in data.items()}, step + 1)
            for group, op in zip(optimizer.param_groups, nodes, strict=True):
                group["lr"] = rate(step) * op.lr_scale
            optimizer.zero_grad()
            loss = net.loss(params, batch, states, draws)
            loss.backward()
            _clip(recipe, trainable)
            optimizer.step()
            total += float(loss.detach()) * len(rows)
            step += 1
        losses.append(total / plan.rows)
    return Trained(_found(params, states, trainable, optimizer, recipe), losses)


def _tensor(array: Array, dtype: str) -> torch.Tensor:
    made = np.array(array, dtype if array.dtype.kind == "f" else None)
    return torch.from_numpy(made)


def _group(op: Param, p: torch.Tensor) -> dict[str, Any]:
    return {"params": [p]} if op.decay else {"params": [p], "weight_decay": 0.0}


def _clip(recipe: Recipe, trainable: Tensors) -> None:
    if recipe.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(trainable.values(), recipe.clip_norm)
    if recipe.clip_value is not None:
        torch.nn.utils.clip_grad_value_(trainable.values(), recipe.clip_value)


def _draws(session: sf.Session, batch: Values, step: int) -> list[torch.Tensor]:
    """What the session draws in a step, by the reference of the op."""
    drawn = [n for n in toposort([session.loss]) if isinstance(n.op, Random)]
    if not drawn:
        return []
    env = {session.inputs[name]: array for name, array in batch.items()}
    values = interpret([*drawn, *env], env, seed=session.seed, step=step)
    return [torch.from_numpy(np.asarray(value)) for value in values[: len(drawn)]]


def _found(
    params: Tensors, states: Tensors, trainable: Tensors, optimizer: Any, recipe: Recipe
) -> Values:
    found = {n: t.detach().numpy().copy() for n, t in (*params.items(), *states.items())}
    for ours, theirs in recipe.slots.items():
        for name, p in trainable.items():
            found[f"{ours} of {name}"] = optimizer.state[p][theirs].numpy().copy()
    return found
