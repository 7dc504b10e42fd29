"""What kill -9 leaves at any moment of save, fit with checkpoints and cold compile is whole.

Of ten cases one is a compilation by eight processes at once, each of which is killed at a moment of
its own; the others are saves and fits. The last complete state loads, bit for bit, and goes on; the
next save removes what a killed one has left; a cache that was killed over compiles and loads.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.native.toolchain.toolchain import Toolchain
from tests.campaigns import Tick
from tests.support.child_processes import fork, kill, succeeds
from tests.support.small_nets import assert_same, data, regression, values

COUNT = 600
SAMPLE = 10
PROCESSES = 8
EPOCHS = 40
SIZE = 400  # hidden units: files of some size, which take a while to write


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    saves, fits = Saves(), Fits()
    killed = {"saves": 0, "fits": 0, "compilations": 0}
    for k in range(count):
        draw = random.Random(f"{seed} {k}")
        kind = "compilations" if k % 10 == 9 else ("saves", "fits")[k % 2]
        with tempfile.TemporaryDirectory() as folder:
            try:
                if kind == "compilations":
                    killed[kind] += compiling(draw, Path(folder))
                else:
                    killed[kind] += (saves if kind == "saves" else fits)(draw, Path(folder))
            except Exception as error:
                raise AssertionError(f"case {k} of seed {seed}, {kind}: {error}") from error
        tick()
    return {f"{kind} killed": number for kind, number in killed.items()}


class Saves:
    """A process that saves two sessions in turn under one name."""

    def __init__(self) -> None:
        self.sessions = [regression(sf.optim.Adam(1e-3), hidden=SIZE, seed=k) for k in range(2)]

    def __call__(self, draw: random.Random, folder: Path) -> bool:
        path = folder / "model.sf"
        self.sessions[1].save(path)

        def work() -> None:
            while True:
                for session in self.sessions:
                    session.save(path)

        killed = kill(fork(work), 0.1 * draw.random())
        found = sf.Session.load(path)
        assert_same(values(found), values(self.sessions[found.seed]))
        found.save(path)
        left = [entry.name for entry in folder.iterdir()]
        assert left == ["model.sf"], f"a save leaves {left}"
        return killed


class Fits:
    """A process that fits, and saves after each epoch; its states are known from another fit."""

    def __init__(self) -> None:
        self.fed = data(64)
        self.states: list[dict[str, Any]] = []
        session = self._new()
        self._fit(session, EPOCHS, lambda session, log: self.states.append(values(session)))

    def _new(self) -> sf.Session:
        return regression(sf.optim.Adam(1e-3), hidden=SIZE)

    def _fit(self, session: sf.Session, epochs: int, callback: Any) -> None:
        session.fit(self.fed, epochs=epochs, batch_size=16, progress=False, callbacks=callback)

    def __call__(self, draw: random.Random, folder: Path) -> bool:
        path = folder / "run.sf"

        def save(session: sf.Session, log: dict[str, float]) -> None:
            session.save(path)

        save(self._new(), {})
        killed = kill(fork(lambda: self._fit(self._new(), EPOCHS, save)), 0.3 * draw.random())
        found = sf.Session.load(path)
        if found.epoch_count:
            assert_same(values(found), self.states[found.epoch_count - 1])
        self._fit(found, EPOCHS - found.epoch_count, save)
        assert_same(values(found), self.states[-1])
        return killed


def compiling(draw: random.Random, folder: Path) -> int:
    """Processes that compile the same at once into an empty cache, and are killed one by one."""
    fed = np.linspace(-1, 1, 64, dtype=np.float32).reshape(16, 4)
    truth = np.exp(np.tanh(fed)).sum(axis=0)

    def work() -> None:
        x = sf.input("x", ("batch", 4))
        session = sf.Session(outputs={"y": ops.exp(ops.tanh(x)).sum(axis=0)})
        session._state.toolchain = Toolchain(folder)
        np.testing.assert_allclose(session.run("y", {"x": fed}), truth, rtol=1e-5)

    processes = [fork(work) for _ in range(PROCESSES)]
    killed = sum(kill(number, 0.5 * draw.random()) for number in processes)
    succeeds(work)  # which compiles what is missing,
    succeeds(work)  # and loads all of it
    entries = list(folder.rglob("*.sfo"))
    assert entries and all(entry.stat().st_size > 0 for entry in entries)
    return killed
