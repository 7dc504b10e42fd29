"""Ctrl-C at any moment of fit, run, function, compile and import ends it within 0.2 s, whole.

Of five cases one is of each kind. A fit that was interrupted has the values of a whole number of
steps, bit for bit; what was interrupted runs again at once, in the same session and process, with
the same result. Time in which other processes had the core is not counted.
"""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.native.toolchain.toolchain import Toolchain
from tests.campaigns import Tick
from tests.support.interruptions import interrupted
from tests.support.places import ROOT
from tests.support.small_nets import assert_same, data, regression, values

COUNT = 1000
SAMPLE = 10
LIMIT = 0.2
# A unit of compilation, or a library of Numba's that is loaded, comes to its end first: some 0.5 s
# at the most where files are cold and both cores busy. The table has the longest seen.
LIMITS = {"compile": 1.0, "import": 1.0}
Case = Callable[[random.Random], float]


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    kinds = {"fit": Fits(), "run": Runs(), "function": Functions(), "compile": compiling,
             "import": importing}  # fmt: skip
    longest = dict.fromkeys(kinds, 0.0)
    for k in range(count):
        name = list(kinds)[k % len(kinds)]
        draw = random.Random(f"{seed} {k}")
        try:
            seconds = kinds[name](draw)
        except Exception as error:
            raise AssertionError(f"case {k} of seed {seed}, {name}: {error}") from error
        longest[name] = max(longest[name], seconds)
        limit = LIMITS.get(name, LIMIT)
        assert seconds < limit, f"case {k} of seed {seed}: {name} went on for {seconds:.2f} s"
        tick()
    times = ", ".join(f"{name} {1000 * longest[name]:.0f} ms" for name in kinds)
    return {"interruptions": count, "the longest": times}


def until_interrupted(call: Callable[[], Any], longest: float, draw: random.Random) -> float:
    """Interrupt a call at some moment; gives how long it went on."""
    while True:
        found = interrupted(call, longest * draw.random())
        if found is not None:
            return found.own


class Fits:
    """A fit of thousands of small steps, on one thread or two."""

    rows, batch = 640, 32

    def __init__(self) -> None:
        self.fed = data(self.rows)
        self.sessions = [regression(sf.optim.Adam(1e-3), threads=threads) for threads in (1, 2)]
        for session in self.sessions:
            session.fit(self.fed, batch_size=self.batch, progress=False)

    def __call__(self, draw: random.Random) -> float:
        session = draw.choice(self.sessions)
        twin, before = copy.deepcopy(session), session.step_count
        options: dict[str, Any] = {"batch_size": self.batch, "shuffle": False, "progress": False}
        seconds = until_interrupted(
            lambda: session.fit(self.fed, epochs=10**6, **options), 0.3, draw
        )
        epochs, rest = divmod(session.step_count - before, self.rows // self.batch)
        if epochs:
            twin.fit(self.fed, epochs=epochs, **options)
        if rest:
            some = {name: array[: self.batch * rest] for name, array in self.fed.items()}
            twin.fit(some, **options)
        assert twin.step_count == session.step_count
        assert_same(values(session), values(twin))
        return seconds


class Runs:
    """Runs of a trained net, one after the other."""

    def __init__(self) -> None:
        self.session = regression()
        self.fed = {"x": data(2000)["x"]}
        self.expected = self.session.run("y", self.fed)

    def __call__(self, draw: random.Random) -> float:
        def call() -> None:
            while True:
                self.session.run("y", self.fed)

        seconds = until_interrupted(call, 0.1, draw)
        np.testing.assert_array_equal(self.session.run("y", self.fed), self.expected)
        return seconds


class Functions:
    """Calls of a function, some short and one that takes a while."""

    def __init__(self) -> None:
        x = sf.input("x", ("n", "n"))
        self.function = sf.function([x], ops.tanh(x @ x) @ x)
        rng = np.random.default_rng(0)
        self.fed = [rng.normal(size=(n, n)).astype("float32") for n in (4, 700)]
        self.expected = [self.function(array) for array in self.fed]

    def __call__(self, draw: random.Random) -> float:
        k = draw.randrange(2)

        def call() -> None:
            while True:
                self.function(self.fed[k])

        seconds = until_interrupted(call, 0.1, draw)
        np.testing.assert_array_equal(self.function(self.fed[k]), self.expected[k])
        return seconds


def compiling(draw: random.Random) -> float:
    """The first run of a session with an empty cache; it goes on from where it was interrupted."""
    fed = {"x": data(64)["x"]}
    with tempfile.TemporaryDirectory() as folder:

        def call() -> None:
            for entry in Path(folder).rglob("*.sfo"):
                entry.unlink()
            compiled[0] = _small_session(folder)
            compiled[0].run("y", fed)

        compiled = [_small_session(folder)]
        seconds = until_interrupted(call, 1.0, draw)
        found = compiled[0].run("y", fed)
        np.testing.assert_allclose(found, np.exp(np.tanh(fed["x"])).sum(axis=0), rtol=1e-5)
        np.testing.assert_array_equal(_small_session(folder).run("y", fed), found)
        return seconds


def _small_session(folder: str) -> sf.Session:
    """A session of a few kernels, with a toolchain of its own."""
    x = sf.input("x", ("batch", 4))
    session = sf.Session(outputs={"y": ops.exp(ops.tanh(x)).sum(axis=0)})
    session._state.toolchain = Toolchain(Path(folder))
    return session


IMPORTING = """
import sys
import numpy, llvmlite.binding, tqdm.std  # whose own imports cannot be repeated
from tests.support.interruptions import interrupted

def call():
    import staticflow as sf
    x = sf.input("x", (3,))
    assert (sf.function([x], x * 2 + 1)(numpy.ones(3, "float32")) == 3).all()

found = interrupted(call, float(sys.argv[1]))
call()
print(-1 if found is None else found.own)
"""


def importing(draw: random.Random) -> float:
    """The import of the library and its first function, which imports the compiler."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "STATICFLOW_CACHE_DIR": cache}
        while True:
            delay = f"{draw.random() * 1.5:.6f}"
            done = subprocess.run(
                [sys.executable, "-c", IMPORTING, delay],
                env=environment, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, f"interrupted after {delay} s: {done.stderr[-2000:]}"
            seconds = float(done.stdout)
            if seconds >= 0:
                return seconds
