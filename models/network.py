"""The session behind an estimator, made from a picklable design when it is first needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow import ops
from staticflow.models.fnn import FNN
from staticflow.models.rnn import RNN
from staticflow.models.scaling import Scaler, Standard
from staticflow.session.files.file_version import VERSION, check_version, written

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
    standardise: bool = False

    def build(self, seed: Any, threads: int | None, members: int = 1) -> sf.Session:
        """Inputs "x" and, for sequences, "lengths"; targets "t"; outputs "y" or "probabilities".

        Features, targets and "y" are as the user has them; what scales them is in the graph.
        """
        y = self._recurrent() if self.recurrent else self._dense()
        if self.classes:
            t = sf.input("t", ("batch",), "int64")
            loss = ops.mean(ops.softmax_cross_entropy(y, t))
            result = {"probabilities": ops.softmax(y)}
        else:
            # float64: what differs between targets may be small beside what they have in common
            t = sf.input("t", ("batch", self.outputs), "float64")
            scale = self._target_scale()
            loss = ops.mse(y, scale.apply(t, self.dtype) if scale else t.astype(self.dtype))
            result = {"y": scale.undo(y, self.dtype) if scale else y}
        return sf.Session(
            loss=loss, outputs=result, optimizer=self.optimizer, seed=seed, threads=threads,
            members=members if members > 1 else None,
        )  # fmt: skip

    def scales(self, features: Scaler, targets: Scaler | None) -> dict[str, Array]:
        """The values of the leaves that scale, by name."""
        x, t = self._feature_scale(), self._target_scale()
        found = x.values(features) if x else {}
        return found | (t.values(targets) if t and targets else {})

    def _feature_scale(self) -> Standard | None:
        return Standard("x", (self.features,), self.dtype) if self.standardise else None

    def _target_scale(self) -> Standard | None:
        wanted = self.standardise and not self.classes
        return Standard("t", (self.outputs,)) if wanted else None

    def _scaled(self, x: sf.Node) -> sf.Node:
        scale = self._feature_scale()
        return scale.apply(x, self.dtype) if scale else x

    def _dense(self) -> sf.Node:
        x = self._scaled(sf.input("x", ("batch", self.features), self.dtype))
        return FNN((self.features, *self.hidden, self.outputs), **dict(self.settings))(x)

    def _recurrent(self) -> sf.Node:
        x = self._scaled(sf.input("x", ("batch", "time", self.features), self.dtype))
        lengths = sf.input("lengths", ("batch",), "int64")
        last = RNN(self.hidden[0], **dict(self.settings))(x, lengths=lengths)
        width = int(last.shape[-1])
        return FNN((width, self.outputs), name="head")(last)


class Network:
    """A session that survives pickling: its design and values do, the optimizer starts afresh.

    `values` are those to start with, by name; `extra` is what the session says of its data.
    """

    members = 1

    def __init__(
        self,
        design: Design,
        seed: int,
        threads: int | None,
        values: Mapping[str, Array],
        extra: Mapping[str, Any],
        members: int = 1,
    ) -> None:
        self.design, self.seed, self.threads = design, seed, threads
        self.members = members
        self.extra = dict(extra)
        self._values = dict(values)
        self._session: sf.Session | None = None

    @property
    def session(self) -> sf.Session:
        """The session, compiled at its first use."""
        if self._session is None:
            self._session = self.design.build(self.seed, self.threads, self.members)
            self._session.load_params(self._values)
            self._session.extra = dict(self.extra)
        return self._session

    def values(self) -> dict[str, Array]:
        """Copies of all parameters and states."""
        live = {**self.session.params, **self.session.states}
        return {name: np.array(value) for name, value in live.items()}

    def scaled(self, features: Scaler, targets: Scaler | None, extra: Mapping[str, Any]) -> Network:
        """A network of version 0.1.0, which had its scales beside it, with them inside."""
        design = replace(self.design, standardise=True)
        values = {**self._values, **design.scales(features, targets)}
        return Network(design, self.seed, self.threads, values, extra)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), **written(), "_values": self.values(), "_session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_version("a pickled estimator", {"version": VERSION, **state})  # 0.1.0 wrote none
        vars(self).update({name: state[name] for name in state.keys() - written().keys()})

    def output(self, feeds: Mapping[str, Array], deviation: bool = False) -> Any:
        """The session's only output for all rows, some thousands at a time: of several members
        their mean, and with `deviation` a tuple of that and their deviation.
        """
        (name,) = self.session.outputs
        if self.members == 1:
            return output_of(self.session, name, feeds)
        every = output_of(self.session, name, feeds, axis=1)
        return (every.mean(axis=0), every.std(axis=0)) if deviation else every.mean(axis=0)


def output_of(session: sf.Session, name: str, feeds: Mapping[str, Array], axis: int = 0) -> Array:
    """An output for all rows, which are along an axis of it, some thousands at a time."""
    parts = [
        session.run(name, {k: a[i : i + ROWS_AT_ONCE] for k, a in feeds.items()})
        for i in range(0, len(feeds["x"]), ROWS_AT_ONCE)
    ]
    return np.concatenate(parts, axis=axis)


class EarlyStopping:
    """A callback: remembers the best values, and stops after `patience` epochs without better."""

    def __init__(self, network: Network, patience: int) -> None:
        self.network, self.patience = network, patience
        self.best = np.full(network.members, math.inf)
        self.waited = np.zeros(network.members, np.int64)
        self.values = network.values()

    def __call__(self, session: sf.Session, log: Mapping[str, Any]) -> Any:
        """Whether to stop; of several members, which of them."""
        better = np.atleast_1d(log["val_loss"]) < self.best
        self.waited[:] = np.where(better, 0, self.waited + 1)
        self.best[better] = np.atleast_1d(log["val_loss"])[better]
        if better.all():
            self.values = self.network.values()
        elif better.any():
            for name, live in {**session.params, **session.states}.items():
                self.values[name][better] = live[better]
        stops = self.waited >= self.patience
        return stops if self.network.members > 1 else bool(stops[0])
