"""What NumPy's functions make of a node: nothing, and they say which op does it here.

    array + node               is the node's own operator
    np.exp(node)               DTypeError: ... do: ops.exp(node)
    np.asarray(node)           DTypeError: ... do: node.eval(x=array, ...)

Without this, NumPy would take a node for a scalar, or for a sequence of its rows, and return arrays
of Python objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from staticflow.errors import DTypeError, fail
from staticflow.graph.operators import FUNCTIONS, OPERATORS

# NumPy's functions behind Python's operators, which NumPy calls where an array stands at the left
_SYMBOLS: Mapping[str, str] = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "power": "pow",
    "floor_divide": "floordiv", "remainder": "mod", "matmul": "matmul", "bitwise_and": "and",
    "bitwise_or": "or", "bitwise_xor": "xor", "left_shift": "lshift", "right_shift": "rshift",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge",
}  # fmt: skip
# Names that ops have of their own for what NumPy calls otherwise
_OTHERWISE: Mapping[str, str] = {
    "absolute": "abs", "amax": "max", "amin": "min", "around": "round", "fix": "trunc",
    "remainder": "mod", "true_divide": "divide", "permute_dims": "transpose", "array": "stack",
    "concat": "concatenate",
}  # fmt: skip
_ATTRIBUTES = ("shape", "ndim", "size")  # that NumPy's functions of these names ask for


def ufunc(
    node: Any, called: Any, method: str, inputs: Sequence[Any], options: Mapping[str, Any]
) -> Any:
    """The answer of a node to NumPy's elementwise functions."""
    name = called.__name__
    if method == "__call__" and not options:
        if name in _SYMBOLS:
            return OPERATORS[_SYMBOLS[name]](*inputs)
        if name in ("equal", "not_equal"):  # array == node, which a node refuses in its own words
            for x in inputs:
                node.__eq__(x)
    if "out" in options:
        fail(
            DTypeError,
            f"np.{name} cannot write a node into an array: it has no numbers yet",
            do="write y = array + node, say, which makes a node",
        )
    _refuse(name if method == "__call__" else f"{name}.{method}", name)


def function(called: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """The answer to all other functions of NumPy's that have a node among their arguments."""
    name = called.__name__
    if name in _ATTRIBUTES and len(arguments) == 1:
        return getattr(arguments[0], name)
    path = f"{called.__module__}.{name}".replace("numpy.", "", 1)
    _refuse(path.removeprefix("numpy."), name)


def _refuse(path: str, name: str) -> NoReturn:
    own = _OTHERWISE.get(name, name)
    known = own in FUNCTIONS
    fail(
        DTypeError,
        f"np.{path} computes with numbers, and a node has none yet",
        do=f"write ops.{own}, which makes a node" if known else
        "look for it in `staticflow ops`, or compute it of node.eval(x=array, ...)",
    )  # fmt: skip


def no_numbers(what: str, node: object, do: str) -> NoReturn:
    """Refuse to make numbers of a node."""
    fail(DTypeError, f"{what}: a node has no numbers while the graph is declared", str(node), do)
