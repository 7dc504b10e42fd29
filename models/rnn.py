"""Recurrent networks, written on `sf.scan`.

    x (batch, time, features) -> [scan forwards, scan backwards, side by side] for each layer -> y

With `lengths`, a state stands still past the end of its sequence: the forward scan keeps the last
one, the backward scan starts from the initial one at the sequence's own last step. What the input
holds there makes no difference, NaN neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import staticflow as sf
from staticflow import init, ops
from staticflow.errors import fail
from staticflow.models.cells import CELLS, State
from staticflow.models.checks import check_count, check_name, check_rate, check_width, float_dtype
from staticflow.models.layers import Model, Weights


class Direction:
    """One layer in one direction: its weights, and its scan over time."""

    def __init__(
        self, hidden: int, cell: str, prefix: str, reverse: bool = False, out: int | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        self.hidden, self.prefix, self.reverse = hidden, prefix, reverse
        self.out = hidden if out is None else out  # the width of the hidden state, if projected
        self._options = options  # of the scan
        self.cell = CELLS[cell]
        self.weights = Weights(prefix)
        self._width: int | None = None

    def __call__(self, x: sf.Node, valid: sf.Node | None, state: State) -> tuple[State, sf.Node]:
        """(time, batch, features), validity (time, batch, 1) -> last state, (time, batch, hidden).

        Outputs are 0 where they are not valid.
        """
        w, u, b, c, *projection = self._declare(x)
        bias_x, bias_h = (b + c, None) if self.cell.additive else (b, c)

        def step(state: State, now: Any) -> tuple[State, sf.Node]:
            row = now if valid is None else now[0]
            wx = row @ w + bias_x
            uh = state[0] @ u if bias_h is None else state[0] @ u + bias_h
            new = self.cell.step(wx, uh, state)
            if projection:
                new = (new[0] @ projection[0], *new[1:])
            if valid is None:
                return new, new[0]
            kept = tuple(ops.where(now[1], n, s) for n, s in zip(new, state, strict=True))
            return kept, ops.where(now[1], new[0], 0.0)

        xs = x if valid is None else (x, valid)
        last, ys = sf.scan(step, state, xs, reverse=self.reverse, **self._options)
        return last, ys

    def _declare(self, x: sf.Node) -> tuple[sf.Node, ...]:
        dtype, width = x.dtype, x.shape[-1]
        if not isinstance(width, int):
            fail(sf.ShapeError, f"{self.prefix}: the number of features must be a number", str(x))
        self._width = self._width or width
        check_width(x, self._width, self.prefix)
        gates = self.cell.gates * self.hidden
        bound = 1.0 / math.sqrt(self.hidden)
        drawn = init.uniform(-bound, bound)
        shapes = {"weight_ih": (width, gates), "weight_hh": (self.out, gates),
                  "bias_ih": (gates,), "bias_hh": (gates,)}  # fmt: skip
        if self.out != self.hidden:
            shapes["weight_hr"] = (self.hidden, self.out)
        return tuple(self.weights.param(n, shape, drawn, dtype) for n, shape in shapes.items())


class RNN(Model):
    """A recurrent network; call it on a node of shape (batch, time, features).

    `cell` is "tanh", "relu", "lstm" or "gru"; `dropout` is the rate between layers. Layer k has the
    parameters `rnn.k.weight_ih` (in, gates * hidden), `rnn.k.weight_hh` (hidden, gates * hidden),
    `rnn.k.bias_ih`, `rnn.k.bias_hh`, with PyTorch's order of gates; its backward direction has
    `rnn.k.reverse.weight_ih` and so on. Calls share them.

    With `projection=p`, an LSTM's hidden state has p elements, and `rnn.k.weight_hr` (hidden, p).
    With `truncate=k`, no gradient goes back beyond the start of its run of k steps; `remat=k` saves
    memory, as `sf.scan` says. A sequence that goes on over several batches: hand the state over,

        h = sf.state("h", (32, 64), "zeros")
        y, last = models.RNN(64, "gru")(x, initial_state=h, return_state=True)
        sf.update(h, last)  # session.states["h"][...] = 0 begins anew
    """

    def __init__(
        self,
        hidden: int,
        cell: str = "tanh",
        layers: int = 1,
        bidirectional: bool = False,
        dropout: Any = 0.0,
        return_sequences: bool = False,
        name: str = "rnn",
        truncate: int | None = None,
        remat: int | bool | None = None,
        projection: int | None = None,
    ) -> None:
        self.hidden = check_count(hidden, f"{name}: hidden")
        self.cell = check_name(cell, tuple(CELLS), "cell")
        self.out = self._projected(projection, name)
        self.bidirectional = bidirectional
        self.dropout = check_rate(dropout, name)
        self.return_sequences = return_sequences
        self.name = name
        self._options: dict[str, Any] = {"truncate": truncate, "remat": remat}
        self.layers = [
            self._layer(f"{name}.{k}") for k in range(check_count(layers, f"{name}: layers"))
        ]

    def _projected(self, projection: int | None, name: str) -> int:
        """The width of the hidden state."""
        if projection is None:
            return self.hidden
        out = check_count(projection, f"{name}: projection")
        if self.cell != "lstm" or out >= self.hidden:
            fail(
                sf.GraphError,
                f"{name}: a projection makes the hidden state of an lstm narrower",
                got=f"projection={out} of a {self.cell} cell of {self.hidden}",
            )
        return out

    def _layer(self, prefix: str) -> list[Direction]:
        options = {"out": self.out, **self._options}
        layer = [Direction(self.hidden, self.cell, prefix, **options)]
        if self.bidirectional:
            back = f"{prefix}.reverse"
            layer.append(Direction(self.hidden, self.cell, back, reverse=True, **options))
        return layer

    def __call__(
        self,
        x: sf.Node,
        lengths: sf.Node | Sequence[int] | None = None,
        initial_state: sf.Node | Sequence[sf.Node] | None = None,
        return_state: bool = False,
    ) -> Any:
        """The last hidden state (batch, hidden), of both directions (batch, 2 * hidden).

        With `return_sequences` that of every step, (batch, time, ...), 0 past a length. `lengths`
        are integers of shape (batch,), taken as 0 below and as time above it; at 0, a sequence's
        state is the initial one. With `return_state`, a pair (result, state): the state is h,
        for an LSTM (h, c), each (batch, hidden), or (layers * directions, batch, hidden) where
        there are several, layer by layer; `initial_state` takes the same.
        """
        float_dtype(x, self.name)
        if x.ndim != 3:
            fail(sf.ShapeError, f"{self.name}: the input is (batch, time, features)", got=str(x))
        starts = self._starts(x, initial_state)
        valid = None if lengths is None else self._valid(x, lengths)
        ys, finals = ops.transpose(x, (1, 0, 2)), list[State]()
        if valid is not None:  # what stands past a length, NaN maybe, meets no weight: 0 * NaN
            ys = ops.where(valid, ys, 0.0)
        for k, layer in enumerate(self.layers):
            if k:
                ys = ops.dropout(ys, self.dropout)
            runs = [d(ys, valid, start) for d, start in zip(layer, starts[k], strict=True)]
            finals += [state for state, _ in runs]
            ys = _beside([y for _, y in runs])
        last = _beside([state[0] for state in finals[-len(self.layers[-1]) :]])
        result = ops.transpose(ys, (1, 0, 2)) if self.return_sequences else last
        return (result, self._joined(finals)) if return_state else result

    def _valid(self, x: sf.Node, given: Any) -> sf.Node:
        """Whether a step is within its sequence: (time, batch, 1)."""
        lengths = given if isinstance(given, sf.Node) else sf.const(given)
        if lengths.shape != x.shape[:1] or lengths.dtype not in ("int32", "int64"):
            fail(
                sf.ShapeError,
                f"{self.name}: lengths are integers, one for each sequence",
                got=f"{lengths} for the input {x}",
                do=f"declare sf.input('lengths', ({x.shape[0]},), 'int64') and feed it",
            )
        times = ops.arange(x.shape[1], dtype=lengths.dtype)
        return ops.less(ops.expand_dims(times, (1, 2)), ops.expand_dims(lengths, (0, 2)))

    def _starts(self, x: sf.Node, initial: Any) -> list[list[State]]:
        """The initial state of each layer and direction."""
        count = len(self.layers) * len(self.layers[0])
        arrays = CELLS[self.cell].states
        shapes = [(x.shape[0], n) for n in (self.out, self.hidden)][:arrays]
        if initial is None:
            states = [tuple(ops.zeros(shape, x.dtype) for shape in shapes)] * count
        else:
            given = tuple(initial) if isinstance(initial, tuple | list) else (initial,)
            if len(given) != arrays:
                fail(
                    sf.GraphError,
                    f"{self.name}: the state of a {self.cell} cell consists of {arrays} arrays",
                    got=f"{len(given)} of them",
                    do="give (h, c) for an lstm, h for the others",
                )
            pairs = zip(given, shapes, strict=True)
            split = [self._split(node, shape, count) for node, shape in pairs]
            states = list(zip(*split, strict=True))
        directions = len(self.layers[0])
        return [states[k : k + directions] for k in range(0, count, directions)]

    def _split(self, node: sf.Node, shape: tuple[Any, ...], count: int) -> list[sf.Node]:
        """One array of an initial state, as one node for each layer and direction."""
        if count == 1 and node.shape == shape:
            return [node]
        if node.shape != (count, *shape):
            fail(
                sf.ShapeError,
                f"{self.name}: the initial state has the wrong shape",
                got=str(node),
                do=f"give the shape ({count}, {', '.join(map(str, shape))})",
            )
        return [node[k] for k in range(count)]

    def _joined(self, finals: list[State]) -> sf.Node | State:
        """The final states in the form that `initial_state` takes."""
        arrays = [
            parts[0] if len(finals) == 1 else ops.stack(parts)
            for parts in zip(*finals, strict=True)
        ]
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    def weights(self) -> Iterator[Weights]:
        for layer in self.layers:
            for direction in layer:
                yield direction.weights

    def __repr__(self) -> str:
        return f"RNN({self.hidden}, {self.cell!r}, layers={len(self.layers)}, name={self.name!r})"


def _beside(nodes: list[sf.Node]) -> sf.Node:
    return nodes[0] if len(nodes) == 1 else ops.concatenate(nodes, axis=-1)
