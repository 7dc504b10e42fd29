"""Scans that are ONNX's RNN, LSTM or GRU: found by their bodies, whoever wrote them.

    step((h, c), x):  z = x @ W + b + h @ U, ...  ->  LSTM(X, W, R, B, sequence_lens, h0, c0)

A body is compared with that of each cell, node by node, sums and products either way round. Weights
that follow from parameters alone become constants in ONNX's order of gates. In float64, for which
ONNX Runtime has no such kernels, a scan stays a scan. A sequence of length 0 has the initial state
here and zeros there, which a Where puts right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticflow.graph.node import Node
from staticflow.graph.scan_op import Scan
from staticflow.graph.traversal import is_zero
from staticflow.graph.types import TensorType
from staticflow.native.memory import Array
from staticflow.ops import arange, expand_dims, less, relu, sigmoid, split, tanh, where
from staticflow.session.interchange.onnx_out.arrays import Call
from staticflow.session.interchange.onnx_out.builder import Tensor
from staticflow.session.interchange.onnx_out.matching import hole, match

Known = Callable[[Node], Array | None]  # the array of a node that depends on parameters alone
State = tuple[Node, ...]


@dataclass(frozen=True)
class Cell:
    """An operator of ONNX: the step that it does, by two projections and the state, and where its
    gates lie in our matrices, in its order.
    """

    kind: str
    states: int
    gates: tuple[int, ...]
    step: Callable[[Node, Node, State], State]
    split_bias: bool  # whether the bias of the state's projection counts apart
    attributes: Mapping[str, Any]


def _lstm(wx: Node, uh: Node, state: State) -> State:
    i, f, g, o = split(wx + uh, 4, -1)
    c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _gru(wx: Node, uh: Node, state: State) -> State:
    (wr, wz, wn), (ur, uz, un) = split(wx, 3, -1), split(uh, 3, -1)
    n = tanh(wn + sigmoid(wr + ur) * un)
    return (n + sigmoid(wz + uz) * (state[0] - n),)


CELLS = (
    Cell("LSTM", 2, (0, 3, 1, 2), _lstm, False, {}),
    Cell("GRU", 1, (1, 0, 2), _gru, True, {"linear_before_reset": 1}),
    Cell("RNN", 1, (0,), lambda wx, uh, s: (tanh(wx + uh),), False, {}),
    Cell("RNN", 1, (0,), lambda wx, uh, s: (relu(wx + uh),), False, {"activations": ["Relu"]}),
)


@dataclass(frozen=True)
class Found:
    """What stands where in a body that is a cell's: nodes outside of the loop."""

    cell: Cell
    w: Array
    u: Array
    bias_x: Array
    bias_h: Array
    lengths: Node | None


def written_cell(c: Call, known: Known) -> list[Tensor] | None:
    """The scan as a recurrent operator; None if it is none."""
    found = _found(c.node, known)
    if found is None:
        return None
    b, op, cell = c.builder, c.op, found.cell
    init, xs, _ = op.split(c.xs)
    starts = c.node.inputs[: cell.states]
    hidden = found.u.shape[0]
    prefix = c.node.inputs[-1].name.rpartition(".")[0] or cell.kind.lower()
    lengths = None
    if found.lengths is not None:
        n = b.number(op.length, found.lengths.dtype)
        lengths = c.value(found.lengths).op("Min", n).op("Max", 0).cast("int32")
    zero = [is_zero(start) for start in starts]
    given = [None if all(zero) else b.unsqueeze(x, [0]) for x in init]
    bias = np.concatenate([_reordered(v, cell) for v in (found.bias_x, found.bias_h)])
    weights = [
        b.constant(_reordered(found.w.T, cell)[None], f"{prefix}.W"),
        b.constant(_reordered(found.u.T, cell)[None], f"{prefix}.R"),
        b.constant(bias[None], f"{prefix}.B"),
    ]
    _check_weights(cell, hidden, [w.shape for w in (b.constants[t.name] for t in weights)])
    dtypes = [xs[0].dtype] * (1 + cell.states)
    ys, *last = b.ops(
        cell.kind, [xs[0], *weights, lengths, *given], dtypes,
        hidden_size=hidden, direction="reverse" if op.reverse else "forward", **cell.attributes,
    )  # fmt: skip
    finals = [b.squeeze(x, [0]) for x in last]
    if lengths is not None and not all(zero):
        some = b.unsqueeze(lengths > 0, [1])
        finals = [b.where(some, x, start) for x, start in zip(finals, init, strict=True)]
    return [*finals, *[b.squeeze(ys, [1])] * len(op.ys)]


def _check_weights(cell: Cell, hidden: int, shapes: Sequence[tuple[int, ...]]) -> None:
    """Shapes as ONNX asks for, which its full checker does not look at."""
    gates = len(cell.gates) * hidden
    w, r, bias = shapes
    right = w[:2] == (1, gates) and r == (1, gates, hidden) and bias == (1, 2 * gates)
    assert right, f"{cell.kind}: W {w}, R {r}, B {bias}"


def _reordered(rows: Array, cell: Cell) -> Array:
    """(gates * hidden, ...) in ONNX's order of gates."""
    parts = np.split(rows, len(cell.gates))
    return np.concatenate([parts[k] for k in cell.gates])


def _found(node: Node, known: Known) -> Found | None:
    op = node.op
    if not isinstance(op, Scan) or not op.xs or len(op.ys) > 1 or len(op.carries) > 2:
        return None
    x, h = op.xs[0], op.carries[0]
    if x.dtype != "float32" or x.ndim != 2 or h.ndim != 2:
        return None
    if not isinstance(x.shape[1], int) or not isinstance(h.shape[1], int) or not h.shape[1]:
        return None
    outer = dict(zip(op.consts, op.split(node.inputs)[2], strict=True))
    for cell in CELLS:
        for biased in (True, False):
            found = _matched(node, op, cell, biased, outer, known)
            if found is not None:
                return found
    return None


def _matched(
    node: Node, op: Scan, cell: Cell, biased: bool, outer: Mapping[Node, Node], known: Known
) -> Found | None:
    """What stands where, if the body is the step of a cell, with a bias or without one."""
    masked = len(op.xs) == 2
    if len(op.carries) != cell.states or len(op.xs) > 2:
        return None
    x, gates = op.xs[0], len(cell.gates) * op.carries[0].shape[1]
    w = hole("w", TensorType((x.shape[1], gates), x.dtype))
    u = hole("u", TensorType((op.carries[0].shape[1], gates), x.dtype))
    biases = [hole(name, TensorType((gates,), x.dtype)) for name in ("b", "c")]
    carries = tuple(hole(f"s{k}", s.type) for k, s in enumerate(op.carries))
    row = hole("x", x.type)
    wx, uh = row @ w, carries[0] @ u
    if biased:
        wx = wx + biases[0]
        uh = uh + biases[1] if cell.split_bias else uh
    new = cell.step(wx, uh, carries)
    y, bound = new[0], dict(zip([row, *carries], [x, *op.carries], strict=True))
    if masked:
        valid = hole("valid", op.xs[1].type)
        if valid.type != TensorType((x.shape[0], 1), "bool"):
            return None
        bound[valid] = op.xs[1]
        y = where(valid, new[0], 0.0)
        new = tuple(where(valid, n, s) for n, s in zip(new, carries, strict=True))
    pairs = list(zip([*new, *[y] * len(op.ys)], [*op.next, *op.ys], strict=True))
    if not all(match(pattern, given, bound) for pattern, given in pairs):
        return None
    lengths = _lengths(node, op) if masked else None
    arrays = [known(outer[bound[p]]) if bound.get(p) in outer else None for p in (w, u)]
    none: Array = np.zeros(gates, x.dtype)
    added = [known(outer[bound[p]]) if bound.get(p) in outer else None for p in biases]
    sides = [none if a is None else a for a in added]
    lost = biased and any(a is None for a in added[: 1 + cell.split_bias])
    if arrays[0] is None or arrays[1] is None or lost or (masked and lengths is None):
        return None
    return Found(cell, arrays[0], arrays[1], sides[0], sides[1], lengths)


def _lengths(node: Node, op: Scan) -> Node | None:
    """The lengths that what is scanned beside x is made of: whether each step is below them."""
    given = node.inputs[len(op.carries) + 1]
    batch = given.shape[1]
    for dtype in ("int32", "int64"):
        lengths = hole("lengths", TensorType((batch,), dtype))
        times = arange(op.length, dtype=dtype)
        bound: dict[Node, Node] = {}
        if match(less(expand_dims(times, (1, 2)), expand_dims(lengths, (0, 2))), given, bound):
            return bound[lengths]
    return None
