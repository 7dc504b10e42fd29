"""Memory, mappings, files and threads level off over 3 000 graphs and a million steps.

A case is a graph, different from the others, that is made, compiled, run and dropped; one in five
is trained. (None is compiled for Numba, which never gives back what it has compiled: some 0.9 MB a
function, ours or not.) Between two of them a tiny net goes on training, by `fit` and by `step`,
with batches of 250 sizes. All this happens in one process with an empty cache
(tests/support/growth_run.py); what it has in the last third of the run must be what it had in the
middle third, but for what LLVM keeps of every kernel that it compiles.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence

from tests.campaigns import Tick
from tests.support.processes import start_python

COUNT = 3000
SAMPLE = 30
STEPS = 334  # of the tiny net, beside each graph
# llvmlite 0.50 gives the callbacks of a pass builder never back: 1.45 kB a kernel compiled anew
KEPT_BY_LLVM = 1.5
# What the last third may have beyond the middle one: at all, and for each graph
SLACK = {"kilobytes": (3000, 2.0), "mappings": (10, 0.01), "files": (0, 0.0), "threads": (0, 0.0)}


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    sizes: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory() as cache:
        environment = {"STATICFLOW_CACHE_DIR": cache}
        arguments = ["-m", "tests.support.growth_run", str(seed), str(count), str(STEPS)]
        with start_python(*arguments, environment=environment) as process:
            assert process.stdout is not None and process.stderr is not None
            for line in process.stdout:
                sizes.append(json.loads(line))
                tick()
            error = process.stderr.read()
        assert process.returncode == 0, f"seed {seed}, graph {len(sizes)}: {error[-4000:]}"
    check(sizes, seed)
    ends = {name: f"{sizes[-1][name]} (in the middle {_middle(sizes, name)})" for name in SLACK}
    done = {name: sizes[-1][name] for name in ("steps", "compiled")}
    return {"graphs": count, **done, **ends}


def check(sizes: Sequence[dict[str, int]], seed: int) -> None:
    """The last third has about what the middle third has."""
    third = len(sizes) // 3
    kernels = statistics.median(x["compiled"] for x in sizes[-third:]) - _middle(sizes, "compiled")
    for name, (slack, each) in SLACK.items():
        middle = _middle(sizes, name)
        last = statistics.median(size[name] for size in sizes[-third:])
        allowed = middle + slack + each * third
        if name == "kilobytes":
            allowed += KEPT_BY_LLVM * kernels
        assert last <= allowed, (
            f"seed {seed}: {name} grow: {middle} in the middle third of {len(sizes)} graphs, "
            f"{last} in the last, {(last - middle) / third:.1f} a graph"
        )


def _middle(sizes: Sequence[dict[str, int]], name: str) -> int:
    third = len(sizes) // 3
    return round(statistics.median(size[name] for size in sizes[third : 2 * third]))
