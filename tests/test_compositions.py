"""Random compositions of the whole vocabulary against JAX, in every mode of differentiation.

Most are compiled and their generated source run as Python, which needs no machine code for kernels
that no other test shares; some are packed into one program of machine code. The campaign has a
thousand of the first kind and three hundred of the second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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


@pytest.mark.parametrize("part", range(2))
def test_against_jax(part: int) -> None:
    for seed in range(16 * part, 16 * part + 16):
        check_loops(seed)


def test_machine_code_against_jax() -> None:
    check_pack([seed for seed in range(50, 60) if not loops(seed)])


def loops(seed: int) -> bool:
    """Whether a composition has loops or branches, whose drivers take long to compile."""
    names = {rule.name for rule in FAMILIES["loops"]}
    return any(step.name in names for step in composition(seed).steps)


def test_compositions_draw_from_everything() -> None:
    """Of the rules of every family, all occur in the campaign, and most in a tenth of it."""
    names = {rule.name for rules in FAMILIES.values() for rule in rules}
    used = Counter(step.name for seed in range(100, 1100) for step in composition(seed).steps)
    assert set(used) == names
    few = {step.name for seed in range(100, 200) for step in composition(seed).steps}
    assert len(few) > 0.8 * len(names)


@pytest.mark.campaign
def test_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(100, 1100):
        check_loops(seed)
    packs = [range(first, first + 4) for first in range(2000, 2300, 4)]
    for seeds in packs:
        check_pack(seeds)
    with capsys.disabled():
        print(f"\n1000 compositions as loops, {4 * len(packs)} as machine code")
