"""Recurrent cells, with PyTorch's formulas and order of gates.

A cell takes two projections of shape (batch, gates * hidden), `wx` of the input and `uh` of the
last hidden state, and the state; it gives the next state, the hidden state first:

    tanh, relu    h' = f(wx + uh)
    lstm          i, f, g, o: c' = f c + i g, h' = o tanh(c')
    gru           r, z, n:    n = tanh(wx_n + r uh_n), h' = (1 - z) n + z h
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import staticflow as sf
from staticflow import ops

State = tuple[sf.Node, ...]


@dataclass(frozen=True)
class Cell:
    """`gates` matrices side by side, `states` arrays carried along, and the rule of one step."""

    gates: int
    states: int
    step: Callable[[sf.Node, sf.Node, State], State]
    additive: bool  # whether only wx + uh counts, so that both biases can be added beforehand


def _tanh(wx: sf.Node, uh: sf.Node, state: State) -> State:
    return (ops.tanh(wx + uh),)


def _relu(wx: sf.Node, uh: sf.Node, state: State) -> State:
    return (ops.relu(wx + uh),)


def _lstm(wx: sf.Node, uh: sf.Node, state: State) -> State:
    i, f, g, o = _gates(wx + uh, 4)
    c = ops.sigmoid(f) * state[1] + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


def _gru(wx: sf.Node, uh: sf.Node, state: State) -> State:
    (wr, wz, wn), (ur, uz, un) = _gates(wx, 3), _gates(uh, 3)
    n = ops.tanh(wn + ops.sigmoid(wr + ur) * un)
    return (n + ops.sigmoid(wz + uz) * (state[0] - n),)


def _gates(x: sf.Node, count: int) -> list[sf.Node]:
    """The columns of each gate: (batch, count * hidden) -> count of (batch, hidden)."""
    return ops.split(x, count, axis=-1)


CELLS: dict[str, Cell] = {
    "tanh": Cell(1, 1, _tanh, additive=True),
    "relu": Cell(1, 1, _relu, additive=True),
    "lstm": Cell(4, 2, _lstm, additive=True),
    "gru": Cell(3, 1, _gru, additive=False),
}
