"""Random numbers for kernels: the formulas of `random_formulas`, traced to LLVM IR.

They keep to IEEE arithmetic: a fused or reordered operation would change the last bits of what the
NumPy reference gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir

from staticflow.native.math import random_formulas
from staticflow.native.math.trace import EXACT
from staticflow.native.toolchain.intrinsics import declare

_WORD = ir.IntType(64)
_SINGLE, _DOUBLE = ir.FloatType(), ir.DoubleType()
# An instruction without flags would get the kernel's; the sign of a zero quotient is never seen.
_EXACT_QUOTIENT = ("nsz",)


class _Traced:
    """A word, a truth value or a float while a formula is traced."""

    __slots__ = ("builder", "raw")

    def __init__(self, builder: Any, raw: Any) -> None:
        self.builder, self.raw = builder, raw

    @property
    def is_float(self) -> bool:
        return not isinstance(self.raw.type, ir.IntType)

    def _with(self, raw: Any) -> _Traced:
        return _Traced(self.builder, raw)

    def _constant(self, other: Any) -> Any:
        if isinstance(other, _Traced):
            return other.raw
        return ir.Constant(self.raw.type, float(other) if self.is_float else int(other))

    def _both(self, word: str, other: Any, swapped: bool = False) -> _Traced:
        pair = (self.raw, self._constant(other))
        left, right = reversed(pair) if swapped else pair
        if not self.is_float:
            return self._with(getattr(self.builder, word)(left, right))
        flags = _EXACT_QUOTIENT if word == "div" else EXACT
        return self._with(getattr(self.builder, f"f{word}")(left, right, flags=flags))

    def __add__(self, other: Any) -> _Traced:
        return self._both("add", other)

    def __sub__(self, other: Any) -> _Traced:
        return self._both("sub", other)

    def __mul__(self, other: Any) -> _Traced:
        return self._both("mul", other)

    def __truediv__(self, other: Any) -> _Traced:
        return self._both("div", other)

    def __radd__(self, other: Any) -> _Traced:
        return self._both("add", other, swapped=True)

    def __rmul__(self, other: Any) -> _Traced:
        return self._both("mul", other, swapped=True)

    def __xor__(self, other: Any) -> _Traced:
        return self._both("xor", other)

    def __and__(self, other: Any) -> _Traced:
        return self._both("and_", other)

    def __or__(self, other: Any) -> _Traced:
        return self._both("or_", other)

    def __rshift__(self, count: Any) -> _Traced:
        """Of words that are not negative, or unsigned."""
        return self._both("lshr", count)

    def __gt__(self, other: Any) -> _Traced:
        return self._with(self.builder.fcmp_ordered(">", self.raw, self._constant(other)))

    def __eq__(self, other: object) -> _Traced:  # type: ignore[override]
        return self._with(self.builder.icmp_unsigned("==", self.raw, self._constant(other)))

    def __hash__(self) -> int:
        return id(self)

    def __neg__(self) -> _Traced:
        return self._with(self.builder.fneg(self.raw))

    def bitcast(self, type_: Any) -> _Traced:
        """The same bits as another type."""
        return self._with(self.builder.bitcast(self.raw, type_))

    def number(self, type_: Any) -> _Traced:
        """As a float of a type."""
        if not self.is_float:
            return self._with(self.builder.sitofp(self.raw, type_))
        same = self.raw.type == type_
        return self if same else self._with(self.builder.fptrunc(self.raw, type_))


def _number(type_: Any) -> Callable[[Any], Any]:
    return lambda x: x.number(type_) if isinstance(x, _Traced) else x


def _sqrt(x: _Traced) -> _Traced:
    signature = ir.FunctionType(x.raw.type, [x.raw.type])
    function = x.builder.module.declare_intrinsic("llvm.sqrt", [x.raw.type], signature)
    return x._with(x.builder.call(function, [x.raw]))


def _select(condition: _Traced, then: Any, otherwise: Any) -> _Traced:
    raws = [v.raw if isinstance(v, _Traced) else ir.Constant(_DOUBLE, v) for v in (then, otherwise)]
    return condition._with(condition.builder.select(condition.raw, *raws))


def _half(x: _Traced) -> _Traced:
    """The low half of a word, which more processors convert to floats in vectors."""
    return x._with(x.builder.trunc(x.raw, ir.IntType(32)))


def _itself(x: Any) -> Any:
    return x


_MACHINE = random_formulas.Machine(
    compile=_itself, unsigned=_itself, int32=_half, int64=_itself,
    float32=_number(_SINGLE), float64=_number(_DOUBLE),
    bits=lambda x: x.bitcast(_WORD), from_bits=lambda x: x.bitcast(_DOUBLE),
    sqrt=_sqrt, select=_select,
)  # fmt: skip


def _intrinsic(name: str, formula: Callable[..., Any]) -> object:
    def emit(builder: Any, *key: Any) -> Any:
        return formula(*(_Traced(builder, word) for word in key)).raw

    return declare(name, name[-2:], ("i8",) * 4, emit)


FUNCTIONS: Mapping[str, object] = {
    name: _intrinsic(name, formula) for name, formula in random_formulas.formulas(_MACHINE).items()
}
