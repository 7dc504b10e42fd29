"""The training step as a function: loss, gradients and the optimizer's update of one batch.

Parameters, the optimizer's arrays, states, the step count and the learning rate are what a step
hands to the next; they begin as they are in the session. The outputs are a function of the same
parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from staticflow.autodiff.derivatives import reaching
from staticflow.compiler.passes.simplify import resolve_mode
from staticflow.errors import GraphError, fail
from staticflow.graph.leaves import Input, Param, State, const
from staticflow.graph.loop_op import substitute
from staticflow.graph.node import Node, apply
from staticflow.graph.state_updates import updates_of
from staticflow.graph.types import TensorType
from staticflow.native.memory import Array
from staticflow.ops import reshape, sqrt
from staticflow.session.interchange.c_out.stream import Carried, Step


@dataclass
class Training:
    """The graph of a step; `places` are the inputs that stand for parameters and states."""

    step: Step
    starts: Sequence[Array]
    places: Mapping[Node, Node]


@dataclass
class _Carries:
    """What is handed on, with what it begins as."""

    before: dict[str, Node] = field(default_factory=dict)
    after: dict[str, Node] = field(default_factory=dict)
    starts: dict[str, Array] = field(default_factory=dict)

    def begin(self, name: str, start: Any, dtype: str, like: Node) -> Node:
        """An input for a value that begins so, named at the line of a node."""
        array = np.asarray(start, dtype)
        node = apply(Input(name, TensorType(array.shape, dtype)), where=like.where)
        self.before[name], self.starts[name] = node, array
        return node

    def all(self, places: dict[Node, Node]) -> list[Carried]:
        after = dict(zip(self.after, substitute(list(self.after.values()), places), strict=True))
        return [Carried(name, x, after[name], x) for name, x in self.before.items()]


def training_step(session: Any) -> Training:
    """The step of a session's training; raises GraphError if it has no loss or no optimizer."""
    state = session._state
    optimizer, loss = state.require_optimizer("export_c"), state.require_loss()
    states = [s for s in state.graph.states if isinstance(s.op, State) and s.op.updates]
    value, *updates = resolve_mode([loss, *updates_of(states)], training=True)
    if any(n != 1 for n in value.shape):
        fail(GraphError, "export_c: a training step needs a scalar loss", got=str(value.type),
             where=value.where)  # fmt: skip
    value = reshape(value, ()) if value.ndim else value
    found = zip(state.trained, reaching(value, state.trained), strict=True)
    gradients = {p: g for p, g in found if g is not None}
    carries = _Carries()
    places = {p: carries.begin(p.name, session.params[p.name], p.dtype, p) for p in gradients}
    places |= {s: carries.begin(s.name, session.states[s.name], s.dtype, s) for s in states}
    for s, update in zip(states, updates, strict=True):
        carries.after[s.name] = update
    _update(carries, optimizer, gradients, state)
    (shown,) = substitute([value], dict(places))
    step = Step([shown], carries.all(dict(places)))
    return Training(step, list(carries.starts.values()), places)


def _update(carries: _Carries, optimizer: Any, gradients: Mapping[Node, Node], state: Any) -> None:
    """Enter what the optimizer makes of each parameter."""
    first = next(iter(gradients))
    count = carries.begin("step", state.step_count, "int64", first)
    base = carries.begin("learning_rate", optimizer.base_lr, "float64", first)
    carries.after["step"], carries.after["learning_rate"] = number, _ = count + 1, base
    rate = optimizer.learning_rate(number, base)
    wide = [g.astype("float64") for g in gradients.values()] if optimizer.needs_norm else []
    squares = [(g * g).sum() for g in wide]
    norm = sqrt(sum(squares[1:], squares[0])) if squares else None
    flat = state.params.flats[first.dtype, True]
    spans = {span.node: span for span in flat.spans}
    for p, g in gradients.items():
        assert isinstance(p.op, Param)
        slots = {
            slot: carries.begin(f"{p.name}.{slot}", flat.view(spans[p], data), p.dtype, p)
            for slot, data in state.slots.items()
        }
        new, own = optimizer.update(
            p, g, slots, step=number, lr=rate, norm=norm,
            decay_mask=None if p.op.decay else const(0.0, p.dtype),
            lr_scale=None if p.op.lr_scale == 1.0 else const(p.op.lr_scale, p.dtype),
        )  # fmt: skip
        carries.after[p.name] = new
        carries.after |= {f"{p.name}.{slot}": value for slot, value in own.items()}
