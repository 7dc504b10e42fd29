"""Makes, runs and drops graphs, and trains a tiny net, in a process whose size is told.

    python -m tests.support.growth_run SEED GRAPHS STEPS

prints a line of JSON after each graph and its STEPS steps of the net: what the process has then.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import ops
from staticflow.native.toolchain.toolchain import toolchain
from tests.fuzz.graphs.maker import assert_agree, make_graph, outputs_of, sizes_for, values_for
from tests.support.small_nets import data, regression

ACTIVATIONS = (ops.tanh, ops.sigmoid, ops.relu, ops.softplus, ops.gelu, ops.silu, ops.sin)


def size_of_process() -> dict[str, int]:
    """Resident kilobytes, mappings, open files and threads."""
    status = Path("/proc/self/status").read_text("ascii")
    resident = status[status.index("VmRSS:") :].split()[1]
    mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return {
        "kilobytes": int(resident), "mappings": mappings, "files": files,
        "threads": threading.active_count(),
    }  # fmt: skip


def run_graph(seed: int) -> None:
    """A random graph as machine code, at two sets of sizes."""
    choose = random.Random(seed).randrange
    graph = make_graph(choose, "x", 3 + seed % 6, exact=bool(seed % 2))
    outputs = outputs_of(graph)
    function = sf.function(graph.leaves, outputs)
    for _ in range(2):
        given = values_for(graph, sizes_for(graph, choose), np.random.default_rng(seed))
        found = function(*(given[leaf] for leaf in graph.leaves))
        assert_agree(graph, outputs, given, found)


def train_graph(seed: int) -> None:
    """A net of random layers, trained for some steps and run."""
    choose = random.Random(seed)
    x = sf.input("x", ("batch", 6))
    y = x
    for k in range(choose.randrange(1, 5)):
        w = sf.param(f"w{k}", (6, 6))
        y = choose.choice(ACTIVATIONS)(y @ w * choose.choice((0.5, 1.0)))
        if choose.randrange(2):
            y = choose.choice(ACTIVATIONS)(y + x)
    session = sf.Session(loss=ops.square(y).mean(), outputs={"y": y}, optimizer=sf.optim.Adam())
    fed = {"x": np.random.default_rng(seed).standard_normal((20, 6)).astype(np.float32)}
    session.fit(fed, epochs=2, batch_size=8, progress=False)
    found = session.run("y", fed)
    assert np.isfinite(found).all()


class Tiny:
    """A net that is trained all the time, in many calls of many sizes."""

    def __init__(self) -> None:
        self.session = regression(sf.optim.Adam(1e-3), threads=2)
        self.fed = data(4000)
        self.sizes = 0

    def train(self, steps: int, by_step: bool) -> None:
        self.sizes += 1
        size = 1 + self.sizes % 250
        if by_step:
            batch = {name: array[:size] for name, array in self.fed.items()}
            for _ in range(steps):
                self.session.step(batch)
            return
        rows = {name: array[: 10 * size] for name, array in self.fed.items()}
        left = steps
        while left >= 10:
            epochs = min(left // 10, 3)
            self.session.fit(rows, epochs=epochs, batch_size=size, progress=False)
            left -= 10 * epochs
        for _ in range(left):
            self.session.step(rows)


def main(seed: int, graphs: int, steps: int) -> None:
    tiny = Tiny()
    for number in range(graphs):
        if number % 5:
            run_graph(1_000_000 * seed + number)
        else:
            train_graph(1_000_000 * seed + number)
        tiny.train(steps, by_step=number % 2 == 0)
        gc.collect()
        done = {"steps": tiny.session.step_count, "compiled": toolchain().counts.compiled}
        found: dict[str, Any] = {**size_of_process(), **done}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
