"""PyTorch eager: fused Adam, denormals flushed, one thread and as many as there are cores.

Minibatches are cut beforehand, so that the loop does nothing but the step. Recurrences by `nn.RNN`,
`nn.LSTM` and `nn.GRU`, time-major, with oneDNN and without.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import data
from benchmarks.contender import CallJob, Forms, Job, LoopJob
from benchmarks.workloads import FNN, LEARNING_RATE, RNN, Infer, Ode, Stream, Workload

torch.set_flush_denormal(True)
THREADS = tuple(dict.fromkeys((1, os.cpu_count() or 1)))
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class TorchJob(Job):
    """Training: `build()` makes the net and `loss(net, minibatch)` its loss."""

    def __init__(
        self,
        build: Callable[[], nn.Module],
        loss: Callable[[nn.Module, Any], torch.Tensor],
        batches: list[Any],
        threads: int,
        onednn: bool = True,
        fused: bool = True,
    ) -> None:
        self._build, self._loss, self._batches = build, loss, batches
        self._threads, self._onednn, self._fused = threads, onednn, fused
        self._next = 0
        self._net, self._optimizer = self._start()

    def _start(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        net = self._build()
        return net, torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=self._fused)

    def _settings(self) -> AbstractContextManager[None]:
        torch.set_num_threads(self._threads)
        if self._onednn:
            return nullcontext()
        flags: AbstractContextManager[None] = torch.backends.mkldnn.flags(enabled=False)
        return flags

    def _step(self, net: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = self._loss(net, batch)
        loss.backward()
        optimizer.step()
        return loss

    def run(self, steps: int) -> None:
        net, optimizer, batches, count = self._net, self._optimizer, self._batches, self._next
        with self._settings():
            for k in range(count, count + steps):
                self._step(net, optimizer, batches[k % len(batches)])
        self._next = (count + steps) % len(batches)

    def check(self, steps: int) -> tuple[float, float]:
        net, optimizer = self._start()
        with self._settings():
            losses = [
                self._step(net, optimizer, self._batches[k % len(self._batches)]).item()
                for k in range(steps)
            ]
        return losses[0], losses[-1]


def feed_forward(w: FNN | Infer | Ode) -> nn.Sequential:
    layers: list[nn.Module] = []
    for matrix, bias in data.fnn_weights(w):
        linear = nn.Linear(*matrix.shape, dtype=getattr(torch, w.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(matrix.T))
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, ACTIVATIONS[w.activation]()]
    return nn.Sequential(*layers[:-1])


def fnn_loss(net: nn.Module, batch: Any) -> torch.Tensor:
    x, y = batch
    return nn.functional.mse_loss(net(x), y)


def cut(*arrays: np.ndarray) -> list[tuple[torch.Tensor, ...]]:
    """The minibatches as tensors of their own."""
    rows = zip(*arrays, strict=True)
    return [tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in row) for row in rows]


def _fnn_forms(w: FNN) -> Forms:
    batches = data.fnn_batches(w)
    cuts = cut(batches.x, batches.y)
    for threads in THREADS:
        for fused in (True, False):
            label = f"{'fused' if fused else 'foreach'}, {threads} thread{'s'[: threads > 1]}"
            build = partial(feed_forward, w)
            yield label, partial(TorchJob, build, fnn_loss, cuts, threads, fused=fused)


class Recurrent(nn.Module):
    """The recurrent stack and its readout of the last hidden state."""

    def __init__(self, w: RNN) -> None:
        super().__init__()
        kind = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[w.cell]
        dtype = getattr(torch, w.dtype)
        self.rnn = kind(w.features, w.hidden, w.layers, bidirectional=w.bidirectional, dtype=dtype)
        self.head = nn.Linear(w.hidden * w.directions, 1, dtype=dtype)
        weights = {k: torch.from_numpy(v) for k, v in data.rnn_weights(w).items()}
        self.head.load_state_dict(
            {"weight": weights.pop("head.weight").T, "bias": weights.pop("head.bias")}
        )
        self.rnn.load_state_dict(weights)
        self.directions = w.directions

    def forward(self, x: Any, lengths: Any = None) -> torch.Tensor:
        if lengths is not None:
            x = nn.utils.rnn.pack_padded_sequence(x, lengths)
        _, state = self.rnn(x)
        last = state[0] if isinstance(state, tuple) else state
        out: torch.Tensor = self.head(torch.cat(tuple(last[-self.directions :]), -1))
        return out


def _rnn_loss(net: nn.Module, batch: Any) -> torch.Tensor:
    x, y, *lengths = batch
    return nn.functional.mse_loss(net(x, *lengths), y)


def _rnn_forms(w: RNN) -> Forms:
    batches = data.rnn_batches(w)
    arrays = [batches.x.swapaxes(1, 2), batches.y]
    if batches.lengths is not None:
        arrays.append(batches.lengths)
    cuts = cut(*arrays)
    for threads in THREADS:
        for onednn in (True, False):
            label = f"{'oneDNN' if onednn else 'native'}, {threads} thread{'s'[: threads > 1]}"
            build = partial(Recurrent, w)
            yield label, partial(TorchJob, build, _rnn_loss, cuts, threads, onednn)


class _CallJob(CallJob):
    def __init__(self, call: Callable[[], Any], threads: int) -> None:
        super().__init__(call, lambda y: float(y.sum()))
        self._threads = threads

    def run(self, steps: int) -> None:
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            super().run(steps)

    def check(self, steps: int) -> tuple[float, float] | None:
        with torch.inference_mode():
            return super().check(steps)


def _infer_forms(w: Infer) -> Forms:
    net, rows = feed_forward(w).eval(), data.infer_rows(w)
    own = torch.from_numpy(rows)
    traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, own)))
    calls = {
        "NumPy in and out": lambda: net(torch.from_numpy(rows)).numpy(),
        "own tensors": lambda: net(own),
        "TorchScript, own tensors": lambda: traced(own),
    }
    for threads in THREADS:
        for label, call in calls.items():
            yield f"{label}, {threads} thread{'s'[: threads > 1]}", partial(_CallJob, call, threads)


class _StreamJob(Job):
    def __init__(self, w: Stream) -> None:
        weights = {k: torch.from_numpy(v) for k, v in data.stream_weights(w).items()}
        self._cell = nn.LSTMCell(w.features, w.hidden, dtype=getattr(torch, w.dtype))
        matrix, bias = weights.pop("head.weight"), weights.pop("head.bias")
        self._cell.load_state_dict({k.removesuffix("_l0"): v for k, v in weights.items()})
        self._head = matrix, bias
        self._rows = data.stream_rows(w)[:, None]
        self._state = tuple(torch.zeros(1, w.hidden, dtype=matrix.dtype) for _ in range(2))

    def run(self, steps: int) -> None:
        state, rows, (matrix, bias) = self._state, self._rows, self._head
        torch.set_num_threads(1)
        with torch.inference_mode():
            for k in range(steps):
                state = self._cell(torch.from_numpy(rows[k % len(rows)]), state)
                torch.addmm(bias, state[0], matrix).item()
        self._state = state


class _OdeJob(LoopJob):
    def __init__(self, w: Ode, trace: bool) -> None:
        net, start = feed_forward(w).eval(), torch.from_numpy(data.ode_start(w))
        f: Callable[[Any], Any] = net
        if trace:
            f = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, start)))
        h, half, sixth = map(float, data.ode_steps(w))
        super().__init__(partial(data.runge_kutta, f, (h, half, sixth)), start)

    def run(self, steps: int) -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            super().run(steps)


def forms(w: Workload) -> Forms:
    match w:
        case FNN():
            return _fnn_forms(w)
        case RNN():
            return _rnn_forms(w)
        case Infer():
            return _infer_forms(w)
        case Stream():
            return iter([("1 thread", lambda: _StreamJob(w))])
        case Ode():
            return iter(
                [("eager", partial(_OdeJob, w, False)), ("traced", partial(_OdeJob, w, True))]
            )
