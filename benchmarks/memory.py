"""Memory of a training step over long sequences, with and without `remat`, beside PyTorch's.

    python -m benchmarks.memory

An LSTM reads 1 000 to 10 000 steps. "planned" is the arena that the compiler computes for the step;
"grown" is by how much the process grew from just before its first step to its largest, each setting
in a process of its own. Both are without parameters and data. "numbers" is what is planned (for
PyTorch: grown) in float32 numbers for each time step, row and hidden unit: constant where memory is
linear.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

import staticflow as sf
from staticflow import models, ops

SETTINGS: dict[str, Any] = {"plain": None, "remat=20": 20, "remat=True": True}
FEATURES, BATCH, MB = 8, 8, 2.0**20

Array = np.ndarray[Any, Any]


def session(hidden: int, remat: Any) -> sf.Session:
    """A regressor on the last state."""
    x = sf.input("x", ("batch", "time", FEATURES))
    y = models.FNN([hidden, 1], name="head")(models.RNN(hidden, "lstm", remat=remat)(x))
    target = sf.input("t", ("batch", 1))
    return sf.Session(loss=ops.mse(y, target), optimizer=sf.optim.Adam(1e-3), threads=1)


def ours(hidden: int, remat: Any) -> tuple[Callable[[Array, Array], None], Callable[[int], float]]:
    """A step, and the arena's megabytes at so many time steps."""
    net = session(hidden, remat)

    def planned(steps: int) -> float:
        from staticflow.compiler.compile import compile_graph

        assert net.loss is not None
        plan = compile_graph([net.loss, *sf.grad(net.loss, list(net.params.nodes.values()))])
        env = {"batch": BATCH, "time": steps}
        return plan.memory.offsets(plan.sized.sizes_by_name(env))[1] / MB

    def step(x: Array, t: Array) -> None:
        net.step({"x": x, "t": t})

    return step, planned


def torchs(hidden: int) -> Callable[[Array, Array], None]:
    """A step of the same network."""
    import torch

    torch.set_num_threads(1)
    rnn = torch.nn.LSTM(FEATURES, hidden, batch_first=True)
    head = torch.nn.Linear(hidden, 1)
    adam = torch.optim.Adam([*rnn.parameters(), *head.parameters()], 1e-3)

    def step(x: Array, t: Array) -> None:
        adam.zero_grad()
        y = head(rnn(torch.as_tensor(x))[0][:, -1])
        torch.nn.functional.mse_loss(y, torch.as_tensor(t)).backward()
        adam.step()

    return step


def resident() -> float:
    """Megabytes of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, steps: int, hidden: int) -> str:
    """A row of the table, measured here."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, steps, FEATURES)).astype(np.float32)
    t = rng.standard_normal((BATCH, 1)).astype(np.float32)
    planned = None
    if name == "PyTorch":
        step = torchs(hidden)
    else:
        step, planned = ours(hidden, SETTINGS[name])
    step(x[:, :100], t)  # compiles, and loads what is loaded late
    before = resident()
    step(x, t)
    grown = resident() - before
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        step(x, t)
        seconds.append(time.perf_counter() - start)
    plan = None if planned is None else planned(steps)
    held = (grown if plan is None else plan) * MB / (4 * steps * BATCH * hidden)
    shown = "" if plan is None else f"{plan:.1f}"
    return f"| {steps} | {name} | {shown} | {grown:.1f} | {held:.2f} | {1e3 * min(seconds):.0f} |"


def main(argv: list[str] | None = None) -> int:
    """Print the table; with `--only`, one row of it."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--only", choices=[*SETTINGS, "PyTorch"], help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.only:
        print(measure(options.only, *options.steps, options.hidden))
        return 0
    print(f"LSTM, in {FEATURES}, hidden {options.hidden}, batch {BATCH}\n")
    print("| steps | | planned, MB | grown, MB | numbers | ms a training step |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    peers = ("PyTorch",) if find_spec("torch") else ()
    for name in (*SETTINGS, *peers):
        for steps in options.steps:
            sizes = ("--steps", str(steps), "--hidden", str(options.hidden))
            command = (sys.executable, "-m", "benchmarks.memory", *sizes, "--only", name)
            subprocess.run(command, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
