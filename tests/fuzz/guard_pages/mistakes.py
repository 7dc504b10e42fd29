"""Mistakes that must end the process: `python -m tests.fuzz.guard_pages.mistakes NAME PLACE`.

Each makes native code go one row, or one run, too far.
"""

from __future__ import annotations

import ctypes
import faulthandler
import sys

import numpy as np

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.schedule.memory_plan import MemoryPlan
from staticflow.native import memory
from staticflow.training.epochs import Epochs
from tests.fuzz.guard_pages.pages import fed, guarded


def session() -> sf.Session:
    x, t = sf.input("x", ("batch", 5)), sf.input("t", ("batch", 3))
    y = models.FNN([5, 7, 3], activation="tanh")(x)
    loss = ops.mse(y, t)
    return sf.Session(loss=loss, outputs={"y": y}, optimizer=sf.optim.SGD(0.1), threads=1)


def rows(count: int, width: int) -> np.ndarray:
    return np.ones((count, width), np.float32)


def data_of_too_few_rows(place: str) -> None:
    """The tables say six."""
    net = session()
    net.fit({"x": fed(rows(6, 5)), "t": fed(rows(6, 3))}, batch_size=6, progress=False)
    (trainer,) = net._state.trainers.values()
    few = {"x": fed(rows(5, 5)), "t": fed(rows(6, 3))}
    trainer.bind_data(few, {})
    sums = [memory.zeros((1, 1), np.float64)]
    trainer.run(net._state.pool, Epochs(range(1), 1, 6, 1), sums)


def buffers_of_too_few_rows(place: str) -> None:
    """A plan that is wrong by one row."""
    whole = MemoryPlan.allocate

    def short(self: MemoryPlan, sizes: dict[str, int], take: object = None) -> object:
        few = {name: n - 1 if n == 6 else n for name, n in sizes.items()}
        return whole(self, few)

    MemoryPlan.allocate = short
    session().run(["y"], {"x": fed(rows(6, 5))})


def memory_that_has_gone(place: str) -> None:
    """A table that nobody has any more."""
    address = memory.zeros((9,), np.int64).ctypes.data
    ctypes.memset(address, 0, 8)


def permutation_beyond_the_data(place: str) -> None:
    """Row numbers that there are no rows for."""
    net = session()
    data = {"x": fed(rows(600, 5)), "t": fed(rows(600, 3))}
    net.fit(data, batch_size=300, progress=False)
    (trainer,) = net._state.trainers.values()
    trainer.bind_data(data, {})
    order = np.arange(600) + (-1 if place == "begin" else 1)
    sums = [memory.zeros((1, 1), np.float64)]
    both = Epochs(range(2), 2, 600, 1, permutation=order)
    trainer.run(net._state.pool, both, sums)


MISTAKES = {
    f.__name__: f
    for f in (
        data_of_too_few_rows, buffers_of_too_few_rows, memory_that_has_gone,
        permutation_beyond_the_data,
    )
}  # fmt: skip

if __name__ == "__main__":
    faulthandler.enable()
    with guarded(sys.argv[2]):
        MISTAKES[sys.argv[1]](sys.argv[2])
