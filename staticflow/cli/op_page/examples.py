"""An example of a call of every op whose type is not a rule of the table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from staticflow.graph.declare import input
from staticflow.graph.node import Node
from staticflow.graph.op_table import Declaration


def example(op: Declaration) -> tuple[Sequence[Node], Sequence[Node]]:
    """Operands and results of an example of a call."""
    make = EXAMPLES.get(op.name)
    if make is None:
        parameters = inspect.signature(op.function).parameters.values()
        required = [p.name for p in parameters if p.default is inspect.Parameter.empty]
        arguments: Sequence[Any] = [ARGUMENTS[name]() for name in required]
        result = op.function(*arguments)
    else:
        arguments, result = make(op.function)
    results = list(result) if isinstance(result, tuple | list) else [result]
    return [x for x in arguments if isinstance(x, Node)], results


def _real(name: str, *shape: Any) -> Node:
    return input(name, shape)


def _indices(name: str = "indices") -> Node:
    return input(name, ("n",), "int64")


def _called(*arguments: Any) -> Callable[[Callable[..., Any]], tuple[Sequence[Any], Any]]:
    """The example that calls an op with these arguments; nodes are made at import, once."""
    return lambda function: (arguments, function(*arguments))


def _joined(function: Callable[..., Any]) -> tuple[Sequence[Any], Any]:
    parts = [_real("x", "n", 3), _real("y", "n", 3)]
    return parts, function(parts)


def _einsum(function: Callable[..., Any]) -> tuple[Sequence[Any], Any]:
    a, b = _real("a", "n", 4), _real("b", 4, 3)
    return (a, b), function("ij,jk->ik", a, b)


# What an example passes for a required parameter of a name
ARGUMENTS: Mapping[str, Callable[[], Any]] = {
    "x": lambda: _real("x", "n", 3), "y": lambda: _real("y", "n", 3),
    "a": lambda: _real("a", 3, 3), "b": lambda: _real("b", 3, 2), "v": lambda: _real("v", 2),
    "t": lambda: _real("t", "n", 3), "table": lambda: _real("table", 5, 3),
    "logits": lambda: _real("x", "n", 3), "labels": lambda: _indices("labels"),
    "indices": _indices, "training": lambda: _real("training", 3), "stop": lambda: 1.0,
    "inference": lambda: _real("inference", 3), "shape": lambda: ("n", 3), "axis": lambda: 0,
    "axis1": lambda: 0, "axis2": lambda: 1, "source": lambda: 0, "destination": lambda: 1,
    "depth": lambda: 4, "rate": lambda: 0.5, "k": lambda: 2, "shift": lambda: 1,
    "repeats": lambda: 2, "reps": lambda: 2, "n": lambda: 4, "start": lambda: 6,
    "fill_value": lambda: 0.5, "dtype": lambda: "float64", "index": lambda: 0,
    "pad_width": lambda: 1, "indices_or_sections": lambda: 3,
}  # fmt: skip
EXAMPLES: Mapping[str, Callable[[Callable[..., Any]], tuple[Sequence[Any], Any]]] = {
    "matmul": _called(_real("a", "n", 4), _real("b", 4, 3)),
    "dot": _called(_real("a", "n", 4), _real("b", 4, 3)),
    "tensordot": _called(_real("a", 2, 3, 4), _real("b", 3, 4, 5)),
    "inner": _called(_real("a", "n", 4), _real("b", 3, 4)),
    "vdot": _called(_real("a", 4), _real("b", 4)),
    "outer": _called(_real("a", "n"), _real("b", 3)),
    "einsum": _einsum,
    "concatenate": _joined,
    "stack": _joined,
    "hstack": _joined,
    "vstack": _joined,
    "dstack": _joined,
    "column_stack": _joined,
    "append": _called(_real("x", "n"), _real("values", 3)),
    "cross": _called(_real("a", "n", 3), _real("b", "n", 3)),
    "trapezoid": _called(_real("y", "n", 4)),
    "median": _called(_real("x", 5, 3), 0),
    "nanmedian": _called(_real("x", 5, 3), 0),
    "quantile": _called(_real("x", 5, 3), 0.25, 0),
    "percentile": _called(_real("x", 5, 3), 25, 0),
    "isclose": _called(_real("a", "n"), _real("b", "n")),
    "allclose": _called(_real("a", "n"), _real("b", "n")),
    "linspace": _called(0.0, 1.0),
    "logspace": _called(0.0, 1.0),
    "geomspace": _called(1.0, 100.0),
    "meshgrid": _called(_real("x", "n"), _real("y", 3)),
    "eye": _called(4),
    "tri": _called(4),
    "nancumsum": _called(_real("x", "n")),
    "nancumprod": _called(_real("x", "n")),
    "atleast_1d": _called(_real("x")),
    "atleast_2d": _called(_real("x", "n")),
    "atleast_3d": _called(_real("x", "n", 3)),
    "convolve": _called(_real("a", 6), _real("v", 3)),
    "correlate": _called(_real("a", 6), _real("v", 3)),
    "searchsorted": _called(_real("a", 5), _real("v", "n")),
    "take": _called(_real("x", 5, 3), _indices(), 0),
    "scatter_add": _called(_real("x", 5, 3), _indices(), _real("values", "n", 3)),
    "take_along_axis": _called(_real("x", "n", 3), input("indices", ("n", 2), "int64")),
    "sigmoid_binary_cross_entropy": _called(_real("x", "n"), _real("t", "n")),
    "squeeze": _called(_real("x", "n", 1)),
    "broadcast_to": _called(_real("x", 3), ("n", 3)),
    "reshape": _called(_real("x", "n", 6), ("n", 2, 3)),
    "split": _called(_real("x", 6, 2), 3),
    "array_split": _called(_real("x", 5, 2), 3),
    "vsplit": _called(_real("x", 6, 2), 3),
    "hsplit": _called(_real("x", 2, 6), 3),
    "dsplit": _called(_real("x", "n", 3, 6), 3),
    "pinv": _called(_real("a", 4, 3)),
    "cumsum": _called(_real("x", "n")),
    "cumprod": _called(_real("x", "n")),
    "repeat": _called(_real("x", 4), 2),
    "diagonal": _called(_real("x", 3, 4)),
    "diag": _called(_real("x", 3, 4)),
    "trace": _called(_real("x", 3, 3)),
    "matrix_power": _called(_real("a", 3, 3), 2),
}
