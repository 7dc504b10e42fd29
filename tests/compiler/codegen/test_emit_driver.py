"""Drivers as text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.compiler.compile import compile_graph
from staticflow.graph.leaves import Param
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves


def feed_forward() -> Node:
    return models.FNN([3, 4, 1])(sf.input("x", ("batch", 3)))


def recurrent() -> Node:
    return models.RNN(4)(sf.input("x", ("batch", "time", 3)))


@pytest.mark.parametrize(("make", "looks"), [(feed_forward, False), (recurrent, True)])
def test_a_training_driver_with_a_loop_looks_between_its_steps(
    make: Callable[[], Node], looks: bool
) -> None:
    """One driver does for short and long sequences; one without a loop has no looks in its way."""
    loss = ops.square(make()).mean()
    driver = compile_graph([loss, *sf.grad(loss, leaves([loss], Param))], training=True).driver
    lines = driver.source.splitlines()
    outside = [line for line in lines if line.startswith("    if load_acquire(T[")]
    assert driver.attentive is looks
    assert bool(outside) is looks
