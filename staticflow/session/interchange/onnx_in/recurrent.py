"""ONNX's RNN, LSTM and GRU as scans of ours, with all of their attributes.

A direction is one scan. With the usual activations, without clip, peepholes or input_forget, its
step is that of `models.RNN`, so that it is compiled and exported as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import staticflow.ops as ops
from staticflow.graph.node import Node
from staticflow.ops.control_flow.scan import scan
from staticflow.session.interchange.onnx_in.elementwise import Writer
from staticflow.session.interchange.onnx_in.values import Call

State = tuple[Node, ...]
Function = Callable[[Node], Node]
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
USUAL = {
    "RNN": ("Tanh",), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"),
}  # fmt: skip

# Activations by their names in small letters: the function of alpha and beta, and their defaults.
ACTIVATIONS: Mapping[str, tuple[Callable[..., Node], tuple[float, ...]]] = {
    "relu": (ops.relu, ()), "tanh": (ops.tanh, ()), "sigmoid": (ops.sigmoid, ()),
    "affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "leakyrelu": (lambda x, a: ops.where(x >= 0, x, a * x), (0.01,)),
    "thresholdedrelu": (lambda x, a: ops.where(x >= a, x, 0.0), (1.0,)),
    "scaledtanh": (lambda x, a, b: a * ops.tanh(b * x), (1.0, 1.0)),
    "hardsigmoid": (lambda x, a, b: ops.clip(a * x + b, 0.0, 1.0), (0.2, 0.5)),
    "elu": (lambda x, a: ops.elu(x, a), (1.0,)), "softsign": (ops.softsign, ()),
    "softplus": (ops.softplus, ()),
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """The step of one direction, but for its weights."""

    kind: str
    functions: tuple[Function, ...]
    clip: float | None
    input_forget: bool
    before_reset: bool  # of a GRU: whether the reset gate comes after the product
    peepholes: tuple[Node, ...]  # of an LSTM: for the input, output and forget gate

    def held(self, x: Node) -> Node:
        return x if self.clip is None else ops.clip(x, -self.clip, self.clip)

    def lstm(self, wx: Node, uh: Node, state: State) -> State:
        f, g, h = self.functions
        i, o, forget, c = ops.split(wx + uh, 4, -1)
        if self.peepholes:
            i, forget = i + self.peepholes[0] * state[1], forget + self.peepholes[2] * state[1]
        entered = f(self.held(i))
        kept = 1.0 - entered if self.input_forget else f(self.held(forget))
        cell = kept * state[1] + entered * g(self.held(c))
        if self.peepholes:
            o = o + self.peepholes[1] * cell
        return f(self.held(o)) * h(cell), cell

    def rnn(self, wx: Node, uh: Node, state: State) -> State:
        return (self.functions[0](self.held(wx + uh)),)


def _rule(c: Call, direction: int, directions: int, peepholes: tuple[Node, ...]) -> Rule:
    names = [str(n) for n in c.attribute("activations", USUAL[c.kind] * directions)]
    count = len(USUAL[c.kind])
    if len(names) != count * directions:
        c.refuse(f"it needs {count} activations for each direction", f"{len(names)} of them")
    alphas, betas = (iter(c.attribute(f"activation_{k}", ())) for k in ("alpha", "beta"))
    functions = [_activation(c, name, alphas, betas) for name in names]
    clip = c.attribute("clip")
    return Rule(
        c.kind, tuple(functions[count * direction : count * (direction + 1)]),
        clip, bool(c.attribute("input_forget", 0)),
        bool(c.attribute("linear_before_reset", 0)), peepholes,
    )  # fmt: skip


def _activation(c: Call, name: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    """Attributes list the numbers of those activations that take any, in order."""
    if name.lower() not in ACTIVATIONS:
        c.refuse(f"there is no activation {name!r}", do=f"choose from {', '.join(ACTIVATIONS)}")
    function, defaults = ACTIVATIONS[name.lower()]
    numbers = [
        next(given, default) for given, default in zip((alphas, betas), defaults, strict=False)
    ]
    return lambda x: function(x, *numbers)


def _check(c: Call, what: str, node: Node, shape: tuple[Any, ...]) -> Node:
    if node.shape != shape:
        c.refuse(f"{what} has the wrong shape", f"{node.type}, not {shape}")
    return node


def _gru_step(rule: Rule, u: Node, bias: Node, hidden: int) -> Callable[..., State]:
    """z, r, h; without linear_before_reset the reset state goes into the last product."""
    f, g = rule.functions
    gates, last = u[:, : 2 * hidden], u[:, 2 * hidden :]

    def after(wx: Node, state: State) -> State:
        h = state[0]
        uh = h @ u + bias
        (wz, wr, wn), (uz, ur, un) = ops.split(wx, 3, -1), ops.split(uh, 3, -1)
        n = g(rule.held(wn + f(rule.held(wr + ur)) * un))
        return (n + f(rule.held(wz + uz)) * (h - n),)

    def before(wx: Node, state: State) -> State:
        h = state[0]
        wz, wr, wn = ops.split(wx, 3, -1)
        uz, ur = ops.split(h @ gates + bias[: 2 * hidden], 2, -1)
        reset = f(rule.held(wr + ur)) * h
        n = g(rule.held(wn + reset @ last + bias[2 * hidden :]))
        return (n + f(rule.held(wz + uz)) * (h - n),)

    return after if rule.before_reset else before


def _ordered(c: Call, rule: Rule, rows: Node) -> tuple[Node, Any]:
    """Weights in our order of gates, and the step for it, where the step is one of ours."""
    from staticflow.session.interchange.onnx_out.recurrent import CELLS

    plain = rule.clip is None and not rule.input_forget and not rule.peepholes
    names = [str(n).lower() for n in c.attribute("activations", USUAL[c.kind])]
    usual = plain and names[: len(USUAL[c.kind])] == [n.lower() for n in USUAL[c.kind]]
    cell = next(cell for cell in CELLS if cell.kind == c.kind)
    if not usual or (c.kind == "GRU" and not rule.before_reset):
        return rows, None
    if len(cell.gates) == 1:
        return rows, cell
    parts = ops.split(rows, len(cell.gates), -1)
    return ops.concatenate([parts[cell.gates.index(k)] for k in range(len(parts))], -1), cell


def _direction(
    c: Call, x: Node, valid: Node | None, start: State, direction: int, directions: int
) -> tuple[State, Node]:
    """One direction: its last state, and the output of each step, (time, batch, hidden)."""
    hidden, width = start[0].shape[1], x.shape[2]
    if not isinstance(hidden, int) or not isinstance(width, int):
        c.refuse("its sizes are named, where numbers are asked for", f"{x.type}, {start[0].type}")
    gates = GATES[c.kind] * hidden
    peepholes: tuple[Node, ...] = ()
    if c.kind == "LSTM" and c.has(7):
        given = _check(c, "P", c[7], (directions, 3 * hidden))[direction]
        peepholes = tuple(ops.split(given, 3, -1))
    rule = _rule(c, direction, directions, peepholes)
    w = ops.transpose(_check(c, "W", c[1], (directions, gates, width))[direction])
    u = ops.transpose(_check(c, "R", c[2], (directions, gates, hidden))[direction])
    none = ops.zeros((gates,), x.dtype)
    bias_x, bias_h = none, none
    if c.has(3):
        both = _check(c, "B", c[3], (directions, 2 * gates))[direction]
        bias_x, bias_h = both[:gates], both[gates:]
    w, cell = _ordered(c, rule, w)
    u, bias_x, bias_h = (_ordered(c, rule, v)[0] for v in (u, bias_x, bias_h))
    if c.kind != "GRU":
        bias_x = bias_x + bias_h
    gru = _gru_step(rule, u, bias_h, hidden) if c.kind == "GRU" and cell is None else None

    def new_state(row: Node, state: State) -> State:
        wx = row @ w + bias_x
        if gru is not None:
            return gru(wx, state)
        uh = state[0] @ u
        if cell is not None:
            return cell.step(wx, uh + bias_h if c.kind == "GRU" else uh, state)  # type: ignore[no-any-return]
        return (rule.lstm if c.kind == "LSTM" else rule.rnn)(wx, uh, state)

    def step(state: State, now: Any) -> tuple[State, Node]:
        if valid is None:
            new = new_state(now, state)
            return new, new[0]
        new = new_state(now[0], state)
        kept = tuple(ops.where(now[1], n, s) for n, s in zip(new, state, strict=True))
        return kept, ops.where(now[1], new[0], 0.0)

    kind = c.attribute("direction", "forward")
    reverse = kind == "reverse" or direction == 1
    return scan(step, start, x if valid is None else (x, valid), reverse=reverse)


def recurrent(c: Call) -> list[Node]:
    """Y (time, directions, batch, hidden), and the last states (directions, batch, hidden)."""
    swapped = bool(c.attribute("layout", 0))
    x = ops.swapaxes(c[0], 0, 1) if swapped else c[0]
    if x.ndim != 3:
        c.refuse("its input is (time, batch, features)", str(x.type))
    kind = c.attribute("direction", "forward")
    if kind not in ("forward", "reverse", "bidirectional"):
        c.refuse(f"there is no direction {kind!r}")
    directions = 2 if kind == "bidirectional" else 1
    hidden = c.attribute("hidden_size") or c[2].shape[-1]
    valid = None
    if c.has(4):
        lengths = _check(c, "sequence_lens", c[4], (x.shape[1],))
        times = ops.arange(x.shape[0], dtype=lengths.dtype)
        valid = ops.less(ops.expand_dims(times, (1, 2)), ops.expand_dims(lengths, (0, 2)))
    shape = (x.shape[1], hidden)
    starts = []
    for place in (5, 6) if c.kind == "LSTM" else (5,):
        if c.has(place):
            given = ops.swapaxes(c[place], 0, 1) if swapped else c[place]
            _check(c, "the initial state", given, (directions, *shape))
            starts.append([given[k] for k in range(directions)])
        else:
            starts.append([ops.zeros(shape, x.dtype)] * directions)
    runs = [
        _direction(c, x, valid, tuple(s[k] for s in starts), k, directions)
        for k in range(directions)
    ]
    ys = ops.stack([y for _, y in runs], 1)
    finals = [ops.stack([state[k] for state, _ in runs], 0) for k in range(len(starts))]
    if swapped:
        ys, finals = ops.transpose(ys, (2, 0, 1, 3)), [ops.swapaxes(s, 0, 1) for s in finals]
    return [ys, *finals]


RECURRENT: Mapping[str, Writer] = dict.fromkeys(GATES, recurrent)
