"""PyTorch with torch.compile: the forward and backward by Inductor, the fused Adam as it is.

Compiling the optimizer as well is a second form. It needs a C++ compiler, and takes its time.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks import data
from benchmarks.contender import Forms
from benchmarks.peers_torch import THREADS, TorchJob, cut, feed_forward, fnn_loss
from benchmarks.workloads import FNN, Workload


class CompiledJob(TorchJob):
    """The loss compiled, and the optimizer's step too if it is not the fused one."""

    def __init__(self, *arguments: Any, fused: bool) -> None:
        torch.compiler.reset()
        super().__init__(*arguments, fused=fused)
        self._loss = torch.compile(self._loss)
        self._update = None if fused else torch.compile(self._optimizer.step)

    def _step(self, net: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = self._loss(net, batch)
        loss.backward()
        if self._update is not None and optimizer is self._optimizer:
            self._update()
        else:
            optimizer.step()
        return loss


def forms(w: Workload) -> Forms:
    assert isinstance(w, FNN)
    batches = data.fnn_batches(w)
    cuts = cut(batches.x, batches.y)
    for threads in THREADS:
        for fused in (True, False):
            label = f"{'fused' if fused else 'compiled'} Adam, {threads} thread{'s'[: threads > 1]}"
            arguments = (partial(feed_forward, w), fnn_loss, cuts, threads)
            yield label, partial(CompiledJob, *arguments, fused=fused)
