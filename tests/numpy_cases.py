"""Cases of NumPy's functions that are made of other ops, each of which calls NumPy by its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticflow import ops
from tests.op_case import Array, Case, f

A, B, C = f(3, 4), f(3, 4, seed=1), f(2, 3, 4)
NAN, INF = float("nan"), float("inf")
EDGES = np.array([0.0, -0.0, NAN, INF, -INF, 1.5])
OTHERS = np.array([2.0, -3.0, 1.0, NAN, -INF, NAN])


def named(op: str, *inputs: Array, label: str = "", smooth: bool = True, **options: Any) -> Case:
    """The function of one name in both."""
    return Case(
        op,
        lambda *xs: getattr(ops, op)(*xs, **options),
        lambda *xs: getattr(np, op)(*xs, **options),
        inputs,
        smooth=smooth,
        label=label,
    )


def joined(op: str, *inputs: Array, label: str = "") -> Case:
    """The function of one name of a list of arrays."""
    return Case(
        op,
        lambda *xs: getattr(ops, op)(list(xs)),
        lambda *xs: getattr(np, op)(xs),
        inputs,
        label=label,
    )


FUNCTIONS = (
    named("deg2rad", 50 * A), named("rad2deg", A), named("fabs", A), named("positive", A),
    named("heaviside", A, B), named("heaviside", EDGES, OTHERS, label="edges", smooth=False),
    named("logaddexp2", A, B),
    named("fmax", A, B), named("fmax", EDGES, OTHERS, label="edges", smooth=False),
    named("fmin", A, B), named("fmin", EDGES, OTHERS, label="edges", smooth=False),
    named("fmod", 3 * A, 1.5 + B * B),
    named("fmod", np.array([7.0, -7.0, 7.0, -7.0, 6.5]), np.array([2.0, 2.0, -2.0, -2.0, 2.0]),
          label="signs", smooth=False),
    named("fmod", np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2]), label="integers"),
    named("sinc", A), named("sinc", 0.1 * A, label="near"),
    named("sinc", np.array([0.0, 1.0, 0.25, -0.25, 1e-9]), label="points", smooth=False),
    named("isposinf", EDGES), named("isneginf", EDGES),
    Case("logit", lambda x: ops.logit(x), lambda x: np.log(x / (1 - x)), (0.5 + 0.2 * A,)),
    named("nan_to_num", EDGES, smooth=False),
    named("nan_to_num", EDGES, nan=2.0, posinf=9.0, neginf=-8.0, label="given", smooth=False),
    named("nan_to_num", A, label="numbers"),
)  # fmt: skip

JOINS = (
    *(named(f"atleast_{n}d", x, label=str(x.ndim)) for n in (1, 2, 3)
      for x in (f(), f(3), A, C)),
    *(joined(op, A, B, label="matrices") for op in ("hstack", "vstack", "dstack", "column_stack")),
    *(joined(op, f(3), f(3, seed=1), label="vectors")
      for op in ("hstack", "vstack", "dstack", "column_stack")),
    joined("column_stack", f(3), A, label="both"),
    named("append", A, f(2)), named("append", A, f(2, 4), axis=0, label="axis"),
    named("flipud", A), named("fliplr", C),
    *(Case(op, lambda x, op=op, n=n: getattr(ops, op)(x, n)[1],
           lambda x, op=op, n=n: getattr(np, op)(x, n)[1],
           (x,), label=str(x.ndim))
      for op, x, n in (("vsplit", C, 2), ("hsplit", A, 2), ("hsplit", f(6), 3), ("dsplit", C, 4))),
    *(named("rot90", A, k=k, label=str(k)) for k in range(-1, 5)),
    named("rot90", C, k=1, axes=(2, 0), label="axes"),
)  # fmt: skip

DIFFERENCES = (
    named("diff", A), named("diff", C, n=2, axis=1, label="second"),
    named("diff", f(2), n=3, label="none left"),
    named("ptp", A), named("ptp", C, axis=1, keepdims=True, label="axis"),
    named("average", A), named("average", C, axis=1, label="axis"),
    Case("average", lambda x, w: ops.average(x, 1, w), lambda x, w: np.average(x, 1, w),
         (A, 3.0 + f(4)), label="weights"),
    Case("average", lambda x, w: ops.average(x, weights=w), lambda x, w: np.average(x, weights=w),
         (A, 3.0 + B), label="all weights"),
    named("cross", f(2, 3), f(2, 3, seed=1)), named("cross", f(2, 3), f(3), label="one"),
    named("trapezoid", A), named("trapezoid", C, dx=0.5, axis=1, label="axis"),
    Case("trapezoid", ops.trapezoid, np.trapezoid, (A, f(4)), label="points"),
    named("median", A), named("median", C, axis=1, keepdims=True, label="odd"),
    named("median", A, axis=1, label="even"),
    named("count_nonzero", np.array([[1.0, 0.0], [NAN, -2.0]])),
    named("count_nonzero", np.array([[True, False], [True, True]]), axis=1, label="axis"),
)  # fmt: skip

NUMPY_CASES = (*FUNCTIONS, *JOINS, *DIFFERENCES)
