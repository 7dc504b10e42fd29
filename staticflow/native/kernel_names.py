"""The names that generated kernels use beside the builtins: scalar math, bounds, index clamping."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from staticflow.native.math.integer import FUNCTIONS as INTEGERS
from staticflow.native.math.random import FUNCTIONS as RANDOM
from staticflow.native.math.scalar import FUNCTIONS as MATH
from staticflow.native.routines.widen_rows import ROOM_BYTES, VECTOR_BYTES
from staticflow.native.toolchain.intrinsics import declare
from staticflow.native.toolchain.target import ABREAST, LOCAL_ELEMENTS


def _wrap_index(builder: Any, index: Any, extent: Any) -> Any:
    """An index within 0 .. extent - 1; a negative one counts from the end, as in NumPy."""
    zero = ir.Constant(extent.type, 0)
    negative = builder.icmp_signed("<", index, zero)
    position = builder.select(negative, builder.add(index, extent), index)
    last = builder.sub(extent, ir.Constant(extent.type, 1))
    low = builder.select(builder.icmp_signed("<", position, last), position, last)
    return builder.select(builder.icmp_signed(">", low, zero), low, zero)


wrap_index = declare("wrap_index", "i8", ("i8", "i8"), _wrap_index)


def _cycles(builder: Any) -> Any:
    word = ir.IntType(64)
    counter = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(word, []), "llvm.readcyclecounter"
    )
    return builder.call(counter, ())


cycles = declare("cycles", "i8", (), _cycles)


def _room(builder: Any, pointer: Any, rows: Any, size: int = ROOM_BYTES) -> Any:
    """The pointer if one row goes at a time, else room on the stack for several rows abreast."""
    with builder.goto_entry_block():
        slot = builder.alloca(ir.ArrayType(ir.IntType(8), size))
        slot.align = VECTOR_BYTES
    single = builder.icmp_signed("==", rows, ir.Constant(rows.type, 1))
    return builder.select(single, pointer, builder.bitcast(slot, pointer.type))


def _room_for_totals(builder: Any, pointer: Any, rows: Any) -> Any:
    """The same for as many float64 as there is room for float32."""
    return _room(builder, pointer, rows, 2 * ROOM_BYTES)


_ROOMS = {
    **{f"room_{t}": declare(f"room_{t}", f"{t}*", (f"{t}*", "i8"), _room) for t in ("f4", "f8")},
    "room_for_totals": declare("room_for_totals", "f8*", ("f8*", "i8"), _room_for_totals),
}


def _local(builder: Any, element: Any) -> Any:
    """A few elements on the stack: as many as a value has that stays in registers."""
    with builder.goto_entry_block():
        slot = builder.alloca(ir.ArrayType(element, LOCAL_ELEMENTS))
        slot.align = VECTOR_BYTES
    return builder.bitcast(slot, element.as_pointer())


_ELEMENTS = {"f4": ir.FloatType(), "f8": ir.DoubleType(), "i4": ir.IntType(32),
             "i8": ir.IntType(64), "b1": ir.IntType(8)}  # fmt: skip
_LOCALS = {
    f"local_{t}": declare(f"local_{t}", f"{t}*", (), partial(_local, element=element))
    for t, element in _ELEMENTS.items()
}


def _bounds() -> dict[str, object]:
    names: dict[str, object] = {}
    for suffix, kind in (("f4", np.float32), ("f8", np.float64)):
        names[f"lowest_{suffix}"] = kind(-np.inf)
        names[f"highest_{suffix}"] = kind(np.inf)
    for suffix, integer in (("i4", np.int32), ("i8", np.int64)):
        names[f"lowest_{suffix}"] = integer(np.iinfo(integer).min)
        names[f"highest_{suffix}"] = integer(np.iinfo(integer).max)
    names["lowest_b1"], names["highest_b1"] = False, True
    return names


def kernel_namespace() -> Mapping[str, object]:
    """Every name a kernel may use."""
    return {
        **MATH,
        **INTEGERS,
        **RANDOM,
        **_ROOMS,
        **_LOCALS,
        **_bounds(),
        **dict.fromkeys(ABREAST, range),
        "b1": np.bool_,
        "inf": np.inf,
        "nan": np.nan,
        "wrap_index": wrap_index,
    }
