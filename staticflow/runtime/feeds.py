"""Check what users feed, and bring it to the layout that compiled code reads.

Any array-like is accepted. Floats convert to the input's float dtype, integers after a range check,
booleans to anything; a float for an integer input and complex numbers are refused. The result is
contiguous and of the input's dtype: the fed array itself where it is that already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from staticflow.errors import DTypeError, GraphError, ShapeError, fail
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.leaves import Input
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.graph.types import FLOATS
from staticflow.native.memory import Array


def input_nodes(outputs: Sequence[Node]) -> dict[str, Node]:
    """The inputs that outputs reach, by name; two with one name are refused."""
    found: dict[str, Node] = {}
    for node in leaves(outputs, Input):
        other = found.setdefault(node.name, node)
        if other is not node:
            fail(
                GraphError,
                f"two inputs are called {node.name!r}",
                got=f"declared at {other.where} and at {node.where}",
                do="give them different names, or use one input twice",
            )
    return found


def checked_feeds(inputs: Iterable[str], feeds: Any) -> Mapping[Any, Any]:
    """Feeds that are a mapping."""
    if not isinstance(feeds, Mapping):
        wanted = ", ".join(f"{name!r}: ..." for name in inputs)
        fail(
            GraphError,
            "what is fed is a dict from input name to array",
            got=_described(feeds),
            do=f"pass {{{wanted}}}",
        )
    return feeds


def _described(value: Any) -> str:
    """A value in short: an array's type, or what the value looks like."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"{type(value).__name__} {value!r}"[:80]


def match_feeds(
    inputs: Mapping[str, Node], feeds: Mapping[Any, Any], others: Mapping[str, Node] | None = None
) -> dict[str, Any]:
    """Feeds by input name; keys may be names or nodes. Refuses unknown and missing ones, and passes
    over `others`: inputs that are known, but not needed.
    """
    named: dict[str, Any] = {}
    for key, value in checked_feeds(inputs, feeds).items():
        name = key.name if isinstance(key, Node) else key
        if others and name not in inputs and name in others and key in (name, others[name]):
            continue
        if name not in inputs or (isinstance(key, Node) and inputs[name] is not key):
            fail(
                GraphError,
                f"there is no input {name!r}",
                got=f"feeds for {', '.join(map(repr, feeds))}",
                do=f"the inputs are {', '.join(map(repr, inputs)) or 'none'}",
            )
        named[name] = value
    missing = [name for name in inputs if name not in named]
    if missing:
        node = inputs[missing[0]]
        fail(
            GraphError,
            f"no value for input {missing[0]!r}",
            got=f"feeds for {', '.join(map(repr, named)) or 'nothing'}",
            do=f"feed an array of type {node.type}",
        )
    return named


def as_array(node: Node, value: Any) -> Array:
    """The value as a contiguous array of the node's dtype and rank."""
    array = _numeric(node, value)
    if array.ndim != node.ndim:
        _refuse_shape(node, array.shape)
    if array.dtype != node.dtype:
        array = _convert(node, array)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _numeric(node: Node, value: Any) -> Array:
    array = value if isinstance(value, np.ndarray) else _made(node, value)
    if array.dtype.kind == "O":
        array = np.asarray(array.tolist())  # a table of mixed columns is one of objects
    if np.ma.is_masked(array):
        fail(
            GraphError,
            f"input {node.name!r}: values are masked",
            got=f"{np.ma.getmaskarray(array).sum()} of {array.size}",
            do="fill them with .filled(value), or feed the mask as an input of its own",
        )
    if array.dtype.kind not in "fiub":
        fail(
            DTypeError,
            f"input {node.name!r} takes {node.dtype}",
            got=f"dtype {array.dtype}",
            do="convert it to numbers",
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _made(node: Node, value: Any) -> Array:
    """An array of what is none yet."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        fail(ShapeError, f"input {node.name!r}: not an array: {error}")
    # NumPy takes an empty list for floats
    return array.astype(node.dtype) if isinstance(value, list | tuple) and not array.size else array


def _convert(node: Node, array: Array) -> Array:
    kind = array.dtype.kind
    if node.dtype in FLOATS or kind == "b":
        with np.errstate(all="ignore"):  # beyond float32 is infinity, whatever NumPy is set to do
            return array.astype(node.dtype)
    if kind == "f" or node.dtype == "bool":
        fail(
            DTypeError,
            f"input {node.name!r} takes {node.dtype}",
            got=f"dtype {array.dtype}",
            do=f"convert it with .astype({node.dtype!r}) if that loses nothing",
        )
    bounds = np.iinfo(node.dtype)
    if array.size and (array.min() < bounds.min or array.max() > bounds.max):
        fail(
            DTypeError,
            f"input {node.name!r}: a value does not fit {node.dtype}",
            got=f"values from {array.min()} to {array.max()}",
        )
    return array.astype(node.dtype)


def bind_sizes(inputs: Mapping[str, Node], arrays: Mapping[str, Array]) -> dict[str, int]:
    """The values of the named dimensions; refuses shapes that contradict each other."""
    env: dict[str, int] = {}
    given: dict[str, str] = {}
    for name, array in arrays.items():
        node = inputs[name]
        if array.ndim != node.ndim:
            _refuse_shape(node, array.shape)
        for axis, (dim, size) in enumerate(zip(node.shape, array.shape, strict=True)):
            if isinstance(dim, int):
                if dim != size:
                    _refuse_shape(node, array.shape)
                continue
            known = env.setdefault(str(dim.name), size)
            first = given.setdefault(str(dim.name), name)
            if known != size:
                fail(
                    ShapeError,
                    f"dimension {dim} has two sizes",
                    got=f"{known} in input {first!r}, {size} in input {name!r} (axis {axis})",
                    do="feed arrays that agree, or give the dimensions different names",
                )
    return env


def measured(names: Set[str], inputs: Iterable[Node], others: Mapping[str, Node]) -> list[Node]:
    """Those of the other inputs that give the sizes of names that `inputs` do not give."""
    missing, found = names - _plain_names(inputs), []
    for node in others.values():
        if missing & _plain_names([node]):
            missing -= _plain_names([node])
            found.append(node)
    return found


def _plain_names(inputs: Iterable[Node]) -> set[str]:
    return {str(dim) for node in inputs for dim in node.shape if _is_name(dim)}


def _refuse_shape(node: Node, shape: tuple[int, ...]) -> None:
    expected = "(" + ", ".join(map(str, node.shape)) + ("," if node.ndim == 1 else "") + ")"
    fail(
        ShapeError,
        f"input {node.name!r} expects shape {expected}",
        got=f"shape {shape}",
        do="reshape or transpose the array",
    )


def leading_dimension(inputs: Mapping[str, Node], batch_axis: str | None) -> str:
    """The named dimension that leads the inputs; the one to slice data along."""
    names = leading_names(inputs)
    if batch_axis is not None:
        if batch_axis not in names:
            fail(
                GraphError,
                f"no input has {batch_axis!r} as its leading dimension",
                got=f"leading dimensions {', '.join(names) or 'none'}",
            )
        return batch_axis
    if len(names) != 1:
        fail(
            GraphError,
            "cannot tell which dimension to slice the data along",
            got=f"leading dimensions {', '.join(names) or 'none'}",
            do="declare the inputs with a name such as 'batch' first, or pass batch_axis=",
        )
    return next(iter(names))


def row_dimension(inputs: Mapping[str, Node], batch_axis: str | None) -> str:
    """The same; "" where no input leads with a name, so that a batch is taken as it comes."""
    if batch_axis is None and not leading_names(inputs):
        return ""
    return leading_dimension(inputs, batch_axis)


def leading_names(inputs: Mapping[str, Node]) -> dict[str, None]:
    return dict.fromkeys(
        str(node.shape[0]) for node in inputs.values() if node.shape and _is_name(node.shape[0])
    )


def _is_name(dim: AnyDim) -> bool:
    return isinstance(dim, Dim) and dim.name is not None
