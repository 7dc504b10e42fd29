"""NumPy's keywords and the methods of arrays: one expression each, evaluated by ops and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from staticflow import ops
from tests.ops.cases.case import Array, Case, f

A, C = f(3, 4), f(2, 3, 4)
NAN, INF = float("nan"), float("inf")
MASK = A > -1.2
EDGES = np.array([0.0, -0.0, NAN, INF, -INF, 1.5])
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

NAMES = (
    both("identity", lambda m: m.identity(3, dtype="int32")),
    *(both("eye", lambda m, a=a, k=k: m.eye(*a, k=k, dtype="float64"), label=f"{a} {k}")
      for a in ((3,), (2, 4), (4, 2)) for k in (-2, 0, 1)),
    *(both("tri", lambda m, a=a, k=k: m.tri(*a, k=k, dtype="int64"), label=f"{a} {k}")
      for a in ((3,), (2, 4), (4, 2)) for k in (-2, 0, 1)),
    both("eye", lambda m: m.eye(N=2, M=3, dtype="bool"), label="names"),
    *(both(op, lambda m, op=op, n=n, end=end: getattr(m, op)(0.5, -2.0 if op != "geomspace" else 9,
                                                             n, endpoint=end, dtype="float64"),
           label=f"{n} {end}")
      for op in ("linspace", "logspace", "geomspace") for n in (0, 1, 2, 7)
      for end in (True, False)),
    both("geomspace", lambda m: m.geomspace(-8, -1.0, 4, dtype="float64"), label="below 0"),
    both("linspace", lambda m: m.linspace(-2.0, 3.0, 8, dtype="int64"), label="floor"),
    both("logspace", lambda m: m.logspace(0, 3, 4, base=2.0, dtype="int64"), label="base"),
    *(both(op, lambda m, a, b, op=op, n=n, end=end, axis=axis:
           getattr(m, op)(a, b, n, endpoint=end, axis=axis), 1.5 + f(3) / 3, 1.5 + f(2, 1) / 3,
           label=f"arrays {n} {end} {axis}")
      for op in ("linspace", "logspace", "geomspace")
      for n, end, axis in ((5, True, 0), (4, False, -1), (1, True, 1), (2, True, 0))),
    both("linspace", lambda m, a: m.linspace(a, 2.0, 3), A, label="array to number"),
    *(both("meshgrid", lambda m, *xs, k=k, o=o: m.meshgrid(*xs, **o)[k],
           *(f(n, seed=n) for n in (3, 2, 4)[:count]), label=f"{count} {k} {o}")
      for count in (1, 2, 3) for k in range(count)
      for o in ({}, {"indexing": "ij"}, {"sparse": True})),
    *(both("divmod", lambda m, x, k=k: m.divmod(x, 3)[k], x, label=f"{x.dtype} {k}", smooth=False)
      for x in (3 * A, WHOLE) for k in (0, 1)),
    *(both("divmod", lambda m, x, k=k: divmod(x, 0.75)[k], A, label=f"built in {k}", smooth=False)
      for k in (0, 1)),
    both("divmod", lambda m, x: divmod(7, x)[1], 1 + abs(WHOLE), label="reversed"),
    both("float_power", lambda m, x: m.float_power(x, 2.5), 3 + A),
    both("float_power", lambda m, x: m.float_power(x, 0.3), 1 + abs(WHOLE), label="integers"),
    both("float_power", lambda m, x: m.float_power(x, 0.3), np.float32(3 + A), label="singles",
         smooth=False),
    *(both(op, lambda m, x, y, op=op, nan=nan: getattr(m, op)(x, y, equal_nan=nan), *pair,
           label=f"{k} {nan}")
      for op in ("isclose", "allclose") for nan in (False, True)
      for k, pair in enumerate((
          (np.array([1.0, 1.0, 0.0, NAN, NAN, INF, INF, -INF, 1e10]),
           np.array([1.0 + 9e-6, 1.1, 9e-9, NAN, 1.0, INF, -INF, 1.0, 1.00001e10 + 1])),
          (A, A + 1e-9), (WHOLE, WHOLE), (WHOLE > 0, WHOLE > 0), (A, A[0]),
          (np.float32(A), A)))),
    both("isclose", lambda m, x: m.isclose(x, 0.3, rtol=0.5, atol=0.1), A, label="tolerances"),
    both("isclose", lambda m, x: m.isclose(x, 0.1), np.int64([0, 1]), label="integers"),
    *(both("round", lambda m, x, d=d: m.round(x, d), x, label=f"{x.dtype} {d}", smooth=False)
      for x in (40 * A, 10 * WHOLE + 5) for d in (-2, -1, 0, 2)),
    both("nan_to_num", lambda m, x: m.nan_to_num(x, True, 2.0), EDGES, label="copy", smooth=False),
)  # fmt: skip

RUNNING = (
    *(both(op, lambda m, x, op=op, axis=axis, t=t: getattr(m, op)(x, axis, dtype=t), x,
           label=f"{x.dtype} {axis} {t}", smooth=t != "float32")
      for op in ("cumsum", "cumprod", "nancumsum", "nancumprod")
      for x, t in ((A, None), (A, "float32"), (WHOLE, "int32"), (WHOLE, "float64"), (MASK, "int64"))
      for axis in (None, 0)),
    *(both(op, lambda m, x, op=op, axis=axis: getattr(m, op)(x, axis), HOLES, smooth=False,
           label=f"holes {axis}")
      for op in ("nancumsum", "nancumprod", "nanargmax", "nanargmin") for axis in (None, 0, 1)),
    *(both(op, lambda m, x, op=op, o=o: getattr(m, op)(x, axis=0, keepdims=True, **o), HOLES,
           label=o, smooth=False)
      for op, o in (("nansum", {"initial": 2.0}), ("nanprod", {"initial": 2.0}),
                    ("nanvar", {"correction": 1}), ("nanstd", {"ddof": 1}), *(
                        (op, {"where": A > 0}) for op in (
                            "nansum", "nanprod", "nanmean", "nanvar", "nanstd")))),
    *(both(op, lambda m, x, op=op: getattr(m, op)(x, axis=0, dtype="float64"), WHOLE,
           label="integers in doubles")
      for op in ("nansum", "nanprod", "nanmean", "nanvar", "nanstd")),
    *(both(op, lambda m, x, op=op: getattr(m, op)(x, axis=1, keepdims=True), WHOLE, label="kept")
      for op in ("nanargmax", "nanargmin")),
)  # fmt: skip

TIED = np.array([[2.0, 1.0, 2.0, 1.0, NAN, 1.0], [0.0, -0.0, 3.0, 3.0, 0.0, -1.0]])
BEYOND = np.array([[-5, -1, 0], [2, 3, 11]])
OPTIONS = (
    *(both(op, lambda m, x, op=op, o=o: getattr(m, op)(x, axis=1, **o), TIED, label=o, smooth=False)
      for op in ("sort", "argsort") for o in ({"stable": True}, {"kind": "stable"})),
    both("sort", lambda m, x: m.sort(x, 0, "quicksort"), A, label="kind"),
    both("argsort", lambda m, x: m.argsort(x % 3, axis=None, stable=True), WHOLE, label="ties"),
    *(both("take", lambda m, x, k, axis=axis, mode=mode: m.take(x, k, axis, mode=mode), A, BEYOND,
           label=f"{mode} {axis}") for mode in ("clip", "wrap") for axis in (None, 0, 1)),
    *(both("take", lambda m, x, mode=mode: m.take(x, BEYOND, 1, mode=mode), A,
           label=f"{mode} known") for mode in ("clip", "wrap")),
    both("take", lambda m, x: m.take(x, [0, -3], 0, mode="raise"), A, label="raise known"),
    *(both("reshape", lambda m, x, s=s, o=o: m.reshape(x, s, order=o), C, label=f"{s} {o}")
      for s in ((4, 6), (-1, 2), -1, (3, 1, 8)) for o in "CF"),
    both("reshape", lambda m, x: x.reshape(4, 6, order="F"), C, label="method"),
    both("ravel", lambda m, x: m.ravel(x, order="F"), C, label="columns first"),
    both("ravel", lambda m, x: x.ravel("F") + x.flatten("F"), C, label="method columns first"),
    *(both(f"atleast_{n}d", lambda m, *xs, n=n, k=k: getattr(m, f"atleast_{n}d")(*xs)[k],
           f(), f(3), A, label=f"several {k}") for n in (1, 2, 3) for k in range(3)),
    both("einsum", lambda m, x, y: m.einsum("ij,kj->ik", x, y, optimize=True), A, f(2, 4),
         label="optimize"),
    both("einsum", lambda m, x, y: m.einsum(x, [0, 1], y, [2, 1], [2, 0]), A, f(2, 4),
         label="lists"),
    both("einsum", lambda m, x, y: m.einsum(x, [..., 7], y, [2, 7]), A, f(2, 4),
         label="lists without result"),
)  # fmt: skip

KEYWORD_CASES = (*METHODS, *REDUCTIONS, *NAMES, *RUNNING, *OPTIONS)
