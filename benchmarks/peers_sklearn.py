"""scikit-learn's MLPRegressor with Adam, unshuffled, unregularised, on one BLAS thread or all."""

from __future__ import annotations

import os
import warnings
from functools import partial

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from benchmarks import data
from benchmarks.contender import Forms, Job
from benchmarks.workloads import FNN, LEARNING_RATE, Workload

warnings.simplefilter("ignore", ConvergenceWarning)


class SklearnJob(Job):
    """A `fit` of whole epochs; its own random start makes its losses incomparable."""

    def __init__(self, w: FNN, threads: int) -> None:
        batches = data.fnn_batches(w)
        self.granule = w.batches
        self._w, self._threads = w, threads
        self._x = batches.x.reshape(-1, w.sizes[0])
        self._y = batches.y.reshape(-1, w.sizes[-1])
        if w.sizes[-1] == 1:
            self._y = self._y.ravel()

    def run(self, steps: int) -> None:
        w = self._w
        net = MLPRegressor(
            hidden_layer_sizes=w.sizes[1:-1],
            activation=w.activation,
            learning_rate_init=LEARNING_RATE,
            batch_size=w.batch,
            max_iter=steps // w.batches,
            n_iter_no_change=2**30,
            alpha=0.0,
            tol=0.0,
            shuffle=False,
            random_state=0,
        )
        with threadpool_limits(self._threads):
            net.fit(self._x, self._y)


def forms(w: Workload) -> Forms:
    assert isinstance(w, FNN)
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        yield f"{threads} thread{'s'[: threads > 1]}", partial(SklearnJob, w, threads)
