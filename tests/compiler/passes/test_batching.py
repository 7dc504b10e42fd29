"""Loops within loops that become one: Jacobians through time, and loops over sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import Node, ops
from staticflow.compiler.ir.steps import BranchStep, LoopStep, Step
from staticflow.runtime.interpreter import interpret
from tests.support.recurrences import close

RNG = np.random.default_rng(0)
FEATURES, HIDDEN = 3, 11
X = sf.input("x", ("time", FEATURES), "float64")
H = sf.input("h", (HIDDEN,), "float64")
W = sf.input("w", (FEATURES, HIDDEN), "float64")
U = sf.input("u", (HIDDEN, HIDDEN), "float64")
INPUTS = [X, H, W, U]


def arrays(time: int) -> list[np.ndarray]:
    shapes = ((time, FEATURES), (HIDDEN,), (FEATURES, HIDDEN), (HIDDEN, HIDDEN))
    return [RNG.standard_normal(shape) / 2 for shape in shapes]


def elman(carry: Any, x: Node) -> Any:
    h = ops.tanh(x @ W + carry @ U)
    return h, h


def gated(carry: Any, x: Node) -> Any:
    """Two carries, one of which counts the steps and depends on nothing."""
    h, steps = carry
    gate = ops.sigmoid(x @ W - h @ U)
    return (gate * h + (1.0 - gate) * ops.sin(steps * h), steps + 1.0), h[1:] * h[:-1]


def depths(steps: Sequence[Step], depth: int = 0) -> Iterator[int]:
    """How many loops each loop is in."""
    for step in steps:
        if isinstance(step, LoopStep):
            yield depth
        if isinstance(step, LoopStep | BranchStep):
            yield from depths(step.body, depth + 1)


def check(inputs: list[Node], output: Node, fed: list[np.ndarray], nested: bool) -> None:
    f = sf.function(inputs, output)
    found = list(depths(f.runner.program.compiled.steps))
    assert found and any(found) == nested
    close([f(*fed)], interpret([output], dict(zip(inputs, fed, strict=True))), "", 1e-9)


@pytest.mark.parametrize("time", [1, 2, 7])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("wrt", INPUTS, ids=lambda node: node.name)
def test_jacobians_of_the_last_state(time: int, reverse: bool, wrt: Node) -> None:
    h, _ = sf.scan(elman, H, X, reverse=reverse)
    check(INPUTS, sf.jacobian(h, wrt), arrays(time), nested=False)


@pytest.mark.parametrize("wrt", [H, U], ids=lambda node: node.name)
def test_jacobians_of_all_states(wrt: Node) -> None:
    _, hs = sf.scan(elman, H, X)
    check(INPUTS, sf.jacobian(hs.sum(1) if wrt is U else hs, wrt), arrays(9), nested=False)


@pytest.mark.parametrize("wrt", INPUTS, ids=lambda node: node.name)
def test_carries_that_do_not_depend_on_the_pass(wrt: Node) -> None:
    (h, _), pairs = sf.scan(gated, (H, ops.zeros((), "float64")), X)
    check(INPUTS, sf.jacobian(ops.concat([h, pairs.sum(0)]), wrt), arrays(6), nested=False)


def test_hessians_through_time() -> None:
    h, _ = sf.scan(elman, H, X)
    check(INPUTS, sf.hessian((h * h).sum(), H), arrays(5), nested=False)


def many(step: Callable[[Any, Any], Any], init: Any) -> tuple[Any, Node, list[np.ndarray]]:
    """A loop over sequences."""
    sequences = sf.input("sequences", ("many", "time", FEATURES), "float64")
    result = sf.scan(step, init, sequences)
    fed = [RNG.standard_normal((4, 6, FEATURES)), *arrays(1)[1:]]
    return result, sequences, fed


def test_a_loop_over_sequences_is_a_loop_over_time() -> None:
    (_, lasts), sequences, fed = many(lambda _, x: (None, sf.scan(elman, H, x)[0]), None)
    check([sequences, H, W, U], lasts, fed, nested=False)
    first = fed[1:]
    h = np.tile(first[0], (4, 1))
    for t in range(6):
        h = np.tanh(fed[0][:, t] @ first[1] + h @ first[2])
    np.testing.assert_allclose(sf.function([sequences, H, W, U], lasts)(*fed), h, 1e-12)


def test_inner_loops_that_need_no_carry_go_before_a_loop() -> None:
    def words(carry: Node, x: Node) -> tuple[Node, Node]:
        last, all_of_them = sf.scan(elman, H, x)
        return ops.tanh(carry @ U + last) * all_of_them.mean(0), last

    (final, _), sequences, fed = many(words, H)
    check([sequences, H, W, U], final, fed, nested=False)


def test_inner_loops_that_need_a_carry_stay() -> None:
    (final, _), sequences, fed = many(lambda h, x: (sf.scan(elman, h, x)[0], None), H)
    check([sequences, H, W, U], final, fed, nested=True)


def test_what_has_no_form_over_all_steps_stays_a_loop() -> None:
    def until(h: Node) -> Node:
        return sf.while_loop(lambda h: (h * h).sum() > 1.0, lambda h: h / 2.0, h)

    def step(h: Node, x: Node) -> tuple[Node, None]:
        return until(elman(h, x)[0]), None

    (_, lasts), sequences, fed = many(lambda _, x: (None, sf.scan(step, H, x)[0]), None)
    check([sequences, H, W, U], lasts, fed, nested=True)
