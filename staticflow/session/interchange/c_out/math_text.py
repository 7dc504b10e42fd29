"""The scalar math functions as C: the same formulas that native code is made of.

Each is traced once more, over a builder that writes C instead of LLVM IR (`native.math.trace`), so
that a function has the same errors in C as in a session. They have no branch and no table, so
that a compiler makes vectors of a loop around them; where the machine has an instruction for
x y + z, sums of products are written as that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llvmlite import ir

from staticflow.native.math import erf, exp, gamma, inverse_trig, log, power, rounding, trig
from staticflow.native.math.define import Traced, in_double
from staticflow.native.math.trace import CONTRACT, Format, Value
from staticflow.session.interchange.c_out.words import C_TYPES, number


class Formula(NamedTuple):
    """A traced function and how many arguments it takes."""

    traced: Traced
    arity: int = 1


def _direct(name: str) -> Formula:
    return Formula(lambda m, x: m.call(name, x))


def _far(near: Traced, libm: str) -> Formula:
    """The same bits below 2^50 in float64, and the C library's beyond."""

    def traced(m: Format, x: Value) -> Value:
        if m.single:
            return near(m, x)
        return m.select(abs(x) < 2.0**50, near(m, x), m.call(libm, x))

    return Formula(traced)


FORMULAS: Mapping[str, Formula] = {
    **{f.__name__: Formula(f) for f in (exp.exp, exp.exp2, exp.expm1, exp.sigmoid, exp.tanh)},
    **{f.__name__: Formula(in_double(f)) for f in (exp.sinh, exp.cosh)},
    **{f.__name__: Formula(f) for f in (log.log, log.log2, log.log10, log.log1p, log.softplus)},
    **{f.__name__: Formula(in_double(f)) for f in (log.arcsinh, log.arccosh, log.arctanh)},
    **{f.__name__: Formula(f) for f in (trig.sin, trig.cos, trig.tan, erf.erf, rounding.sign)},
    **{f"{f.__name__}_far": _far(f, f.__name__) for f in (trig.sin, trig.cos, trig.tan)},
    **{f.__name__: Formula(in_double(f)) for f in (erf.erfc, gamma.lgamma, gamma.digamma)},
    "arcsin": Formula(in_double(inverse_trig.arcsin)),
    "arccos": Formula(in_double(inverse_trig.arccos)),
    "arctan": Formula(in_double(inverse_trig.arctan)),
    "arctan2": Formula(in_double(inverse_trig.arctan2), 2),
    "pow": Formula(power.pow, 2),
    "cbrt": Formula(in_double(power.cbrt)),
    "hypot": Formula(power.hypot, 2),
    "remainder": Formula(rounding.remainder, 2),
    "floor_divide": Formula(rounding.floor_divide, 2),
    **{name: _direct(name) for name in ("floor", "ceil", "trunc", "rint", "sqrt")},
}
_SINGLE, _DOUBLE = ir.FloatType(), ir.DoubleType()
_RELATIONS = {"<", "<=", ">", ">=", "=="}


def function_name(name: str, suffix: str) -> str:
    """What a function is called in the text."""
    return f"sf_{name}_{suffix}"


def function_text(name: str, suffix: str) -> str:
    """A function of the table for floats of one dtype, as C."""
    formula, kind = FORMULAS[name], C_TYPES[suffix]
    builder = _Builder()
    type_ = _SINGLE if suffix == "f4" else _DOUBLE
    form = Format(builder, 32 if suffix == "f4" else 64)
    letters = "xy"[: formula.arity]
    arguments = [Value(form, _Named(type_, letter)) for letter in letters]
    result = builder.text(formula.traced(form, *arguments).raw)
    parameters = ", ".join(f"{kind} {letter}" for letter in letters)
    lines = [f"static inline {kind} {function_name(name, suffix)}({parameters}) {{"]
    lines += [f"    const {_c_type(s.type)} {s.name} = {s.text};" for s in builder.used(result)]
    return "\n".join([*lines, f"    return {result};", "}", ""])


class _Named:
    """A value by its name in C."""

    def __init__(self, type_: Any, name: str) -> None:
        self.type, self.name = type_, name
        self.fastmath: Any = None  # LLVM's flags, which C does not have


class _Set(_Named):
    """A value that a statement gives its name; `factors` are those of a product that may fuse."""

    def __init__(self, type_: Any, name: str, text: str, uses: Sequence[str]) -> None:
        super().__init__(type_, name)
        self.text, self.uses = text, uses
        self.factors: tuple[Any, Any] | None = None


def _is_float(type_: Any) -> bool:
    return type_ in (_SINGLE, _DOUBLE)


def _c_type(type_: Any) -> str:
    if _is_float(type_):
        return "float" if type_ == _SINGLE else "double"
    return "int" if type_.width == 1 else f"uint{type_.width}_t"


def _suffix(type_: Any) -> str:
    return "f4" if type_ == _SINGLE else "f8"


class _Builder:
    """Stands where llvmlite's IRBuilder does; each operation becomes a statement of C."""

    def __init__(self) -> None:
        self.statements: list[_Set] = []
        self.module = self  # which declares the intrinsics

    def used(self, result: str) -> list[_Set]:
        """The statements that a result needs, in order."""
        needed, found = {result}, []
        for statement in reversed(self.statements):
            if statement.name in needed:
                needed.update(statement.uses)
                found.append(statement)
        return found[::-1]

    def text(self, value: Any) -> str:
        """An operand as C."""
        if isinstance(value, _Named):
            return value.name
        if _is_float(value.type):
            text = number(value.constant, _suffix(value.type))
            return f"({text})" if text.startswith("-") else text
        return f"UINT{value.type.width}_C({value.constant:#x})"

    def _set(self, type_: Any, text: str, *operands: Any) -> _Set:
        uses = [x.name for x in operands if isinstance(x, _Named)]
        made = _Set(type_, f"t{len(self.statements)}", text, uses)
        self.statements.append(made)
        return made

    def _operation(self, sign: str, left: Any, right: Any, type_: Any = None) -> _Set:
        text = f"{self.text(left)} {sign} {self.text(right)}"
        return self._set(left.type if type_ is None else type_, text, left, right)

    # -- floats ------------------------------------------------------------------------------------

    def fmul(self, left: Any, right: Any, flags: Sequence[str] = ()) -> _Set:
        made = self._operation("*", left, right)
        if tuple(flags) == CONTRACT:
            made.factors = (left, right)
        return made

    def fadd(self, left: Any, right: Any, flags: Sequence[str] = ()) -> _Set:
        for product, other in ((left, right), (right, left)):
            if isinstance(product, _Set) and product.factors:
                return self._fused("", *product.factors, other)
        return self._operation("+", left, right)

    def fsub(self, left: Any, right: Any, flags: Sequence[str] = ()) -> _Set:
        if isinstance(right, _Set) and right.factors:
            return self._fused("-", *right.factors, left)
        if isinstance(left, _Set) and left.factors:
            return self._fused("", *left.factors, right, "-")
        return self._operation("-", left, right)

    def _fused(self, sign: str, x: Any, y: Any, z: Any, last: str = "") -> _Set:
        name = f"SF_FMA_{_suffix(x.type).upper()}"
        operands = f"{sign}{self.text(x)}, {self.text(y)}, {last}{self.text(z)}"
        return self._set(x.type, f"{name}({operands})", x, y, z)

    def fdiv(self, left: Any, right: Any, flags: Sequence[str] = ()) -> _Set:
        return self._operation("/", left, right)

    def frem(self, left: Any, right: Any, flags: Sequence[str] = ()) -> _Set:
        return self.call(_Intrinsic("fmod", left.type), (left, right))

    def fcmp_ordered(self, relation: str, left: Any, right: Any, flags: Any = ()) -> _Set:
        assert relation in _RELATIONS
        return self._operation(relation, left, right, ir.IntType(1))

    def fcmp_unordered(self, relation: str, left: Any, right: Any, flags: Any = ()) -> _Set:
        assert relation == "uno" and left is right
        return self._operation("!=", left, right, ir.IntType(1))

    def fpext(self, value: Any, type_: Any) -> _Set:
        return self._set(type_, f"(double){self.text(value)}", value)

    def fptrunc(self, value: Any, type_: Any) -> _Set:
        return self._set(type_, f"(float){self.text(value)}", value)

    # -- bits and conditions -----------------------------------------------------------------------

    def bitcast(self, value: Any, type_: Any) -> _Set:
        name = "sf_value" if _is_float(type_) else "sf_bits"
        width = 32 if _SINGLE in (type_, value.type) else 64
        return self._set(type_, f"{name}{width}({self.text(value)})", value)

    def add(self, left: Any, right: Any) -> _Set:
        return self._operation("+", left, right)

    def sub(self, left: Any, right: Any) -> _Set:
        return self._operation("-", left, right)

    def and_(self, left: Any, right: Any) -> _Set:
        return self._operation("&", left, right)

    def or_(self, left: Any, right: Any) -> _Set:
        return self._operation("|", left, right)

    def xor(self, left: Any, right: Any) -> _Set:
        return self._operation("^", left, right)

    def shl(self, value: Any, count: Any) -> _Set:
        return self._set(value.type, f"{self.text(value)} << {count.constant}", value)

    def lshr(self, value: Any, count: Any) -> _Set:
        return self._set(value.type, f"{self.text(value)} >> {count.constant}", value)

    def not_(self, value: Any) -> _Set:
        return self._set(value.type, f"!{self.text(value)}", value)

    def neg(self, value: Any) -> _Set:
        zero = ir.Constant(value.type, 0)
        return self._operation("-", zero, value)

    def trunc(self, value: Any, type_: Any) -> _Set:
        return self._set(type_, f"({_c_type(type_)}){self.text(value)}", value)

    def icmp_unsigned(self, relation: str, left: Any, right: Any) -> _Set:
        assert relation in _RELATIONS
        return self._operation(relation, left, right, ir.IntType(1))

    def select(self, condition: Any, then: Any, otherwise: Any) -> _Set:
        text = f"{self.text(condition)} ? {self.text(then)} : {self.text(otherwise)}"
        return self._set(then.type, text, condition, then, otherwise)

    # -- calls -------------------------------------------------------------------------------------

    def declare_intrinsic(self, name: str, types: Any, signature: Any) -> _Intrinsic:
        return _Intrinsic(name.split(".")[1], signature.return_type)

    def call(self, function: _Intrinsic, values: Sequence[Any]) -> _Set:
        name = function.name + ("f" if function.type == _SINGLE else "")
        return self._set(function.type, f"{name}({', '.join(map(self.text, values))})", *values)


class _Intrinsic(NamedTuple):
    """A function of libm."""

    name: str
    type: Any


def is_function(name: str) -> bool:
    """Whether a name such as `exp_f4` is that of a function of the table."""
    stem, _, suffix = name.rpartition("_")
    return stem in FORMULAS and suffix in ("f4", "f8")
