"""Random numbers for kernels: the formulas of `random_formulas`, compiled.

They keep to IEEE arithmetic: a fused or reordered operation would change the last bits of what the
NumPy reference gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from staticflow.native import random_formulas


def _bitcast(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    to = ir.IntType(64) if signature.return_type == types.int64 else ir.DoubleType()
    return builder.bitcast(arguments[0], to)


def _bits(typingctx: Any, x: Any) -> Any:
    """The bits of a float64."""
    return types.int64(types.float64), _bitcast


def _from_bits(typingctx: Any, x: Any) -> Any:
    """The float64 with these bits."""
    return types.float64(types.int64), _bitcast


def _select(condition: Any, then: Any, otherwise: Any) -> Any:
    return then if condition else otherwise


# Without fastmath=False, a function takes over the flags of the kernel that calls it first.
_compile = njit(error_model="numpy", fastmath=False, forceinline=True)
_MACHINE = random_formulas.Machine(
    compile=_compile, unsigned=np.uint64, int32=np.int32, int64=np.int64, float32=np.float32,
    float64=np.float64, bits=intrinsic(_bits), from_bits=intrinsic(_from_bits), sqrt=math.sqrt,
    select=_compile(_select),
)  # fmt: skip

FUNCTIONS: Mapping[str, object] = random_formulas.formulas(_MACHINE)
