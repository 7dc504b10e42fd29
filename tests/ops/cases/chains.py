"""Chains of ops on square matrices, to be differentiated and simplified."""

from __future__ import annotations

from collections.abc import Sequence

from staticflow import Node, ops

UNARY = ("tanh", "sin", "sigmoid", "softplus", "square", "exp", "arctan", "cumulative", "reverse",
         "transpose", "softmax", "centre")  # fmt: skip
BINARY = ("add", "multiply", "subtract", "logaddexp", "matmul", "concatenate", "ratio")


def compose(choices: Sequence[int], x: Node, w: Node) -> Node:
    """A chain of ops on square matrices, chosen by numbers."""
    values = [x, w]
    for number in choices:
        a, b = values[number % len(values)], values[(number // 7) % len(values)]
        kinds = (*UNARY, *BINARY)
        name = kinds[(number // 49) % len(kinds)]
        values.append(_step(name, a, b))
    return ops.tanh(values[-1]) + 0.0 * ops.sum(ops.tanh(values[len(values) // 2]))


def _step(name: str, a: Node, b: Node) -> Node:
    if name == "cumulative":
        return ops.tril(ops.ones((3, 3), "float64")) @ a
    if name == "reverse":
        return a[::-1]
    if name == "centre":
        return a - ops.mean(a, 0)
    if name == "concatenate":
        return ops.concatenate([a[:1], b[1:]], 0)
    if name == "ratio":
        return a / (1.0 + b * b)
    if name in ("exp", "square"):
        a = ops.sin(a)
    result: Node = getattr(ops, name)(*((a, b) if name in BINARY else (a,)))
    return result * 0.5 if name == "matmul" else result
