"""Expressions of a source to LLVM IR; see `source_translate`."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core.extending import _Intrinsic

from staticflow.native.numba_types import type_code
from staticflow.native.objects import External
from staticflow.native.source_values import (
    BIT,
    NOTHING,
    Untranslatable,
    Value,
    binary,
    cast,
    common,
    compare,
    constant,
    function_type,
    llvm_type,
    load,
    magnitude,
    negative,
    plain,
    truth,
)

MATH = {math.sqrt: "llvm.sqrt", math.copysign: "llvm.copysign"}
CASTS = {np.float32: "f4", np.float64: "f8", np.int32: "i4", np.int64: "i8", np.bool_: "b1"}


class _Context:
    """What the intrinsics ask of Numba's target context."""

    @staticmethod
    def get_dummy_value() -> Any:
        return None


class Expressions:
    """The function being translated, as far as expressions know it."""

    def __init__(self, module: Any, function: Any, names: Mapping[str, Any]) -> None:
        self.module, self.function, self.names = module, function, names
        self.slots: dict[str, Value] = {}  # the variables, by name
        self.builder = ir.IRBuilder(function.append_basic_block("body"))

    def blocks(self, count: int) -> list[Any]:
        """New basic blocks."""
        return [self.function.append_basic_block() for _ in range(count)]

    def truth(self, node: ast.expr) -> Any:
        """An expression as a condition."""
        return truth(self.builder, self.value(node))

    def value(self, node: ast.expr) -> Value:
        """The value of an expression."""
        handler = _EXPRESSIONS.get(type(node))
        if handler is None:
            raise Untranslatable(type(node).__name__)
        return handler(self, node)

    def named(self, node: ast.expr) -> Any:
        """What a name, or an attribute of `math`, stands for; a builtin is its own name."""
        if isinstance(node, ast.Name) and node.id not in self.slots:
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and self.named(node.value) is math:
            return getattr(math, node.attr)
        raise Untranslatable(ast.unparse(node))

    def _constant(self, node: ast.Constant) -> Value:
        return constant(node.value)

    def _name(self, node: ast.Name | ast.Attribute) -> Value:
        slot = self.slots.get(node.id) if isinstance(node, ast.Name) else None
        if slot is None:
            return constant(self.named(node))
        return Value(slot.code, self.builder.load(slot.raw))

    def _subscript(self, node: ast.Subscript) -> Value:
        return load(self.builder, self.value(node.value), self.value(node.slice))

    def _binary(self, node: ast.BinOp) -> Value:
        return binary(self.builder, type(node.op), self.value(node.left), self.value(node.right))

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value("b1", self.builder.not_(self.truth(node.operand)))
        if isinstance(node.op, ast.USub):
            return negative(self.builder, self.value(node.operand))
        raise Untranslatable(type(node.op).__name__)

    def _compare(self, node: ast.Compare) -> Value:
        if len(node.ops) != 1:
            raise Untranslatable("a chain of comparisons")
        left, right = self.value(node.left), self.value(node.comparators[0])
        return compare(self.builder, type(node.ops[0]), left, right)

    def _logic(self, node: ast.BoolOp) -> Value:
        """`and` and `or` of conditions."""
        result = self._condition(node.values[0])
        for operand in node.values[1:]:
            result = self._joined(result, operand, isinstance(node.op, ast.And))
        return Value("b1", result)

    def _condition(self, node: ast.expr) -> Any:
        value = self.value(node)
        if value.code != "b1":
            raise Untranslatable("and, or of numbers")
        return value.raw

    def _joined(self, test: Any, node: ast.expr, both: bool) -> Any:
        """`test and node` or `test or node`; a node that is not simple only if it decides."""
        build = self.builder
        if _is_simple(node):
            right = self._condition(node)
            return build.and_(test, right) if both else build.or_(test, right)
        start = build.block
        more, after = self.blocks(2)
        build.cbranch(test, *((more, after) if both else (after, more)))
        build.position_at_end(more)
        right = self._condition(node)
        return self._merged(after, BIT, [(ir.Constant(BIT, int(not both)), start),
                                         (right, build.block)])  # fmt: skip

    def _merged(self, after: Any, type_: Any, values: list[tuple[Any, Any]]) -> Any:
        """One of several values, by the block that each comes from."""
        for _, block in values:
            if not block.is_terminated:
                self.builder.position_at_end(block)
                self.builder.branch(after)
        self.builder.position_at_end(after)
        phi = self.builder.phi(type_)
        for value, block in values:
            phi.add_incoming(value, block)
        return phi

    def _choice(self, node: ast.IfExp) -> Value:
        """`a if test else b`; if one is not simple, only the chosen one is evaluated."""
        build, test = self.builder, self.truth(node.test)
        branches = (node.body, node.orelse)
        if all(map(_is_simple, branches)):
            values = [self.value(branch) for branch in branches]
            code = common(*(value.code for value in values))
            return Value(code, build.select(test, *(cast(build, v, code).raw for v in values)))
        *starts, after = self.blocks(3)
        build.cbranch(test, *starts)
        chosen = []
        for start, branch in zip(starts, branches, strict=True):
            build.position_at_end(start)
            chosen.append((self.value(branch), build.block))
        code = common(*(value.code for value, _ in chosen))
        merged = []
        for value, block in chosen:
            build.position_at_end(block)
            merged.append((cast(build, value, code).raw, block))
        return Value(code, self._merged(after, llvm_type(code), merged))

    def _call(self, node: ast.Call) -> Value:
        called = self.named(node.func)
        if node.keywords:
            raise Untranslatable("a keyword argument")
        values = [self.value(argument) for argument in node.args]
        if isinstance(called, type) and called in CASTS and len(values) == 1:
            return cast(self.builder, values[0], CASTS[called])
        if isinstance(called, External):
            return self._external(called, values)
        if isinstance(called, _Intrinsic):
            return self._intrinsic(called, values)
        if called in MATH:
            return self._math(MATH[called], values)
        if called == "abs" and len(values) == 1:
            return magnitude(self.builder, values[0])
        if called in ("min", "max") and len(values) == 2:
            return self._extreme(ast.Lt if called == "min" else ast.Gt, *values)
        raise Untranslatable(f"a call of {called}")

    def _external(self, called: External, values: list[Value]) -> Value:
        result, codes = called.signature
        arguments = self._arguments(values, map(plain, codes))
        function = self.module.globals.get(called.symbol)
        if function is None:
            function = ir.Function(self.module, function_type(called.signature), called.symbol)
        raw = self.builder.call(function, arguments)
        return Value(plain(result), raw) if result else NOTHING

    def _intrinsic(self, called: _Intrinsic, values: list[Value]) -> Value:
        signature, generate = called._defn(None, *values)
        arguments = self._arguments(values, map(type_code, signature.args))
        raw = generate(_Context, self.builder, signature, arguments)
        return NOTHING if raw is None else Value(type_code(signature.return_type), raw)

    def _math(self, name: str, values: list[Value]) -> Value:
        code = common(*(value.code for value in values))
        code = code if code == "f4" else "f8"
        arguments = self._arguments(values, [code] * len(values))
        type_ = llvm_type(code)
        signature = ir.FunctionType(type_, [type_] * len(values))
        function = self.module.declare_intrinsic(name, [type_], signature)
        return Value(code, self.builder.call(function, arguments))

    def _arguments(self, values: list[Value], codes: Any) -> list[Any]:
        return [cast(self.builder, v, code).raw for v, code in zip(values, codes, strict=True)]

    def _extreme(self, relation: type, first: Value, second: Value) -> Value:
        code = common(first.code, second.code)
        first, second = (cast(self.builder, value, code) for value in (first, second))
        chosen = compare(self.builder, relation, second, first).raw
        return Value(code, self.builder.select(chosen, second.raw, first.raw))


def _is_simple(node: ast.expr) -> bool:
    """Whether an expression costs little and reads no memory: it may be evaluated in vain."""
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in CASTS.values()
        return named and all(isinstance(a, ast.Constant) for a in node.args)
    if isinstance(node, ast.Compare):
        return all(map(_is_simple, (node.left, *node.comparators)))
    return isinstance(node, ast.Constant | ast.Name)


_EXPRESSIONS: Mapping[type, Callable[..., Value]] = {
    ast.Constant: Expressions._constant, ast.Name: Expressions._name,
    ast.Attribute: Expressions._name, ast.Subscript: Expressions._subscript,
    ast.BinOp: Expressions._binary, ast.UnaryOp: Expressions._unary,
    ast.Compare: Expressions._compare, ast.BoolOp: Expressions._logic,
    ast.IfExp: Expressions._choice, ast.Call: Expressions._call,
}  # fmt: skip
