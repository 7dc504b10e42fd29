"""What a user declares: values that are fed, values that are trained or carried along.

    x = sf.input("x", ("batch", 784))
    w = sf.param("w", (784, 10))
    count = sf.state("count", ())
    sf.update(count, count + 1)

Each is a leaf of the graph, declared at the user's line.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticflow.errors import GraphError, ShapeError, fail
from staticflow.graph.dims import LONGEST_NAME, Dim
from staticflow.graph.leaves import METADATA, Input, Param, State, as_node
from staticflow.graph.node import Node, apply
from staticflow.graph.require import as_float
from staticflow.graph.state_updates import add_update
from staticflow.graph.types import Shape, TensorType, as_dtype, as_shape
from staticflow.init import resolve


def input(name: str, shape: Any, dtype: Any = "float32") -> Node:
    """Declare a value that is fed at each call.

    `shape` is a tuple of ints and names; a name is a size known when data arrives, and equal names
    mean equal sizes. Raises ShapeError or DTypeError for what is neither.
    """
    type_ = TensorType(as_shape(shape), as_dtype(dtype))
    derived = [n for n in type_.shape if isinstance(n, Dim) and n.name is None]
    if derived:
        fail(
            ShapeError,
            f"input {name!r}: a size must be an int or a name",
            got=str(derived[0]),
            do="give the dimension a name of its own",
        )
    return apply(Input(_leaf_name(name, "input"), type_))


def param(
    name: str,
    shape: Any,
    init: Any = "glorot_uniform",
    dtype: Any = "float32",
    trainable: bool = True,
    lr_scale: float = 1.0,
    decay: bool = True,
) -> Node:
    """Declare a parameter: a value that the session owns, initialises and trains.

    `init` is the name of an initializer, an array of that shape, or `f(rng, shape) -> array`.
    `lr_scale` multiplies the learning rate; `decay=False` exempts it from weight decay.
    """
    type_ = TensorType(as_shape(shape), as_dtype(dtype))
    _fixed(type_.shape, name, "param")
    _check_init(init, type_, name)
    scale = as_float(lr_scale)
    if scale is None or not 0 <= scale < math.inf:
        fail(GraphError, f"{name!r}: lr_scale is a number from 0 on", got=repr(lr_scale)[:80])
    moves = bool(trainable) and type_.is_float
    op = Param(_leaf_name(name, "param"), type_, init, moves, scale, bool(decay))
    return apply(op)


def freeze(node: Node) -> None:
    """Let the sessions that are made from now on leave a parameter as it is."""
    object.__setattr__(node.op, "trainable", False)


def state(name: str, shape: Any, init: Any = "zeros", dtype: Any = "float32") -> Node:
    """Declare a value that training steps carry along, such as a running average."""
    type_ = TensorType(as_shape(shape), as_dtype(dtype))
    _fixed(type_.shape, name, "state")
    _check_init(init, type_, name)
    return apply(State(_leaf_name(name, "state"), type_, init, []))


def update(target: Node, value: Any) -> Node:
    """Declare that a training step sets the state `target` to `value`; returns `value`.

    The state belongs to a session that reads it in its loss, metrics or outputs, and to one whose
    loss and metrics need all inputs and parameters that `value` is computed from.
    """
    if not isinstance(target, Node) or not isinstance(target.op, State):
        fail(GraphError, "update: the target is not a state", str(target), "declare it by sf.state")
    node = as_node(value, target.dtype)
    if node.type != target.type:
        fail(
            ShapeError,
            f"update: the value's type differs from that of state {target.name!r}",
            got=f"{node.type} for {target.type}",
            do="give the value the state's shape and dtype",
        )
    add_update(target, node)
    return node


def _leaf_name(name: Any, what: str) -> str:
    if not isinstance(name, str) or not name:
        fail(GraphError, f"{what}: a name is a non-empty string", got=repr(name)[:80])
    whole = not any("\ud800" <= c <= "\udfff" for c in name)  # halves of characters
    if len(name) > LONGEST_NAME or not whole or name == METADATA:
        fail(
            GraphError,
            f"{what}: this name cannot be that of a tensor in a file",
            got=f"{name[:40]!r} of {len(name)} characters",
            do=f"choose one of at most {LONGEST_NAME} characters",
        )
    return name


def _fixed(shape: Shape, name: str, what: str) -> None:
    named = [n for n in shape if not isinstance(n, int)]
    if named:
        fail(
            ShapeError,
            f"{what} {name!r}: sizes must be integers",
            got=str(named[0]),
            do="use sf.input for values whose size comes with the data",
        )


def _check_init(init: Any, type_: TensorType, name: str) -> None:
    if isinstance(init, str) or callable(init) or np.isscalar(init):
        resolve(init, name)
        return
    shape = np.shape(init)
    if shape != type_.shape:
        fail(
            ShapeError,
            f"{name!r}: the initial value's shape differs from the declared one",
            got=f"{shape} for {type_.shape}",
        )
