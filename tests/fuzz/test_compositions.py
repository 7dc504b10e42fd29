"""Random compositions of the whole vocabulary against JAX, in every mode of differentiation.

They are packed, a dozen into one program of machine code. A few are interpreted as graphs as well,
and their generated source run as Python, where every access has bounds. The campaign `compositions`
has more of both.
"""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("jax")

from tests.fuzz.compositions.build import FAMILIES, composition
from tests.fuzz.compositions.checks import check_loops, check_pack

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("part", range(2))
def test_machine_code_against_jax(part: int) -> None:
    """A sample: each takes seconds to compile, here and in JAX; the campaign has others."""
    check_pack(range(6 * part, 6 * part + 6))


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
