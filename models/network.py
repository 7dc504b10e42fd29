"""The session behind an estimator, made from a picklable design when it is first needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow import ops
from staticflow.models.fnn import FNN
from staticflow.models.rnn import RNN

Array = NDArray[Any]
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Design:
    """What a network is made of; `hidden` are widths of dense layers, or one of a recurrent net."""

    features: int
    outputs: int
    classes: bool  # whether the outputs are classes
    dtype: str
    hidden: tuple[int, ...]
    settings: tuple[tuple[str, Any], ...]  # of the model
    optimizer: Any
    recurrent: bool = False

    def build(self, seed: int, threads: int | None) -> sf.Session:
        """Inputs "x" and, for sequences, "lengths"; targets "t"; outputs "y" or "probabilities"."""
        y = self._recurrent() if self.recurrent else self._dense()
        if self.classes:
            t = sf.input("t", ("batch",), "int64")
            loss = ops.mean(ops.softmax_cross_entropy(y, t))
            result = {"probabilities": ops.softmax(y)}
        else:
            t = sf.input("t", ("batch", self.outputs), self.dtype)
            loss, result = ops.mse(y, t), {"y": y}
        return sf.Session(
            loss=loss, outputs=result, optimizer=self.optimizer, seed=seed, threads=threads
        )

    def _dense(self) -> sf.Node:
        x = sf.input("x", ("batch", self.features), self.dtype)
        return FNN((self.features, *self.hidden, self.outputs), **dict(self.settings))(x)

    def _recurrent(self) -> sf.Node:
        x = sf.input("x", ("batch", "time", self.features), self.dtype)
        lengths = sf.input("lengths", ("batch",), "int64")
        last = RNN(self.hidden[0], **dict(self.settings))(x, lengths=lengths)
        width = int(last.shape[-1])
        return FNN((width, self.outputs), name="head")(last)


class Network:
    """A session that survives pickling: its design and values do, the optimizer starts afresh."""

    def __init__(self, design: Design, seed: int, threads: int | None) -> None:
        self.design, self.seed, self.threads = design, seed, threads
        self._values: dict[str, Array] = {}
        self._session: sf.Session | None = None

    @property
    def session(self) -> sf.Session:
        """The session, compiled at its first use."""
        if self._session is None:
            self._session = self.design.build(self.seed, self.threads)
            self._session.load_params(self._values)
        return self._session

    def values(self) -> dict[str, Array]:
        """Copies of all parameters and states."""
        live = {**self.session.params, **self.session.states}
        return {name: np.array(value) for name, value in live.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_values": self.values(), "_session": None}

    def output(self, feeds: Mapping[str, Array]) -> Array:
        """The session's only output for all rows, some thousands at a time."""
        (name,) = self.session.outputs
        count = len(feeds["x"])
        parts = [
            self.session.run(name, {k: a[i : i + ROWS_AT_ONCE] for k, a in feeds.items()})
            for i in range(0, count, ROWS_AT_ONCE)
        ]
        return np.concatenate(parts)


class EarlyStopping:
    """A callback: remembers the best values, and stops after `patience` epochs without better."""

    def __init__(self, network: Network, patience: int) -> None:
        self.network, self.patience = network, patience
        self.best, self.waited = math.inf, 0
        self.values = network.values()

    def __call__(self, session: sf.Session, log: Mapping[str, float]) -> bool:
        self.waited += 1
        if log["val_loss"] < self.best:
            self.best, self.waited, self.values = log["val_loss"], 0, self.network.values()
        return self.waited >= self.patience
