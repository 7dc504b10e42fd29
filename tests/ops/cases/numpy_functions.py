"""Cases of NumPy's functions that are made of other ops, each of which calls NumPy by its name."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticflow import ops
from tests.ops.cases.case import Array, Case, f

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
    *(Case(op, lambda x, op=op, at=at, k=k: getattr(ops, op)(x, at, axis=1)[k],
           lambda x, op=op, at=at, k=k: getattr(np, op)(x, at, axis=1)[k], (C,), label=f"{at} {k}")
      for op, at, parts in (("split", [2, 9], 3), ("split", [-2], 2), ("split", [2, 1], 3),
                            ("array_split", 2, 2), ("array_split", 5, 5), ("array_split", [1], 2))
      for k in range(parts)),
    *(named("pad", A, pad_width=((1, 2), (0, 3)), mode=mode, label=mode)
      for mode in ("edge", "reflect", "symmetric", "wrap", "constant")),
    named("clip", A, a_min=-0.5, a_max=0.7, label="a_min"),
    named("clip", A, min=-0.5, max=0.7, label="min"), named("clip", A, max=0.7, label="max"),
    *(Case("linspace", lambda n=n: ops.linspace(2.0, -3.0, n, "float64", endpoint=False),
           lambda n=n: np.linspace(2.0, -3.0, n, endpoint=False), label=f"open {n}")
      for n in (0, 1, 7)),
    named("roll", C, shift=(1, -2), axis=(0, 2), label="axes"),
    named("roll", C, shift=1, axis=(0, 0), label="one axis twice"),
    named("repeat", A, repeats=[2, 0, 1], axis=0, label="each"),
    named("repeat", A, repeats=[2], axis=1, label="all"),
    named("moveaxis", C, source=(0, 1), destination=(-1, 0), label="axes"),
    Case("concatenate", lambda x, y: ops.concatenate([x, y], axis=None),
         lambda x, y: np.concatenate([x, y], axis=None), (A, C), label="flat"),
    Case("take_along_axis", lambda x, k: ops.take_along_axis(x, k, None),
         lambda x, k: np.take_along_axis(x, k, None), (A, np.array([3, 11, 0])), label="flat"),
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
    Case("trapezoid", ops.trapezoid, np.trapezoid, (f(4), f(4, 4, seed=1)), label="points in rows"),
    named("diff", A > 0, axis=0, label="booleans"),
    named("diff", A, prepend=0.0, append=2.0, label="ends"),
    Case("diff", lambda x, y: ops.diff(x, axis=0, append=y),
         lambda x, y: np.diff(x, axis=0, append=y), (A, B[:2]), smooth=True, label="more rows"),
    named("average", A, axis=(1, 0), label="axes"),
    named("average", A, axis=1, keepdims=True, label="kept"),
    Case("average", lambda x, w: ops.average(x, (2, 0), w), lambda x, w: np.average(x, (2, 0), w),
         (C, 3.0 + f(4, 2)), label="weights of axes"),
    named("cross", f(3, 2), f(3, 2, seed=1), axis=0, label="axis"),
    *(named(op, C, axis=axis, keepdims=True, label=f"axes {axis}")
      for op in ("median", "nanmedian") for axis in (None, (0, 2), -1)),
    *(named(op, np.where(A > 1, NAN, A), axis=axis, smooth=False, label=f"NaN {axis}")
      for op in ("median", "nanmedian") for axis in (None, 0, 1)),
    *(named("quantile", C, q=q, axis=(0, 2), label=str(q)) for q in (0.3, 1.0, [0.0, 0.55])),
    named("percentile", A, q=np.array([[10, 20], [30, 99]]), label="matrix"),
    named("quantile", np.where(A > 1, NAN, A), q=0.4, axis=0, smooth=False, label="NaN"),
    named("median", A), named("median", C, axis=1, keepdims=True, label="odd"),
    named("median", A, axis=1, label="even"),
    named("count_nonzero", np.array([[1.0, 0.0], [NAN, -2.0]])),
    named("count_nonzero", np.array([[True, False], [True, True]]), axis=1, label="axis"),
)  # fmt: skip

WHOLE, TRUTH = np.arange(12).reshape(3, 4) - 5, A > 0
NOT_FLOATS = (
    *(named("matmul", x, y, label=f"{x.dtype} {x.shape} {y.shape}")
      for x, y in ((WHOLE, WHOLE.T), (WHOLE, WHOLE[0]), (np.int32(WHOLE), np.int32(WHOLE.T)),
                   (TRUTH, TRUTH.T), (np.stack([WHOLE, WHOLE]), WHOLE.T))),
    named("tensordot", WHOLE, WHOLE, label="integers"),
    named("inner", WHOLE, WHOLE, label="integers"),
    *(named(op, TRUTH, axis=axis, label=f"booleans {axis}") for axis in (None, 0)
      for op in ("max", "min", "argmax", "argmin")),
)  # fmt: skip

NUMPY_CASES = (*FUNCTIONS, *JOINS, *DIFFERENCES, *NOT_FLOATS)
