"""Compute a graph with NumPy, node by node: the oracle for the compiled code.

    interpret([loss], {x: np.ones((3, 8)), w: ...})  ->  [array(0.5)]

Named dimensions take their sizes from the arrays of `env`. Nothing here is fast, or fused, or
shared with the compiler: an op's reference sees its inputs as arrays and its sizes as integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import Dim, evaluate
from staticflow.graph.leaves import Const, Hyper, Leaf
from staticflow.graph.loop_op import Loop
from staticflow.graph.node import Array, Node, Op
from staticflow.graph.traversal import toposort
from staticflow.graph.types import TensorType
from staticflow.ops.random import Random, number_streams, with_stream


def interpret(
    outputs: Sequence[Node],
    env: Mapping[Node, Any],
    training: bool = True,
    seed: int = 0,
    step: int = 0,
) -> list[Any]:
    """The values of `outputs`, given arrays for the leaves that they reach."""
    sizes = bind_sizes(env)
    streams = number_streams(toposort(outputs))
    hyper = {"seed": seed, "step": step}
    return compute(outputs, env, sizes, streams, hyper, training)


def compute(
    outputs: Sequence[Node],
    env: Mapping[Node, Any],
    sizes: Mapping[str, int],
    streams: Mapping[Node, int],
    hyper: Mapping[str, int],
    training: bool,
    watch: Callable[[Node, Any, Sequence[Any]], None] = lambda node, value, operands: None,
) -> list[Any]:
    """The values of `outputs`; `watch` is shown each node's value and its operands' in turn."""

    def evaluate_body(body: Sequence[Node], body_inputs: Mapping[Node, Any]) -> list[Any]:
        return compute(body, body_inputs, sizes, streams, hyper, training, watch)

    values: dict[Node, Any] = {}
    for node in toposort(outputs):
        if isinstance(node.op, Leaf):
            values[node] = _leaf(node, env, hyper)
        elif (chosen := node.op.select(training)) is not None:
            values[node] = values[node.inputs[chosen]]
        else:
            op = at_sizes(node.op, sizes)
            if isinstance(op, Random):
                op = with_stream(op, streams[node])
            operands = [values[x] for x in node.inputs]
            with np.errstate(all="ignore"):
                if isinstance(op, Loop):
                    result = op.unroll(evaluate_body, *operands)
                else:
                    result = op.reference(*operands)
            values[node] = _typed(result, node, sizes)
            watch(node, values[node], operands)
    return [values[node] for node in outputs]


def bind_sizes(env: Mapping[Node, Any]) -> dict[str, int]:
    """The sizes of named dimensions, from the arrays given for leaves."""
    sizes: dict[str, int] = {}
    for node, value in env.items():
        shape = np.shape(value)
        fits = len(shape) == node.ndim
        for dim, n in zip(node.shape, shape, strict=False):
            name = dim.name if isinstance(dim, Dim) else None
            fits = fits and (dim == n if name is None else sizes.setdefault(name, n) == n)
        if not fits:
            fail(ShapeError, f"the array for {node.name!r} does not have its shape",
                 f"{shape} for {node.type}")  # fmt: skip
    return sizes


def at_sizes(op: Op, sizes: Mapping[str, int]) -> Op:
    """The op with every size that it mentions as an integer."""
    value: Any = op
    old = {f.name: getattr(op, f.name) for f in fields(value)}
    new = {name: _evaluated(field, sizes) for name, field in old.items()}
    return op if new == old else replace(value, **new)


def _evaluated(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_evaluated(v, sizes) for v in value)
    return evaluate(value, sizes) if isinstance(value, Dim) else value


def _leaf(node: Node, env: Mapping[Node, Any], hyper: Mapping[str, int]) -> Array:
    if node in env:
        return np.asarray(env[node], node.dtype)
    if isinstance(node.op, Const):
        return node.op.value
    if isinstance(node.op, Hyper) and node.op.label in hyper:
        return np.asarray(hyper[node.op.label], node.dtype)
    fail(GraphError, f"no value is given for {node.name!r}", where=node.where)


def _typed(value: Any, node: Node, sizes: Mapping[str, int]) -> Any:
    """The value as its type says; a reference may widen a dtype, but not change a shape."""
    if isinstance(node.type, tuple):
        return tuple(_checked(v, t, node, sizes) for v, t in zip(value, node.type, strict=True))
    return _checked(value, node.type, node, sizes)


def _checked(value: Any, type_: TensorType, node: Node, sizes: Mapping[str, int]) -> Array:
    array = np.asarray(value, type_.dtype)
    expected = tuple(evaluate(n, sizes) for n in type_.shape)
    assert array.shape == expected, f"{node} at {node.where} has shape {array.shape}"
    return array
