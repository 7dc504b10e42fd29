"""Names and dtypes of which the namespace of the Array API is made, and what it says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = ("bool", "int32", "int64", "float32", "float64")
CPU = "cpu"
INDEX = np.dtype("int64")
ONE = (
    "abs acos acosh asin asinh atan atanh bitwise_invert ceil cos cosh exp expm1 floor isfinite "
    "isinf isnan log log10 log1p log2 logical_not negative positive reciprocal round sign signbit "
    "sin sinh sqrt square tan tanh trunc "
    "all any argmax argmin count_nonzero max mean min prod sum std var "
    "argsort sort expand_dims flip moveaxis permute_dims roll squeeze tril triu tile "
    "ones_like zeros_like full_like diff"
).split()
TWO = (
    "add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign "
    "divide floor_divide greater greater_equal hypot less less_equal logaddexp logical_and "
    "logical_or logical_xor maximum minimum multiply pow remainder subtract "
    "take_along_axis"
).split()
SYMBOLS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "matmul": "matmul",
    "floordiv": "floor_divide", "mod": "remainder", "pow": "pow", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}  # fmt: skip


class Information:
    """What the standard's inspection tells."""

    def capabilities(self) -> dict[str, Any]:
        return {"boolean indexing": False, "data-dependent shapes": False, "max dimensions": 32}

    def default_device(self) -> str:
        return CPU

    def devices(self) -> list[str]:
        return [CPU]

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        return {"real floating": np.dtype("float32"), "integral": INDEX, "indexing": INDEX}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        every = {name: np.dtype(name) for name in DTYPES}
        return every if kind is None else {n: d for n, d in every.items() if np.isdtype(d, kind)}
