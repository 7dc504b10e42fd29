"""How a scalar math function becomes LLVM IR: written once in plain Python, traced per format.

A function of this package is written over `Value`, which overloads the arithmetic operators, and
`Format` (float32 or float64: constants, bit casts, selects). `define` turns it into one Numba
intrinsic per format. Tracing instead of `njit` because
- each instruction carries its own fast-math flags ("contract": a multiply and an add may fuse).
  Numba gives a kernel's flags only to instructions that have none, so `reassoc` in the kernel
  cannot undo the error terms here, and every signed zero, infinity and NaN keeps its meaning;
- a condition is a `select`, never a branch, integers keep their width, nothing is an external call:
  a loop around the function is vectorised like any other loop, and the object file refers to no
  symbol that a later process might lack;
- there is nothing to type: the first use in a process costs ten milliseconds where `njit` took 160.
"""

from __future__ import annotations

import struct
from itertools import zip_longest
from typing import Any

from llvmlite import ir

CONTRACT = ("contract",)
# No flag at all would mean: the kernel's flags. "arcp" is about divisions, so a product ignores it.
EXACT = ("arcp",)


class NoLiberties(set[str]):
    """The flags of a call that gets none, whatever its kernel allows.

    A fused operation that may be contracted is split into its parts where the machine has no such
    instruction, and then its error term is 0.
    """

    def add(self, name: str) -> None:
        pass

    def update(self, *names: Any) -> None:
        pass


class Value:
    """A floating-point value of one format while a function is being traced."""

    __slots__ = ("form", "raw")

    def __init__(self, form: Format, raw: Any) -> None:
        self.form = form
        self.raw = raw

    def _binary(self, name: str, left: Value | float, right: Value | float) -> Value:
        form = self.form
        operation = getattr(form.builder, name)
        return Value(form, operation(form.raw(left), form.raw(right), flags=CONTRACT))

    def __add__(self, other: Value | float) -> Value:
        return self._binary("fadd", self, other)

    def __radd__(self, other: Value | float) -> Value:
        return self._binary("fadd", other, self)

    def __sub__(self, other: Value | float) -> Value:
        return self._binary("fsub", self, other)

    def __rsub__(self, other: Value | float) -> Value:
        return self._binary("fsub", other, self)

    def __mul__(self, other: Value | float) -> Value:
        return self._binary("fmul", self, other)

    def __rmul__(self, other: Value | float) -> Value:
        return self._binary("fmul", other, self)

    def __truediv__(self, other: Value | float) -> Value:
        return self._binary("fdiv", self, other)

    def __rtruediv__(self, other: Value | float) -> Value:
        return self._binary("fdiv", other, self)

    def times(self, other: Value | float) -> Value:
        """The rounded product.

        Unlike `*` never fused with an addition, so that its error can be computed.
        """
        form = self.form
        return Value(form, form.builder.fmul(self.raw, form.raw(other), flags=EXACT))

    def __neg__(self) -> Value:
        return (self.bits() ^ self.form.sign_bit).value()

    def __abs__(self) -> Value:
        return (self.bits() & (self.form.sign_bit - 1)).value()

    def _compare(self, relation: str, other: Value | float) -> Condition:
        form = self.form
        return Condition(
            form, form.builder.fcmp_ordered(relation, self.raw, form.raw(other), flags=CONTRACT)
        )

    def __lt__(self, other: Value | float) -> Condition:
        return self._compare("<", other)

    def __le__(self, other: Value | float) -> Condition:
        return self._compare("<=", other)

    def __gt__(self, other: Value | float) -> Condition:
        return self._compare(">", other)

    def __ge__(self, other: Value | float) -> Condition:
        return self._compare(">=", other)

    def equals(self, other: Value | float) -> Condition:
        return self._compare("==", other)

    def is_nan(self) -> Condition:
        form = self.form
        return Condition(
            form, form.builder.fcmp_unordered("uno", self.raw, self.raw, flags=CONTRACT)
        )

    def bits(self) -> Bits:
        form = self.form
        return Bits(form, form.builder.bitcast(self.raw, form.integer_type))

    def copysign(self, other: Value) -> Value:
        """The magnitude of this value with the sign of `other`."""
        sign = self.form.sign_bit
        return ((self.bits() & (sign - 1)) | (other.bits() & sign)).value()


class Condition:
    """A truth value while a function is being traced; it is consumed by `Format.select`."""

    __slots__ = ("form", "raw")

    def __init__(self, form: Format, raw: Any) -> None:
        self.form = form
        self.raw = raw

    def __and__(self, other: Condition) -> Condition:
        return Condition(self.form, self.form.builder.and_(self.raw, other.raw))

    def __or__(self, other: Condition) -> Condition:
        return Condition(self.form, self.form.builder.or_(self.raw, other.raw))

    def __invert__(self) -> Condition:
        return Condition(self.form, self.form.builder.not_(self.raw))


class Bits:
    """An integer as wide as its format while a function is being traced; arithmetic wraps."""

    __slots__ = ("form", "raw")

    def __init__(self, form: Format, raw: Any) -> None:
        self.form = form
        self.raw = raw

    def _binary(self, name: str, other: Bits | int) -> Bits:
        form = self.form
        if isinstance(other, int):
            right = ir.Constant(form.integer_type, other & (2 * form.sign_bit - 1))
        else:
            right = other.raw
        return Bits(form, getattr(form.builder, name)(self.raw, right))

    def __add__(self, other: Bits | int) -> Bits:
        return self._binary("add", other)

    def __sub__(self, other: Bits | int) -> Bits:
        return self._binary("sub", other)

    def __and__(self, other: Bits | int) -> Bits:
        return self._binary("and_", other)

    def __or__(self, other: Bits | int) -> Bits:
        return self._binary("or_", other)

    def __xor__(self, other: Bits | int) -> Bits:
        return self._binary("xor", other)

    def __lshift__(self, count: int) -> Bits:
        return self._binary("shl", count)

    def __rshift__(self, count: int) -> Bits:
        """The logical shift: AVX2 has no arithmetic one for 64 bits."""
        return self._binary("lshr", count)

    def odd(self) -> Condition:
        """Whether the lowest bit is set."""
        form = self.form
        one = ir.Constant(form.integer_type, 1)
        bit = form.builder.and_(self.raw, one)
        return Condition(form, form.builder.icmp_unsigned("==", bit, one))

    def narrow(self, form: Format) -> Bits:
        """The low bits of a wider integer."""
        return Bits(form, form.builder.trunc(self.raw, form.integer_type))

    def negated(self) -> Bits:
        return Bits(self.form, self.form.builder.neg(self.raw))

    def value(self) -> Value:
        return Value(self.form, self.form.builder.bitcast(self.raw, self.form.float_type))


class Format:
    """float32 or float64 at one call site: the types, the constants and what is not an operator."""

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        self.builder = builder
        self.width = width
        self.float_type = ir.FloatType() if width == 32 else ir.DoubleType()
        self.integer_type = ir.IntType(width)
        self.sign_bit = 1 << (width - 1)
        self.fraction_bits = 23 if width == 32 else 52
        self.bias = 127 if width == 32 else 1023
        self.tiny = 2.0 ** (1 - self.bias)  # the smallest normal number
        self.huge = (2.0 - 2.0**-self.fraction_bits) * 2.0**self.bias  # the largest
        self.epsilon = 2.0**-self.fraction_bits

    @property
    def single(self) -> bool:
        return self.width == 32

    def constant(self, value: float) -> Value:
        rounded = struct.unpack("f", struct.pack("f", value))[0] if self.single else value
        return Value(self, ir.Constant(self.float_type, rounded))

    def raw(self, value: Value | float) -> Any:
        return value.raw if isinstance(value, Value) else self.constant(value).raw

    def constant_bits(self, value: float) -> int:
        """The bit pattern of a constant."""
        code = "f" if self.single else "d"
        return int.from_bytes(struct.pack("<" + code, value), "little")

    def pick(self, single: float, double: float) -> float:
        """A number that depends on the format."""
        return single if self.single else double

    def select(self, condition: Condition, then: Value | float, otherwise: Value | float) -> Value:
        return Value(self, self.builder.select(condition.raw, self.raw(then), self.raw(otherwise)))

    def minimum(self, x: Value, bound: float) -> Value:
        """x clamped from above; NaN stays NaN."""
        return self.select(x > bound, bound, x)

    def maximum(self, x: Value, bound: float) -> Value:
        """x clamped from below; NaN stays NaN."""
        return self.select(x < bound, bound, x)

    def polynomial(self, x: Value, coefficients: tuple[float, ...]) -> Value:
        """Horner's rule; the coefficients rise with the power."""
        total: Value | float = coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            total = total * x + coefficient
        assert isinstance(total, Value)
        return total

    def pairwise(self, x: Value, square: Value, coefficients: tuple[float, ...]) -> Value:
        """The polynomial by Horner's rule in x^2: half as many operations wait for each other."""
        pairs: list[Value | float] = []
        for low, high in zip_longest(coefficients[::2], coefficients[1::2]):
            pairs.append(low if high is None else x * high + low)
        total = pairs.pop()
        while pairs:
            total = square * total + pairs.pop()
        assert isinstance(total, Value)
        return total

    def call(self, name: str, *values: Value) -> Value:
        """One of LLVM's floating-point intrinsics (all in hardware: sqrt, fma, floor, ...)."""
        kind = self.float_type
        suffix = "f32" if self.single else "f64"
        signature = ir.FunctionType(kind, [kind] * len(values))
        function = self.builder.module.declare_intrinsic(f"llvm.{name}.{suffix}", (), signature)
        return Value(self, self.builder.call(function, [value.raw for value in values]))

    def fma(self, x: Value | float, y: Value | float, z: Value | float) -> Value:
        """x y + z rounded once, on any machine (slow without the instruction): for error terms."""
        result = self.call("fma", *(Value(self, self.raw(v)) for v in (x, y, z)))
        result.raw.fastmath = NoLiberties()
        return result

    def wide(self, x: Value) -> Value:
        """x in float64."""
        form = Format(self.builder, 64)
        return Value(form, self.builder.fpext(x.raw, form.float_type))

    def narrow(self, x: Value) -> Value:
        """A float64 in this format."""
        return Value(self, self.builder.fptrunc(x.raw, self.float_type))
