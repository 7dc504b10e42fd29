"""Whether a part of a graph has the form of another, with holes in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from staticflow.graph.kinds import Reduce
from staticflow.graph.leaves import Const, Input
from staticflow.graph.node import Node, apply
from staticflow.graph.types import TensorType
from staticflow.ops import log_softmax, mean, softmax
from staticflow.ops.views import Broadcast
from staticflow.session.interchange.onnx_out.builder import Tensor
from staticflow.session.interchange.onnx_out.elementwise import MAPS

COMMUTATIVE = ("add", "multiply")


def hole(name: str, type_: TensorType) -> Node:
    """What a pattern leaves open: a node of that type."""
    return apply(Input(name, type_))


def match(pattern: Node, node: Node, bound: dict[Node, Node]) -> bool:
    """Whether a node is what a pattern says; `bound` is what its holes, its inputs, stand for."""
    if pattern in bound:
        return bound[pattern] is node
    if pattern.type != node.type:
        return False
    if isinstance(pattern.op, Input):
        bound[pattern] = node
        return True
    if isinstance(pattern.op, Const):
        same = isinstance(node.op, Const) and np.array_equal(pattern.op.value, node.op.value)
        return bool(same)
    if pattern.op != node.op or len(pattern.inputs) != len(node.inputs):
        return False
    orders = [node.inputs]
    if pattern.op.name in COMMUTATIVE:
        orders.append(node.inputs[::-1])
    for order in orders:
        trial = dict(bound)
        if all(match(p, x, trial) for p, x in zip(pattern.inputs, order, strict=True)):
            bound.update(trial)
            return True
    return False


def _summed(node: Node) -> tuple[Node, int] | None:
    """What is summed along one axis for a quotient or a difference, and the axis."""
    found = node.inputs[1]
    if isinstance(found.op, Broadcast):
        found = found.inputs[0]
    if found.op.name == "log":
        found = found.inputs[0]
    op = found.op
    if not isinstance(op, Reduce) or op.row.name != "sum" or len(op.axes) != 1:
        return None
    return found.inputs[0], op.axes[0]


def _normalised(kind: str, function: Callable[..., Node]) -> Callable[..., Tensor | None]:
    def write(node: Node, value: Callable[[Node], Tensor]) -> Tensor | None:
        found = _summed(node)
        if found is None:
            return None
        powers, axis = found
        x, bound = hole("x", powers.type), dict[Node, Node]()
        if not match(function(x, axis), node, bound):
            return None
        return value(bound[x]).op(kind, axis=axis)

    return write


def _mean(node: Node, value: Callable[[Node], Tensor]) -> Tensor | None:
    """Over sizes that are known: runtimes differ in what the mean of nothing is."""
    total = node.inputs[0]
    if not isinstance(total.op, Reduce) or total.op.row.name != "sum":
        return None
    sizes = [total.inputs[0].shape[k] for k in total.op.axes]
    if not all(isinstance(n, int) and n > 0 for n in sizes):
        return None
    x, bound = hole("x", total.inputs[0].type), dict[Node, Node]()
    if not match(mean(x, total.op.axes), node, bound):
        return None
    given = value(bound[x])
    return given.builder.reduce("ReduceMean", given, total.op.axes)


def _log_sigmoid(node: Node, value: Callable[[Node], Tensor]) -> Tensor | None:
    """Runtimes have 0 for small sigmoids, and -inf for their logarithm."""
    (inner,) = node.inputs
    return -MAPS["softplus"](-value(inner.inputs[0])) if inner.op.name == "sigmoid" else None


# What an op may be the end of, by its row's name: each gives the value, or None.
PATTERNS: Mapping[str, tuple[Callable[..., Tensor | None], ...]] = {
    "divide": (_normalised("Softmax", softmax), _mean),
    "subtract": (_normalised("LogSoftmax", log_softmax),),
    "log": (_log_sigmoid,),
}
