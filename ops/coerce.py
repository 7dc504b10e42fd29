"""Bring operands together: values become nodes, dtypes promote, shapes broadcast.

    add(x: float32[batch, 8], 2)             ->  2 becomes the scalar constant float32 2.0
    add(x: float32[batch, 8], b: int32[8])   ->  b is cast to float32, then repeated along `batch`

A scalar constant stays a scalar: it is part of the generated code. Everything else has the shape of
the result by an explicit view, so that an elementwise op never broadcasts by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticflow.errors import DTypeError, ShapeError, fail, user_line
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.leaves import Const, as_node, is_scalar_const, weak_const
from staticflow.graph.node import Node, apply
from staticflow.graph.traversal import toposort
from staticflow.graph.types import FLOATS, INTEGERS, Shape, broadcast_shapes, promote
from staticflow.ops.cast import cast
from staticflow.ops.counting import SizeOf
from staticflow.ops.views import Squeeze, spread

DEFAULT_FLOAT = "float32"
_SCALARS = (bool, int, float, Dim)


def as_nodes(values: Sequence[Any]) -> list[Node]:
    """Nodes for nodes, arrays, Python scalars and sizes; a scalar or size takes the dtype of its
    partners, and so does what was made of scalars alone. Booleans alone stay booleans.
    """
    nodes = [None if isinstance(v, _SCALARS) else as_node(v) for v in values]
    given = [node for node in nodes if node is not None]
    dtypes = [node.dtype for node in given if node.weak is None] or [node.dtype for node in given]
    alone = "bool" if all(isinstance(v, bool) for v in values) else DEFAULT_FLOAT
    partner = promote(dtypes) if dtypes else alone
    pairs = zip(values, nodes, strict=True)
    return [_scalar(v, partner) if node is None else met(node, partner) for v, node in pairs]


def _scalar(value: Any, dtype: str) -> Node:
    if isinstance(value, Dim):
        return _size(value, "int64" if dtype == "bool" else dtype)
    return as_node(value, dtype)


def _size(dim: AnyDim, dtype: str) -> Node:
    """A run-time size as a number, of `dtype` for the time being."""
    op = SizeOf(dim, dtype)
    return Node(op, (), op.infer(), user_line(), weak=True)


def met(x: Node, dtype: str) -> Node:
    """What was made of Python's numbers alone, computed in the float64 that it meets, or, if they
    are whole and stay so, in the integers, and not rounded before; any other node as it is.
    """
    dtype = "int64" if dtype == "bool" else dtype  # as of a number beside a boolean
    whole = dtype in INTEGERS
    if x.weak is None or x.dtype != DEFAULT_FLOAT or not (whole or dtype == "float64"):
        return x
    order = toposort([x])
    if whole and not all(_is_whole(node) for node in order if node.weak is not None):
        return x
    new: dict[Node, Node] = {}
    for node in order:
        if node.weak is None:  # a condition, and what it is made of
            new[node] = node
        elif node.inputs:
            op = (node.op.over_integers or node.op) if whole else node.op
            new[node] = apply(op, *(new[i] for i in node.inputs), where=node.where)
        elif isinstance(node.op, Const):
            new[node] = weak_const(node.weak, dtype)
        else:
            (dim,) = node.op.sizes()
            new[node] = _size(dim, dtype)
    return new[x]


def _is_whole(node: Node) -> bool:
    """Whether a weak node is an integer, or makes integers of such."""
    if node.inputs:
        return node.op.over_integers is not None
    return isinstance(node.weak, int) or not isinstance(node.op, Const)


def fitted(x: Node, dtype: str) -> Node:
    """A number of Python's as a node of `dtype`, if it is one of that kind; else as `met` does."""
    if x.weak is None or not isinstance(x.op, Const) or x.dtype == dtype:
        return met(x, dtype)
    return x if dtype == "bool" else as_node(x.weak, dtype)


def entry(value: Any) -> Node:
    """What a loop or a branch starts from or returns, as a node; True and False are booleans, as
    long as they meet no numbers.
    """
    return weak_const(value, "bool") if isinstance(value, bool) else as_node(value)


def operands(
    what: str, letters: str, values: Sequence[Any], domain: str = "number"
) -> tuple[Node, ...]:
    """The operands of an elementwise op, with one dtype and one shape (but for scalar constants).

    The letter `c` stands for a condition: it becomes boolean and takes no part in promotion.
    """
    if len(values) != len(letters):
        raise TypeError(f"{what} takes {len(letters)} operands, got {len(values)}")
    is_condition = [letter == "c" for letter in letters]
    conditions = [as_node(v) for v, c in zip(values, is_condition, strict=True) if c]
    nodes = as_nodes([v for v, c in zip(values, is_condition, strict=True) if not c])
    dtype = common_dtype(what, nodes, domain)
    numbers = iter([cast(node, dtype) for node in nodes])
    booleans = iter([cast(node, "bool") for node in conditions])
    mixed = [next(booleans) if c else next(numbers) for c in is_condition]
    return broadcast(what, mixed)


def common_dtype(what: str, nodes: Sequence[Node], domain: str) -> str:
    """The dtype in which an op of `domain` (number, float, integer, whole, bool, any) computes; of
    integers and booleans, `whole` has the former only.
    """
    dtype = promote([node.dtype for node in nodes])
    if domain == "bool":
        return "bool"
    if domain == "float":
        return dtype if dtype in FLOATS else DEFAULT_FLOAT
    refused = {"integer": FLOATS, "whole": (*FLOATS, "bool")}.get(domain, ())
    if dtype in refused:
        fail(
            DTypeError,
            f"{what}: takes integers" + (" or booleans" if domain == "integer" else ""),
            got=_list(nodes),
            do="use .astype('int64')",
        )
    if domain == "number" and dtype == "bool":
        fail(
            DTypeError,
            f"{what}: takes numbers, not booleans",
            got=_list(nodes),
            do="use .astype('int32') to count, or ops.logical_and, ops.logical_or",
        )
    return dtype


def broadcast(what: str, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Give all nodes the common shape; scalar constants stay as they are."""
    shape = broadcast_shapes([node.shape for node in nodes], what)
    return tuple(x if is_scalar_const(x) else stretch(x, shape) for x in nodes)


def stretch(x: Node, shape: Shape) -> Node:
    """Repeat `x` to `shape` as broadcasting does: along missing axes and axes of size 1."""
    if x.shape == shape:
        return x
    lead = len(shape) - x.ndim
    narrow = tuple(k for k, n in enumerate(x.shape) if n == 1 and shape[lead + k] != 1)
    if narrow:
        x = apply(Squeeze(narrow), x)
    kept = tuple(lead + k for k in range(len(shape) - lead) if k not in narrow)
    return spread(x, shape, kept)


def broadcast_to_shape(x: Node, shape: Shape, what: str) -> Node:
    """`x` repeated to exactly `shape`, scalar constants too."""
    if broadcast_shapes([x.shape, shape], what) != shape:
        fail(ShapeError, f"{what}: the shape is too small", f"{x.type} for shape {shape}")
    return stretch(x, shape)


def floating(what: str, x: Any) -> Node:
    """`x` as a node of a float dtype."""
    node = as_nodes([x])[0]
    return node if node.dtype in FLOATS else cast(node, DEFAULT_FLOAT)


def integral(what: str, x: Any) -> Node:
    """`x` as a node of an integer dtype, as indices and labels must be."""
    node = met(as_node(x, "int64"), "int64")
    if node.dtype not in INTEGERS:
        fail(DTypeError, f"{what}: must be integers", str(node), "use .astype('int64')")
    return node


def _list(nodes: Sequence[Node]) -> str:
    return ", ".join(str(node.type) for node in nodes)
