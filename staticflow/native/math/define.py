"""Traced functions as Numba intrinsics, one per format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from staticflow.native.math.trace import Format, Value

Traced = Callable[..., Value]


def _intrinsic(function: Traced, name: str, arity: int, width: int) -> object:
    kind = types.float32 if width == 32 else types.float64
    signature = kind(*[kind] * arity)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        form = Format(builder, width)
        return function(form, *(Value(form, argument) for argument in arguments)).raw

    def unary(typingctx: Any, x: Any) -> Any:
        return signature, generate

    def binary(typingctx: Any, x: Any, y: Any) -> Any:
        return signature, generate

    typer = unary if arity == 1 else binary
    typer.__name__ = typer.__qualname__ = name
    typer.__doc__ = function.__doc__
    made: object = intrinsic(typer)
    return made


def define(name: str, function: Traced, arity: int = 1) -> dict[str, object]:
    """`{name_f4: ..., name_f8: ...}`: the traced function as a Numba intrinsic per format."""
    return {
        f"{name}_f4": _intrinsic(function, f"{name}_f4", arity, 32),
        f"{name}_f8": _intrinsic(function, f"{name}_f8", arity, 64),
    }


def in_double(function: Traced) -> Traced:
    """The same function where float32 goes through float64.

    For what is used too rarely to have its own float32 form.
    """

    def traced(m: Format, *arguments: Value) -> Value:
        if not m.single:
            return function(m, *arguments)
        wide = [m.wide(argument) for argument in arguments]
        return m.narrow(function(wide[0].form, *wide))

    traced.__doc__ = function.__doc__
    return traced
