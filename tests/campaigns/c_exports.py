"""Random graphs, exported as C and run under the address and undefined-behaviour sanitizers.

A case is a file of 20 graphs of up to 12 nodes, every third of which is of derivatives, with sizes
from 0 on, against NumPy node by node; memory of arrays and scratch is of the exact size. Every
second file is optimised for this machine, by each compiler in turn, instead of sanitized.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from staticflow.session.interchange.c_out.text import Module
from tests.campaigns import Tick
from tests.fuzz.graphs.checks import seeded
from tests.fuzz.graphs.maker import (
    assert_agree,
    make_graph,
    outputs_of,
    sizes_for,
    values_for,
    with_gradients,
)
from tests.session.interchange.c_programs import outputs_by_program
from tests.session.interchange.c_runs import COMPILERS, entered

COUNT = 300
SAMPLE = 1
GRAPHS = 20
FIRST, APART = 20_000, 1_000_000  # those before are the tests'
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLAGS = (SANITIZED, ("-O3", "-march=native"))


def run(count: int, seed: int, tick: Tick) -> dict[str, int | str]:
    for k in range(count):
        if not COMPILERS:
            tick()
            continue
        first = FIRST + APART * seed + GRAPHS * k
        try:
            compiler = COMPILERS[k // 2 % len(COMPILERS) if k % 2 else 0]
            _check(first, compiler, FLAGS[k % 2])
        except Exception as error:
            raise AssertionError(f"graphs from {first} on: {error}") from error
        tick()
    return {
        "graphs": GRAPHS * count,
        "compilers": ", ".join(COMPILERS) or "none: nothing was tried",
    }


def _check(first: int, compiler: str, flags: tuple[str, ...]) -> None:
    module, tried = Module("graphs"), {}
    for case in range(first, first + GRAPHS):
        choose = seeded(case)
        graph = make_graph(choose, "x", 4 + case % 9, exact=bool(case % 2) and case % 3 != 0)
        outputs = outputs_of(graph)
        outputs = with_gradients(graph, outputs) if case % 3 == 0 else outputs
        sizes = sizes_for(graph, choose)
        env = values_for(graph, sizes, np.random.default_rng(case))
        entered(module, f"graph_{case}", outputs, env)
        tried[f"graph_{case}"] = (graph, outputs, env)
    feeds = {name: {x.name: a for x, a in env.items()} for name, (_, _, env) in tried.items()}
    with tempfile.TemporaryDirectory() as folder:
        found = outputs_by_program(module, feeds, Path(folder), compiler, *flags)
    for name, (graph, outputs, env) in tried.items():
        assert_agree(graph, outputs, env, list(found[name].values()))
