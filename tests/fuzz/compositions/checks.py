"""Random compositions of the whole vocabulary, computed in each way that there is, against JAX."""

from __future__ import annotations

from collections.abc import Sequence

import staticflow as sf
from staticflow.compiler.compile import compile_graph
from staticflow.runtime.interpreter import interpret
from tests.fuzz.compositions.build import (
    Composition,
    assert_agree,
    composition,
    derivatives,
    directions,
    expected,
)
from tests.support.source_interpreter import run_loops


def check_loops(seed: int) -> Composition:
    """The interpreted graph and the generated source against JAX."""
    made = composition(seed)
    point, first, second = directions(made, seed)
    outputs = derivatives(made, first, second)
    wanted = expected(made, point, first, second)
    env = dict(zip(made.inputs, point, strict=True))
    assert_agree(made, interpret(outputs, env), wanted)
    assert_agree(made, run_loops(compile_graph(outputs), env, {}), wanted)
    return made


def check_pack(seeds: Sequence[int]) -> None:
    """Machine code of several compositions in one program against JAX."""
    pack = [composition(seed) for seed in seeds]
    given = [directions(made, seed) for made, seed in zip(pack, seeds, strict=True)]
    outputs = [
        derivatives(c, first, second) for c, (_, first, second) in zip(pack, given, strict=True)
    ]
    function = sf.function([x for made in pack for x in made.inputs], outputs)
    found = function(*(x for point, _, _ in given for x in point))
    for made, arrays, results in zip(pack, given, found, strict=True):
        assert_agree(made, results, expected(made, *arrays))
