"""PyTorch eager on many nets of equal shapes: stacked weights, products by `bmm`, fused Adam."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import data
from benchmarks.contender import Forms, Job
from benchmarks.peers_torch import THREADS
from benchmarks.workloads import FNN, LEARNING_RATE, RNN, Ensemble, Workload

torch.set_flush_denormal(True)
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
Params = list[torch.Tensor]


class BmmJob(Job):
    """Training: `forward(params, x)` of all nets, (members, batch, outputs)."""

    def __init__(
        self,
        forward: Callable[[Params, torch.Tensor], torch.Tensor],
        weights: list[np.ndarray],
        batches: data.Batches,
        threads: int,
    ) -> None:
        self._forward, self._weights, self._threads = forward, weights, threads
        x, y = torch.from_numpy(batches.x), torch.from_numpy(batches.y)
        self._batches = list(zip(x, y, strict=True))
        self._next = 0
        self._params, self._optimizer = self._start()

    def _start(self) -> tuple[Params, torch.optim.Optimizer]:
        params = [torch.from_numpy(w.copy()).requires_grad_() for w in self._weights]
        return params, torch.optim.Adam(params, lr=LEARNING_RATE, fused=True)

    def _step(self, params: Params, optimizer: torch.optim.Optimizer, k: int) -> torch.Tensor:
        x, y = self._batches[k % len(self._batches)]
        optimizer.zero_grad(set_to_none=True)
        loss = ((self._forward(params, x) - y) ** 2).mean(dim=(1, 2)).sum()
        loss.backward()
        optimizer.step()
        return loss

    def run(self, steps: int) -> None:
        torch.set_num_threads(self._threads)
        for k in range(self._next, self._next + steps):
            self._step(self._params, self._optimizer, k)
        self._next += steps

    def check(self, steps: int) -> tuple[float, float]:
        params, optimizer = self._start()
        losses = [self._step(params, optimizer, k).item() for k in range(steps)]
        return losses[0], losses[-1]


def _dense(activation: str, params: Params, x: torch.Tensor) -> torch.Tensor:
    y = x.expand(len(params[0]), *x.shape)
    for k in range(0, len(params), 2):
        y = torch.baddbmm(params[k + 1][:, None], y, params[k])
        y = ACTIVATIONS[activation](y) if k + 2 < len(params) else y
    return y


def _lstm(w: RNN, params: Params, x: torch.Tensor) -> torch.Tensor:
    """One layer: the input's product of all steps at once, then step by step."""
    into, over, bias, matrix, offset = params
    members = len(into)
    rows = x.transpose(0, 1).reshape(-1, w.features).expand(members, -1, -1)
    projected = torch.baddbmm(bias[:, None], rows, into)
    projected = projected.view(members, w.time, w.batch, -1)
    h = c = torch.zeros(members, w.batch, w.hidden)
    for t in range(w.time):
        i, f, g, o = torch.baddbmm(projected[:, t], h, over).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return torch.baddbmm(offset[:, None], h, matrix)


def _problem(w: Ensemble) -> tuple[Any, list[np.ndarray], data.Batches]:
    net = w.net
    if isinstance(net, FNN):
        pairs = data.by_member(w, data.fnn_weights(net))
        weights = [a for pair in pairs for a in pair]
        return partial(_dense, net.activation), weights, data.fnn_batches(net)
    named = data.by_member(w, data.rnn_weights(net))
    weights = [
        np.ascontiguousarray(named["weight_ih_l0"].swapaxes(1, 2)),
        np.ascontiguousarray(named["weight_hh_l0"].swapaxes(1, 2)),
        named["bias_ih_l0"] + named["bias_hh_l0"],
        named["head.weight"],
        named["head.bias"],
    ]
    return partial(_lstm, net), weights, data.rnn_batches(net)


def forms(w: Workload) -> Forms:
    assert isinstance(w, Ensemble)
    forward, weights, batches = _problem(w)
    for threads in THREADS:
        yield f"{threads} threads", partial(BmmJob, forward, weights, batches, threads)
