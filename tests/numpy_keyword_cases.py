"""NumPy's keywords and the methods of arrays: one expression each, evaluated by ops and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from staticflow import ops
from tests.op_case import Array, Case, f

A, C = f(3, 4), f(2, 3, 4)
NAN, INF = float("nan"), float("inf")
MASK = A > -1.2
HOLES = np.where(MASK, A, NAN)
WHOLE = np.arange(12, dtype=np.int32).reshape(3, 4) - 5


def both(
    op: str,
    function: Callable[..., Any],
    *inputs: Array,
    label: object = "",
    smooth: bool = True,
) -> Case:
    """The same function of a library and of arrays, for either library."""
    return Case(op, partial(function, ops), partial(function, np), inputs, smooth, str(label))


def method(name: str, *arguments: Any, x: Array = A, **options: Any) -> Case:
    """A method of an array and of a node."""
    return Case(
        name,
        lambda node: getattr(node, name)(*arguments, **options),
        lambda array: getattr(array, name)(*arguments, **options),
        (x,),
        label=f"method {arguments} {options}",
    )


METHODS = (
    *(method(name, 0) for name in ("sum", "prod", "mean", "std", "var", "max", "min", "argmax",
                                   "argmin", "any", "all", "cumsum", "cumprod", "argsort")),
    *(method(name) for name in ("sum", "std", "any", "argmax", "cumsum", "ravel", "squeeze",
                                "trace", "diagonal", "round", "argsort")),
    method("squeeze", 1, x=f(3, 1, 2)), method("swapaxes", 0, 2, x=C), method("clip", -0.5, 0.5),
    method("clip", max=0.5), method("repeat", 2, axis=1), method("take", [2, 0], axis=1),
    method("round", 1), method("diagonal", 1), method("trace", 1),
    Case("ravel", lambda x: x.flatten(), lambda x: x.flatten(), (C,), label="flatten"),
    both("dot", lambda m, x, y: x.dot(y), A, f(4, 2), label="method"),
)  # fmt: skip

REDUCTIONS = (
    *(both(op, lambda m, x, op=op, axis=axis: getattr(m, op)(x, axis, where=MASK, keepdims=True),
           A, label=f"where {axis}")
      for op in ("sum", "prod", "mean", "std", "var", "any", "all") for axis in (None, 0, 1)),
    *(both(op, lambda m, x, op=op: getattr(m, op)(x, 0, where=MASK), HOLES, label="holes")
      for op in ("sum", "prod", "mean", "std", "var")),
    *(both(op, lambda m, x, op=op: getattr(m, op)(x, axis=1, where=[[True], [False], [True]],
                                                  initial=0.25), A, label="initial")
      for op in ("sum", "prod", "max", "min")),
    *(both(op, lambda m, x, op=op, axis=axis: getattr(m, op)(x, axis, initial=2.0), f(0, 3),
           label=f"initial of nothing {axis}")
      for op in ("sum", "prod", "max", "min") for axis in (None, 0)),
    *(both(op, lambda m, x, op=op: getattr(m, op)(x, axis=0, initial=True, where=MASK), MASK,
           label="booleans") for op in ("max", "min")),
    *(both(op, lambda m, x, op=op, t=t: getattr(m, op)(x, axis=0, dtype=t), x,
           label=f"{x.dtype} to {t}")
      for op in ("sum", "prod") for x in (A, WHOLE, MASK)
      for t in ("int32", "int64", "float64", "bool")),
    *(both(op, lambda m, x, op=op: getattr(m, op)(x, axis=0, dtype="float64"), WHOLE,
           label="integers in doubles") for op in ("mean", "std", "var")),
    *(both(op, lambda m, x, op=op, k=k: getattr(m, op)(x, axis=1, correction=k), A,
           label=f"correction {k}") for op in ("std", "var") for k in (0, 1, 1.5)),
    *(both(op, lambda m, x, op=op: getattr(m, op)(x, 0, ddof=1, where=MASK), A, label="ddof where")
      for op in ("std", "var")),
)  # fmt: skip

KEYWORD_CASES = (*METHODS, *REDUCTIONS)
