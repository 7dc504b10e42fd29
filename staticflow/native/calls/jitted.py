"""Calls of compiled entries from the user's own jitted functions.

The functions here stand in code that Numba compiles: they check the types of arrays and of
scalars while it compiles, and leave a call of a C symbol. The address that the symbol is called
with is a dynamic global of Numba's, so that nothing that holds it is kept in Numba's disk cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.core.typing import signature
from numba.extending import intrinsic, overload
from numba.np import arrayobj, numpy_support

_WORD = ir.IntType(64)


class Expected(NamedTuple):
    """What an argument must be."""

    what: str  # "input 'x'"
    dtype: str
    ndim: int
    text: str  # its type, for messages
    written: bool


def contiguous(array: Any) -> Any:
    """The array itself, or a copy in C order; a scalar as it is."""
    return np.ascontiguousarray(array)


def _contiguous(array: Any) -> Any:
    def copied(array: Any) -> Any:
        return np.ascontiguousarray(array)

    def same(array: Any) -> Any:
        return array

    return copied if isinstance(array, types.Array) and array.layout != "C" else same


overload(contiguous, inline="always")(_contiguous)


def _overlap(_typing_context: Any, results: Any, inputs: Any) -> Any:
    """overlap(results, inputs): whether one of the first tuple's contiguous arrays shares memory
    with another of them, or with one of the second's; a scalar does with none.
    """

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        outs, ins = (
            [_bounds(context, builder, type_, array) for type_, array in zip(
                types_, cgutils.unpack_tuple(builder, value, len(types_)), strict=True
            ) if isinstance(type_, types.Array)]
            for types_, value in zip(sig.args, values, strict=True)
        )  # fmt: skip
        found = ir.Constant(ir.IntType(1), 0)
        for k, out in enumerate(outs):
            for other in [*ins, *outs[:k]]:
                found = builder.or_(found, _meet(builder, out, other))
        return found

    return signature(types.boolean, results, inputs), generate


overlap = intrinsic(_overlap)


def _meet(builder: Any, first: Any, second: Any) -> Any:
    """Whether two ranges of addresses have a byte in common."""
    (a, a_end), (b, b_end) = first, second
    before = builder.icmp_unsigned("<", a, b_end)
    return builder.and_(before, builder.icmp_unsigned("<", b, a_end))


def _bounds(context: Any, builder: Any, type_: Any, value: Any) -> tuple[Any, Any]:
    array = arrayobj.make_array(type_)(context, builder, value)
    start = builder.ptrtoint(array.data, _WORD)
    return start, builder.add(start, builder.mul(array.nitems, array.itemsize))


def checker(expected: Sequence[Expected]) -> Any:
    """An intrinsic that refuses a tuple of arguments of other types than expected."""

    def check(_typing_context: Any, values: Any) -> Any:
        for given, wanted in zip(values, expected, strict=True):
            _check(given, wanted)

        def generate(context: Any, _builder: Any, _sig: Any, _values: Any) -> Any:
            return context.get_dummy_value()

        return signature(types.void, values), generate

    return intrinsic(check)


def _check(given: Any, wanted: Expected) -> None:
    dtype = numpy_support.from_dtype(np.dtype(wanted.dtype))
    do = ""
    if wanted.ndim == 0 and not wanted.written and isinstance(given, types.Number | types.Boolean):
        if _rank(given) > _rank(dtype):
            do = "convert it if that loses nothing"
    elif not isinstance(given, types.Array):
        do = "pass an array"
    elif given.dtype != dtype:
        do = f"convert it with .astype(np.{wanted.dtype})"
    elif given.ndim != wanted.ndim:
        do = "reshape it"
    elif wanted.written and not given.mutable:
        do = "pass an array that may be written to"
    elif wanted.written and given.layout != "C":
        do = "pass a C-contiguous array"
    if do:
        raise errors.TypingError(f"{wanted.what} takes {wanted.text}\n  got: {given}\n  do: {do}")


def _rank(scalar: Any) -> int:
    """Booleans fit integers, and these fit floats."""
    kinds = (types.Boolean, types.Integer, types.Float)
    return next((k for k, kind in enumerate(kinds) if isinstance(scalar, kind)), len(kinds))


def caller(symbol: str, address: int, expected: Sequence[Expected]) -> Any:
    """An intrinsic `call(sizes, arrays)`: symbol(address, *sizes, *addresses of the arrays)."""

    def call(_typing_context: Any, sizes: Any, arrays: Any) -> Any:
        return signature(types.int64, sizes, arrays), generate

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        constant = context.add_dynamic_addr(builder, address, info="staticflow")
        first = builder.ptrtoint(constant, _WORD)
        return _call(context, builder, symbol, first, sig.args, values, expected)

    return intrinsic(call)


def _call(
    context: Any, builder: Any, symbol: str, first: Any, given: Any, values: Any,
    expected: Sequence[Expected],
) -> Any:  # fmt: skip
    """symbol(first, *sizes, *addresses of the arrays), of two tuples."""
    sizes = cgutils.unpack_tuple(builder, values[0], len(given[0]))
    arrays = cgutils.unpack_tuple(builder, values[1], len(given[1]))
    arguments = [first]
    arguments += [builder.sext(n, _WORD) if n.type.width < 64 else n for n in sizes]
    for type_, value, wanted in zip(given[1], arrays, expected, strict=True):
        arguments.append(_address(context, builder, type_, value, wanted))
    type_ = ir.FunctionType(_WORD, [_WORD] * len(arguments))
    function = cgutils.get_or_insert_function(builder.module, type_, symbol)
    return builder.call(function, arguments)


def member_caller(symbol: str, addresses: int, expected: Sequence[Expected]) -> Any:
    """An intrinsic `call(member, sizes, arrays)`, as `caller`, whose address is the member's of
    those that lie one after the other at `addresses`.
    """

    def call(_typing_context: Any, member: Any, sizes: Any, arrays: Any) -> Any:
        return signature(types.int64, types.int64, sizes, arrays), generate

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        table = context.add_dynamic_addr(builder, addresses, info="staticflow")
        words = builder.bitcast(table, _WORD.as_pointer())
        place = builder.gep(words, [values[0]])
        given = (sig.args[1:], values[1:], expected)
        return _call(context, builder, symbol, builder.load(place), *given)

    return intrinsic(call)


def _address(context: Any, builder: Any, type_: Any, value: Any, wanted: Expected) -> Any:
    if isinstance(type_, types.Array):
        array = arrayobj.make_array(type_)(context, builder, value)
        return builder.ptrtoint(array.data, _WORD)
    dtype = numpy_support.from_dtype(np.dtype(wanted.dtype))
    converted = context.cast(builder, value, type_, dtype)
    stored = context.get_value_as_data(builder, dtype, converted)
    place = cgutils.alloca_once_value(builder, stored)
    return builder.ptrtoint(place, _WORD)
