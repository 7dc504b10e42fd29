"""What `derive` does with functions that are too long to be written out: it says so, at once."""

from __future__ import annotations

from time import process_time

import pytest

import staticflow as sf
from staticflow import ops
from staticflow.errors import GraphError
from staticflow.graph.node import Node
from staticflow.session.derivation.chains import MOST_PATHS
from tests.compiler.formula.test_shared_terms import (
    DEEP,
    SECONDS,
    choices,
    lstm,
    real,
    repeated,
    residual,
    softmaxes,
    squares,
    turned,
)

CASES = {
    "squares": squares(30), "residual": residual(30), "softmaxes": softmaxes(20),
    "choices": choices(20), "turned": turned(16), "lstm": lstm(20),
    "deep": repeated(ops.sin, real("x", 4), DEEP),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_long_functions_are_refused(name: str) -> None:
    start = process_time()
    with pytest.raises(GraphError, match=r"writes out 150 parts at most[^$]*\.named"):
        sf.derive(*CASES[name])
    assert process_time() - start < SECONDS


def test_functions_of_fewer_parts_are_derived() -> None:
    f, x = squares(4)
    assert sf.derive(f, x, check=True).steps[-1].left == "df/dx"


def ladder(rungs: int) -> tuple[Node, Node]:
    """Each rung is of the two below it: there are as many ways down as Fibonacci's numbers."""
    x = real("x", 4)
    a, b = x, ops.sin(x)
    for k in range(rungs):
        a, b = b, (b * 0.5 + ops.tanh(a)).named(f"y{k}")
    return b, x


def test_names_make_long_functions_short() -> None:
    y, x = ladder(25)
    start = process_time()
    found = sf.derive(y.sum(), x, check=True)
    assert process_time() - start < 2 * SECONDS
    assert len(str(found)) < 40_000
    assert any("composite rule: dy4 put in, dy3 put in" in s.rule for s in found.steps)
    with pytest.raises(GraphError, match=f"{MOST_PATHS} products.*\n.*\n.*121393 ways"):
        sf.derive(y, x)
