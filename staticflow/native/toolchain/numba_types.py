"""Numba's types for the type codes, with pointers that read NumPy's bools."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models, register_default

from staticflow.native.toolchain.objects import Signature


class BoolPointer(types.CPointer):  # type: ignore[misc]
    """A pointer to NumPy's bools. Numba's own `CPointer(boolean)` confuses the byte and the bit."""

    def __init__(self) -> None:
        super().__init__(types.boolean)


register_default(BoolPointer)(models.PointerModel)

_SCALARS: dict[str, Any] = {
    "": types.void, "f4": types.float32, "f8": types.float64, "i4": types.int32,
    "i8": types.int64, "u8": types.uintp, "b1": types.boolean,
}  # fmt: skip


def numba_type(code: str) -> Any:
    """The Numba type of a type code."""
    if code == "b1*":
        return BoolPointer()
    return types.CPointer(_SCALARS[code[:-1]]) if code.endswith("*") else _SCALARS[code]


def type_code(type_: Any) -> str:
    """The type code of a Numba type, sizes being plain words."""
    if isinstance(type_, types.CPointer):
        return f"{type_code(type_.dtype)}*"
    known = {kind: code for code, kind in _SCALARS.items()} | {types.uint64: "i8"}
    return known[type_]


def numba_signature(signature: Signature) -> Any:
    """The Numba signature of a signature in type codes."""
    return numba_type(signature.result)(*map(numba_type, signature.arguments))


def load_bool(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
    """`p[i]` of a `BoolPointer`."""
    pointer, index = values
    byte = builder.load(builder.gep(pointer, [index], inbounds=True))
    return builder.icmp_unsigned("!=", byte, byte.type(0))


def store_bool(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
    """`p[i] = value` of a `BoolPointer`."""
    pointer, index, value = values
    byte = builder.zext(value, ir.IntType(8))
    builder.store(byte, builder.gep(pointer, [index], inbounds=True))
    return context.get_dummy_value()
