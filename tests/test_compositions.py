"""Random compositions of the whole vocabulary against JAX, in every mode of differentiation.

They are packed, a dozen into one program of machine code. A few are interpreted as graphs as well,
and their generated source run as Python, where every access has bounds. The campaign has 500 of the
first kind and 60 of the second, and takes some 13 minutes of one core, a fifth of them JAX's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("jax")

from compositions import (
    FAMILIES,
    Composition,
    assert_agree,
    composition,
    derivatives,
    directions,
    expected,
)
from loop_interpreter import run_loops

import staticflow as sf
from staticflow.compile import compile_graph
from staticflow.interpret import interpret

pytestmark = pytest.mark.peers


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


@pytest.mark.parametrize("part", range(4))
def test_machine_code_against_jax(part: int) -> None:
    check_pack(range(12 * part, 12 * part + 12))


def test_source_against_jax() -> None:
    for seed in range(50, 58):
        check_loops(seed)


def test_compositions_draw_from_everything() -> None:
    """Of the rules of every family, all occur in the campaign, and most in a tenth of it."""
    names = {rule.name for rules in FAMILIES.values() for rule in rules}
    used = Counter(step.name for seed in range(100, 1100) for step in composition(seed).steps)
    assert set(used) == names
    few = {step.name for seed in range(100, 200) for step in composition(seed).steps}
    assert len(few) > 0.8 * len(names)


@pytest.mark.campaign
def test_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    """All are tried, and all that fail are told."""
    started = time.process_time()
    failed = [error for seed in range(100, 160) if (error := _failure(check_loops, seed))]
    packs = [range(first, first + 10) for first in range(2000, 2500, 10)]
    for seeds in packs:
        if _failure(check_pack, seeds):  # then one by one
            failed += [error for seed in seeds if (error := _failure(check_pack, [seed]))]
    with capsys.disabled():
        took = time.process_time() - started
        print(f"\n60 compositions as source, {10 * len(packs)} as machine code: {took:.0f} s")
    assert not failed, "\n\n".join(failed)


def _failure(check: Callable[[Any], object], seeds: Any) -> str:
    """What is wrong with compositions, or nothing."""
    try:
        check(seeds)
    except Exception as error:
        return f"{seeds}: {type(error).__name__}: {error}"
    return ""
