"""How long the first training step takes in a new process: with an empty cache, and again.

    python -m benchmarks compile

Every measurement is a process of its own, timed inside from its first line on: imports, building,
compiling, one step (JAX: one pass over the minibatches, its form in the other tables). Beside it
stands what importing numba takes, and how many kernels another width, batch size and learning rate
compile in the same process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchmarks.harness import clean_environment
from benchmarks.workloads import FNN, FNN_ROWS, RNN, RNN_ROWS, Workload, from_json, to_json

# Seconds to compile from cold, and to start from the cache, this beyond numba's own start.
TARGETS = {"fnn": (5.0, 0.3), "rnn": (10.0, 0.4)}


@dataclass
class Times:
    """Seconds to the first step."""

    workload: FNN | RNN
    cold: float
    warm: float
    recompiled: int
    jax: float | None

    def meets(self, numba: float) -> bool:
        """Whether the targets are met, where numba needs so many seconds for itself."""
        cold, warm = TARGETS[self.workload.kind]
        return self.cold <= cold and self.warm - numba <= warm and not self.recompiled


def _child(what: str, workload: Workload | None, env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.compile_time", what]
    command += [json.dumps(to_json(workload))] if workload else []
    done = subprocess.run(
        command, env=clean_environment(env), capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(workload: FNN | RNN, rounds: int, peers: bool) -> Times:
    """Cold once for each round, in an empty directory; warm right after it."""
    cold, warm, recompiled, jax = [], [], 0, []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            env = {"STATICFLOW_CACHE_DIR": directory}
            cold.append(_child("ours", workload, env)["seconds"])
            again = _child("ours", workload, env)
        warm.append(again["seconds"])
        recompiled = max(recompiled, again["recompiled"])
        if peers:
            jax.append(_child("jax", workload, {})["seconds"])
    return Times(workload, median(cold), median(warm), recompiled, median(jax) if jax else None)


def report(rows: Sequence[Times], numba: float) -> str:
    """The table."""
    lines = [
        f"`import numba` takes {numba:.2f} s. Seconds from a process's start to its first step:",
        "",
        "| workload | cold | warm | warm beyond numba's start | compiled for other sizes | JAX |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        jax = "" if r.jax is None else f"{r.jax:.2f}"
        beyond = max(0.0, r.warm - numba)
        lines.append(
            f"| {r.workload.name} | {r.cold:.2f} | {r.warm:.2f} | {beyond:.2f} | {r.recompiled} "
            f"| {jax} |"
        )
    for kind, (cold_target, warm_target) in TARGETS.items():
        own = [r for r in rows if r.workload.kind == kind]
        if own:
            cold, warm = max(r.cold for r in own), max(r.warm for r in own)
            beyond = max(0.0, warm - numba)
            lines.append(
                f"\n{kind}: cold at most {cold:.2f} s (target {cold_target}), "
                f"warm at most {beyond:.2f} s beyond numba's start (target {warm_target})"
            )
    return "\n".join(lines)


def run(names: Sequence[str] | None, rounds: int, peers: bool) -> int:
    """Measure the rows, print them; 1 if a target is missed."""
    every = (*FNN_ROWS, *RNN_ROWS)
    rows = [w for w in every if not names or any(part in w.name for part in names)]
    numba = median(_child("numba", None, {})["seconds"] for _ in range(max(3, rounds)))
    found = []
    for workload in rows:
        found.append(measure(workload, rounds, peers))
        print(f"{workload.name}: cold {found[-1].cold:.2f}, warm {found[-1].warm:.2f}", flush=True)
    print(f"\n{report(found, numba)}")
    return 0 if all(r.meets(numba) for r in found) else 1


def _first_step(workload: FNN | RNN, learning_rate: float) -> None:
    step = _first_fnn_step if isinstance(workload, FNN) else _first_rnn_step
    step(workload, learning_rate)  # type: ignore[arg-type]


def _first_rnn_step(workload: RNN, learning_rate: float) -> None:
    import numpy as np

    import staticflow as sf
    from staticflow import models, ops

    w = workload
    x = sf.input("x", ("batch", "time", w.features), w.dtype)
    t = sf.input("t", ("batch", 1), w.dtype)
    lengths = sf.input("lengths", ("batch",), "int64") if w.ragged else None
    rnn = models.RNN(w.hidden, w.cell, w.layers, w.bidirectional)
    y = models.FNN([w.hidden * w.directions, 1], name="head")(rnn(x, lengths=lengths))
    session = sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.Adam(learning_rate))
    fed = {"x": np.ones((w.batch, w.time, w.features), w.dtype), "t": np.ones((w.batch, 1))}
    fed |= {"lengths": np.full(w.batch, w.time)} if w.ragged else {}
    session.fit(fed, batch_size=w.batch, progress=False)


def _first_fnn_step(workload: FNN, learning_rate: float) -> None:
    import numpy as np

    import staticflow as sf
    from staticflow import models, ops

    sizes = workload.sizes
    x = sf.input("x", ("batch", sizes[0]), workload.dtype)
    t = sf.input("t", ("batch", sizes[-1]), workload.dtype)
    y = models.FNN(list(sizes), activation=workload.activation)(x)
    session = sf.Session(loss=ops.mse(y, t), optimizer=sf.optim.Adam(learning_rate))
    fed = {n.name: np.ones((workload.batch, n.shape[1]), workload.dtype) for n in (x, t)}
    session.fit(fed, batch_size=workload.batch, progress=False)


def _ours(workload: FNN | RNN) -> int:
    """One step, then others; how many kernels the others compiled. The clock stops in between."""
    from staticflow.native.toolchain.toolchain import toolchain

    _first_step(workload, 1e-3)
    _stop()
    before = toolchain().counts.compiled
    _first_step(_wider(workload), 1e-3)
    _first_step(replace(workload, batch=workload.batch + 7), 1e-2)
    return toolchain().counts.compiled - before


def _wider(workload: FNN | RNN) -> FNN | RNN:
    """The same layers, wider; and longer sequences."""
    if isinstance(workload, RNN):
        w = workload
        return replace(w, features=w.features + 1, hidden=w.hidden + 3, time=w.time + 5)
    first, *hidden, last = workload.sizes
    return replace(workload, sizes=(first + 1, *(n + 3 for n in hidden), last + (last > 1)))


_STARTED = time.perf_counter()
_SECONDS: list[float] = []


def _stop() -> None:
    _SECONDS.append(time.perf_counter() - _STARTED)


def _main(what: str, *arguments: str) -> None:
    recompiled = 0
    if what == "numba":
        import numba

        assert numba
    else:
        workload = from_json(json.loads(arguments[0]))
        assert isinstance(workload, FNN | RNN)
        if what == "ours":
            recompiled = _ours(workload)
        else:
            from benchmarks import peers_jax

            _, build = next(iter(peers_jax.forms(workload)))
            job = build()
            job.run(job.granule)
    if not _SECONDS:
        _stop()
    print(json.dumps({"seconds": _SECONDS[0], "recompiled": recompiled, "pid": os.getpid()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
