"""Recurrent networks in C, one sample a call: the outputs are those of the whole sequence."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticflow as sf
from staticflow import models, ops
from staticflow.errors import GraphError
from staticflow.graph.node import Node
from staticflow.session.interchange.c_out.model import module_of
from staticflow.session.interchange.c_out.text import Module
from tests.session.interchange.c_runs import COMPILERS, Array, Library, needs_compiler

STEPS = 9


class Stream:
    """The functions of a module that hands a state on."""

    def __init__(self, module: Module, folder: Path) -> None:
        self.library = Library(module, folder, COMPILERS[0], "-O2")
        self.module = module
        self.state = np.full(sum(-(-f.bytes // 8) * 8 for f in module.fields) + 64, 0xFF, np.uint8)
        self.reset()

    def reset(self) -> None:
        getattr(self.library.library, f"{self.module.name}_reset")(self._pointer())

    def _pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.state.ctypes.data)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self.library(f"{self.module.name}_step", feeds, self._pointer())


def _network(cell: str, **options: Any) -> Callable[[Node], Node]:
    return lambda s: models.RNN(7, cell=cell, return_sequences=True, **options)(s)


def _custom(s: Node) -> Node:
    """A cell of the user's, from a state that is not zero, in a loop over the leading axis."""
    start = ops.ones((s.shape[0], 3), s.dtype) * sf.param("first", (3,), dtype=s.dtype)
    w = sf.param("w", (8, 3), dtype=s.dtype)

    def step(carry: tuple[Node, Node], x: Node) -> tuple[tuple[Node, Node], Node]:
        h, total = carry
        new = ops.tanh(ops.concatenate([h, x], -1) @ w)
        return (new, total + new.sum()), new * total

    _, ys = sf.scan(step, (start, sf.const(0.5, s.dtype)), ops.swapaxes(s, 0, 1))
    return ops.swapaxes(ys, 0, 1)


NETS: Mapping[str, Callable[[Node], Node]] = {
    **{cell: _network(cell) for cell in ("tanh", "relu", "gru")},
    "lstm": lambda s: ops.softmax(models.FNN([7, 2])(_network("lstm", layers=2)(s))),
    "custom": _custom,
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("name", NETS)
def test_steps_are_the_sequence(name: str, tmp_path: Path) -> None:
    dtype = "float64" if name in ("gru", "custom") else "float32"
    s = sf.input("s", ("batch", "time", 5), dtype)
    y = NETS[name](s)
    session = sf.Session(outputs={"y": y}, seed=2)
    data = np.random.default_rng(0).normal(size=(2, STEPS, 5)).astype(dtype)
    expected = y.eval(s=data, **session.params)
    stream = Stream(module_of(session, name, "y", {"batch": 2}, stream="time"), tmp_path)
    for _ in range(2):  # the second time from the beginning again
        found = [stream({"s": data[:, t : t + 1]})["y"] for t in range(STEPS)]
        np.testing.assert_allclose(np.concatenate(found, 1), expected, 1e-5, 1e-6)
        stream.reset()


@needs_compiler
def test_a_state_is_carried_along(tmp_path: Path) -> None:
    x = sf.input("x", (1, 3))
    h = sf.state("h", (1, 4), "ones")
    cell = models.RNN(4, "gru")
    y, last = cell(ops.expand_dims(x, 1), initial_state=h, return_state=True)
    sf.update(h, last)
    session = sf.Session(outputs={"y": y * 2.0})
    stream = Stream(module_of(session, "net", carry=["h"]), tmp_path)
    now = session.states["h"].copy()
    for row in np.random.default_rng(0).normal(size=(STEPS, 1, 3)).astype("f4"):
        now = last.eval(x=row, h=now, **session.params)
        np.testing.assert_allclose(stream({"x": row})["y"], now * 2.0, 1e-5, 1e-6)


def test_what_needs_more_than_a_sample_is_refused() -> None:
    s = sf.input("s", ("batch", "time", 5))
    n = sf.input("n", ("batch",), "int64")
    both = models.RNN(3, bidirectional=True, return_sequences=True)
    for y, why in (
        (s.mean(1), "step by step over 'time'"),
        (s[:, 1:] - s[:, :-1], "it needs several of them"),
        (s[:, ::-1], "it needs several of them"),
        (ops.swapaxes(s, 1, 2) @ s, "it needs several of them"),
        (both(s), "it runs backwards"),
        (models.RNN(3, return_sequences=True)(s, lengths=n), "it counts the steps"),
        (ops.cumsum(s, 1), "it needs several of them"),
        (models.RNN(3)(s, initial_state=s[:, 0, :3]), "needs several|depends on the input"),
    ):
        with pytest.raises(GraphError, match=why) as raised:
            module_of(sf.Session(outputs={"y": y}), "net", stream="time")
        assert "test_c_stream.py" in str(raised.value)
    session = sf.Session(outputs={"y": s * 2.0})
    for options, why in (
        ({"carry": ["h"]}, "no output reads a state 'h'"),
        ({"stream": "times"}, "there is no dimension 'times'"),
        ({"stream": "time", "sizes": {"time": 4}}, "a step has one element"),
    ):
        with pytest.raises(GraphError, match=why):
            module_of(session, "net", **options)  # type: ignore[arg-type]
