"""Eight threads use sessions and functions as users do, all at once; every result is checked.

    python -m tests.support.thread_round SEED OPERATIONS

runs in a process of its own, since what it looks for kills processes. It prints, as JSON, how often
each operation was done; a wrong result is an error with a traceback, a hang ends after a while with
the stacks of all threads.

Two sessions are shared. One trains, and shows torn steps (counted_steps.py). `Known` does not, so
that its runs, gradients and evaluations are those that one thread made before, bit for bit.
"""

from __future__ import annotations

import copy
import faulthandler
import json
import pickle
import random
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow import models, ops
from staticflow.training import trainer as training
from tests.support.counted_steps import assert_whole, counted, fed, steps_in, use_all_threads
from tests.support.small_nets import data, regression, values

Array = NDArray[Any]
THREADS = 8
PATIENCE = 240.0  # seconds until a round counts as hung
ROWS = (1, 2, 3, 4, 5, 7, 8, 10, 13, 16, 17, 20, 24, 31, 32, 33, 40, 50, 64, 77, 100, 128, 200)


@dataclass
class Known:
    """A session and functions that do not change, and what one thread got from them."""

    session: sf.Session
    wide: sf.Session  # products large enough for helpers
    function: sf.Function
    jitted: Any
    inputs: dict[int, Array] = field(default_factory=dict)
    expected: dict[tuple[str, int], Any] = field(default_factory=dict)

    def ask(self, what: str, rows: int) -> Any:
        x = self.inputs[rows]
        if what == "run":
            return self.session.run("y", {"x": x})
        if what == "run several":
            return self.session.run(["h", "y"], {"x": x})
        if what == "call":
            return self.session(x=x)["y"]
        if what == "function":
            return self.function(x, x[: max(1, rows // 2)])
        if what == "jit":
            return self.jitted(x)
        if what == "evaluate":
            return self.session.evaluate({"x": x, "t": x[:, :2]}, batch_size=16)["loss"]
        if what == "gradients":
            return list(self.session.gradients({"x": x, "t": x[:, :2]}).values())
        return self.wide.run("y", {"z": np.tile(x, (1, 16))})


KINDS = ("run", "run several", "call", "function", "jit", "evaluate", "gradients", "wide")


def known(threads: int, kinds: tuple[str, ...], sizes: tuple[int, ...]) -> Known:
    x, t = sf.input("x", ("batch", 32)), sf.input("t", ("batch", 2))
    h = models.FNN([32, 40], output_activation="tanh", name="first")(x)
    y = models.FNN([40, 2], name="last")(h)
    session = sf.Session(loss=ops.mse(y, t), outputs={"h": h, "y": y}, threads=threads)
    z = sf.input("z", ("batch", 512))
    wide = sf.Session(outputs={"y": models.FNN([512, 512, 300, 10])(z)}, threads=threads)
    p, q = sf.input("p", ("m", 32)), sf.input("q", ("n", 32))
    function = sf.function([p, q], ops.softmax(p @ q.T) @ ops.tanh(q))
    made = Known(session, wide, function, session.jit("y"))
    made.wide.run("y", {"z": np.zeros((1, 512), np.float32)})
    rng = np.random.default_rng(0)
    for rows in sizes:
        made.inputs[rows] = rng.standard_normal((rows, 32)).astype(np.float32)
        for what in kinds:
            made.expected[what, rows] = copy.deepcopy(made.ask(what, rows))
    return made


def assert_same(found: Any, expected: Any) -> None:
    """Bit for bit, whatever the structure."""
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(found, expected)


class Round:
    """What the threads share, and what one thread does at a time."""

    def __init__(self, seed: int) -> None:
        choose = random.Random(seed)
        sys.setswitchinterval(choose.choice((1e-5, 1e-4, 5e-3)))
        self.folder = Path(tempfile.mkdtemp(prefix="staticflow-threads-"))
        self.counted = counted()
        self.made = 0  # steps of it, by all threads
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        sizes = tuple(sorted(choose.sample(ROWS, 20)))
        self.known = known(choose.choice((1, 2, 8)), KINDS, sizes)
        self.alone = self._own_run()
        self.failures: list[str] = []
        self.actions: list[Callable[[random.Random, dict[str, Any]], None]] = [
            self.fit, self.step, self.watch, self.watch, self.look_at_y, self.save, self.copy,
            self.pickle, self.load, self.slopes, self.measure, self.own, self.new_function,
            *[self.ask] * 12,
        ]  # fmt: skip

    @staticmethod
    def _own_run() -> dict[str, Array]:
        session = regression(sf.optim.Adam(1e-2), threads=2)
        session.fit(data(70), epochs=2, batch_size=16, progress=False)
        session.step(data(9))
        return values(session)

    # Each of these is one operation, by one thread, with its own choices and memory

    def fit(self, choose: random.Random, memory: dict[str, Any]) -> None:
        rows, size, epochs = choose.choice((32, 64)), choose.choice((8, 16)), choose.randrange(1, 9)
        if choose.randrange(3):
            self.counted.fit(fed(rows), epochs=epochs, batch_size=size, progress=False)
        else:
            batches = [fed(size)] * (rows // size)
            self.counted.fit(lambda: iter(batches), epochs=epochs, progress=False)
        self._made(epochs * rows // size)

    def step(self, choose: random.Random, memory: dict[str, Any]) -> None:
        self.counted.step(fed(choose.choice((1, 2, 8))))
        self._made(1)

    def _made(self, steps: int) -> None:
        with self.lock:
            self.made += steps

    def watch(self, choose: random.Random, memory: dict[str, Any]) -> None:
        """A run sees whole steps, and never earlier ones than the run before."""
        a, b, steps = self.counted.run(["a", "b", "steps"])
        assert steps_in(a, b) == int(steps), f"a torn step: {steps_in(a, b)} and {steps} steps"
        assert steps >= memory.get("steps", 0)
        memory["steps"] = steps

    def look_at_y(self, choose: random.Random, memory: dict[str, Any]) -> None:
        y = self.counted.run("y", fed(choose.choice(ROWS)))
        assert y.min() == y.max(), "rows of one run saw different steps"

    def slopes(self, choose: random.Random, memory: dict[str, Any]) -> None:
        for slope in self.counted.gradients(fed(choose.choice((1, 4, 16)))).values():
            assert (slope == 1.0).all()

    def measure(self, choose: random.Random, memory: dict[str, Any]) -> None:
        loss = self.counted.evaluate(fed(choose.choice((4, 16))))["loss"]
        assert 0.0 < loss <= 5000.0

    def save(self, choose: random.Random, memory: dict[str, Any]) -> None:
        """To one place for all, or one's own."""
        name = "shared" if choose.randrange(2) else f"{threading.get_ident()}"
        path = self.folder / f"{name}.sf"
        self.counted.save(path)
        assert_whole(sf.Session.load(path, threads=1))

    def load(self, choose: random.Random, memory: dict[str, Any]) -> None:
        path = self.folder / "shared.sf"
        if path.exists():
            assert_whole(sf.Session.load(path, threads=1))

    def copy(self, choose: random.Random, memory: dict[str, Any]) -> None:
        self._goes_on(copy.deepcopy(self.counted))

    def pickle(self, choose: random.Random, memory: dict[str, Any]) -> None:
        self._goes_on(pickle.loads(pickle.dumps(self.counted)))

    @staticmethod
    def _goes_on(other: sf.Session) -> None:
        steps = assert_whole(other)
        other.fit(fed(16), batch_size=8, progress=False)
        assert_whole(other, steps + 2)

    def own(self, choose: random.Random, memory: dict[str, Any]) -> None:
        """A session of the thread's own trains as one does when nothing else runs."""
        found = self._own_run()
        for name, array in self.alone.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)

    def new_function(self, choose: random.Random, memory: dict[str, Any]) -> None:
        """A graph that is new to the process, or nearly."""
        n = sf.input("n", ("rows", 3), "float64")
        y = n
        for _ in range(choose.randrange(1, 4)):
            y = choose.choice((ops.tanh, ops.square, ops.exp, ops.sin))(y * 0.5)
        x = np.ones((choose.randrange(1, 9), 3)) * 0.3
        found, slope = sf.function([n], [y, sf.grad(y.sum(), n)])(x)
        assert found.shape == slope.shape == x.shape and np.isfinite(slope).all()
        np.testing.assert_allclose(found, found[0, 0], 1e-14)
        np.testing.assert_allclose(slope, slope[0, 0], 1e-14)

    def ask(self, choose: random.Random, memory: dict[str, Any]) -> None:
        what, rows = choose.choice(list(self.known.expected))
        try:
            assert_same(self.known.ask(what, rows), self.known.expected[what, rows])
        except AssertionError as error:
            raise AssertionError(f"{what} of {rows} rows: {error}") from error
        with self.lock:
            self.seen[what] += 1

    # The round

    def work(self, seed: int, operations: int) -> None:
        """One thread's part."""
        choose, memory = random.Random(seed), dict[str, Any]()
        for _ in range(operations):
            if self.failures:
                return
            action = choose.choice(self.actions)
            try:
                action(choose, memory)
            except BaseException:
                self.failures.append(f"{action.__name__}: {traceback.format_exc()}")
                return
            with self.lock:
                self.seen[action.__name__] += 1

    def together(self, seed: int, operations: int) -> None:
        threads = [
            threading.Thread(target=self.work, args=(seed * THREADS + k, operations))
            for k in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not self.failures:
            assert_whole(self.counted, self.made)


def main(seed: int, operations: int) -> int:
    faulthandler.enable()
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    training.choose_shards = use_all_threads  # type: ignore[assignment]
    made = Round(seed)
    made.together(seed, operations)
    for failure in made.failures:
        print(failure, file=sys.stderr)
    print(json.dumps({"steps": made.made, **made.seen}))
    return 1 if made.failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
