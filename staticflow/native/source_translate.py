"""A kernel's or driver's Python source to LLVM IR, in one walk over its syntax tree.

What this project generates, and its native routines, are a small language: loops over ranges,
branches, arithmetic, memory behind pointers, calls. Numba's analyses of general Python take most of
its time on them, and on a driver of many calls a time that grows with the square of its length.
Here a variable is a stack slot with the type of the first value it gets, which LLVM turns into
registers, and each statement becomes a few instructions, once. Whatever else a source uses is
refused with `Untranslatable`, and Numba compiles it: jitted functions above all.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir

from staticflow.native.objects import KernelSource
from staticflow.native.source_expressions import Expressions
from staticflow.native.source_values import (
    NOTHING,
    WORD,
    Untranslatable,
    Value,
    binary,
    cast,
    common,
    constant,
    function_type,
    load,
    plain,
    store,
)
from staticflow.native.syntax import parsed_statements
from staticflow.native.target import ABREAST, vector_bytes

# A function of some twenty operations that wait for each other leaves a processor idle unless
# others are under way. With 64-byte vectors there are registers for eight; with fewer, LLVM's own
# choice stays.
VECTORS_ABREAST, WIDE = 8, 64


def translate(kernel: KernelSource, symbol: str, names: Mapping[str, Any]) -> str:
    """The LLVM IR of a module that defines `symbol`; `names` are the source's globals."""
    (tree,) = parsed_statements(kernel.source)
    assert isinstance(tree, ast.FunctionDef)
    module = ir.Module("staticflow")
    _Function(kernel, symbol, names, module).run(tree)
    if kernel.fastmath:
        _add_flags(module, kernel.fastmath)
    return str(module)


def _add_flags(module: Any, flags: tuple[str, ...]) -> None:
    """Allow the kernel's liberties in all float arithmetic that has no flags of its own."""
    operations = ("fadd", "fsub", "fmul", "fdiv", "frem", "fcmp")
    floats = (ir.FloatType(), ir.DoubleType())
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                if instruction.opname in operations and not instruction.flags:
                    instruction.flags.extend(flags)
                elif instruction.opname == "call" and instruction.type in floats:
                    instruction.fastmath.update(flags)


class _Function(Expressions):
    """The statements of one function."""

    def __init__(
        self, kernel: KernelSource, symbol: str, names: Mapping[str, Any], module: Any
    ) -> None:
        self.kernel = kernel
        function = ir.Function(module, function_type(kernel.signature), symbol)
        self.entry = function.append_basic_block("entry")  # where variables get their slots
        super().__init__(module, function, names)
        self.loops: list[tuple[Any, Any]] = []  # where `continue` and `break` lead

    def run(self, tree: ast.FunctionDef) -> None:
        """Translate the function's definition."""
        start = self.builder.block
        codes = map(plain, self.kernel.signature.arguments)
        for name, code, raw in zip(tree.args.args, codes, self.function.args, strict=True):
            if self.kernel.noalias and code.endswith("*"):
                raw.add_attribute("noalias")
            self._set(name.arg, Value(code, raw))
        self._body(tree.body)
        if not self.builder.block.is_terminated:
            self._give(NOTHING)
        ir.IRBuilder(self.entry).branch(start)

    def _body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if self.builder.block.is_terminated:
                return  # behind a return, break or continue
            handler = _STATEMENTS.get(type(statement))
            if handler is None:
                raise Untranslatable(type(statement).__name__)
            handler(self, statement)

    def _set(self, name: str, value: Value) -> None:
        if not value.code:
            raise Untranslatable(f"{name} = nothing")
        if name not in self.slots:
            self.slots[name] = Value(value.code, self._slot(value.raw.type))
        slot = self.slots[name]
        wraps = (slot.code, value.code) == ("i4", "i8")
        if not wraps and common(slot.code, value.code) != slot.code:
            raise Untranslatable(f"{name} is {slot.code} and {value.code}")
        self.builder.store(cast(self.builder, value, slot.code).raw, slot.raw)

    def _slot(self, type_: Any) -> Any:
        with self.builder.goto_block(self.entry):
            return self.builder.alloca(type_)

    def _store(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self._set(target.id, value)
        elif isinstance(target, ast.Subscript):
            store(self.builder, self.value(target.value), self.value(target.slice), value)
        else:
            raise Untranslatable(type(target).__name__)

    def _assign(self, statement: ast.Assign) -> None:
        target = statement.targets[0]
        if len(statement.targets) > 1:
            raise Untranslatable("several targets")
        if not isinstance(target, ast.Tuple):
            self._store(target, self.value(statement.value))
            return
        if not isinstance(statement.value, ast.Tuple):
            raise Untranslatable("a tuple")
        values = [self.value(x) for x in statement.value.elts]
        for part, value in zip(target.elts, values, strict=True):
            self._store(part, value)

    def _update(self, statement: ast.AugAssign) -> None:
        target, kind = statement.target, type(statement.op)
        if isinstance(target, ast.Subscript):
            pointer, index = self.value(target.value), self.value(target.slice)
            old = load(self.builder, pointer, index)
            new = binary(self.builder, kind, old, self.value(statement.value))
            store(self.builder, pointer, index, new)
        else:
            old = self.value(target)
            self._store(target, binary(self.builder, kind, old, self.value(statement.value)))

    def _evaluate(self, statement: ast.Expr) -> None:
        if isinstance(statement.value, ast.Call):
            self.value(statement.value)
        elif not isinstance(statement.value, ast.Constant):  # a docstring
            raise Untranslatable(type(statement.value).__name__)

    def _pass(self, statement: ast.Pass) -> None:
        pass

    def _return(self, statement: ast.Return) -> None:
        self._give(NOTHING if statement.value is None else self.value(statement.value))

    def _give(self, value: Value) -> None:
        code = plain(self.kernel.signature.result)
        if code:
            self.builder.ret(cast(self.builder, value if value.code else constant(0), code).raw)
        else:
            self.builder.ret_void()

    def _go_to(self, block: Any) -> None:
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def _if(self, statement: ast.If) -> None:
        test = self.truth(statement.test)
        then, otherwise, after = self.blocks(3)
        self.builder.cbranch(test, then, otherwise)
        for block, body in ((then, statement.body), (otherwise, statement.orelse)):
            self.builder.position_at_end(block)
            self._body(body)
            self._go_to(after)
        self.builder.position_at_end(after)

    def _while(self, statement: ast.While) -> None:
        head, body, after = self.blocks(3)
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.truth(statement.test), body, after)
        self.builder.position_at_end(body)
        self._repeat(statement, head, after)

    def _repeat(self, statement: ast.While | ast.For, again: Any, after: Any) -> None:
        """The body of a loop, here."""
        if statement.orelse:
            raise Untranslatable("the else of a loop")
        self.loops.append((again, after))
        self._body(statement.body)
        self._go_to(again)
        self.loops.pop()
        self.builder.position_at_end(after)

    def _break(self, statement: ast.Break) -> None:
        self.builder.branch(self.loops[-1][1])

    def _continue(self, statement: ast.Continue) -> None:
        self.builder.branch(self.loops[-1][0])

    def _for(self, statement: ast.For) -> None:
        start, stop, step = self._range(statement.iter)
        items = _items_abreast(statement.iter)
        if items:
            whole = self.builder.and_(stop, ir.Constant(WORD, -items))
            self._count(statement, start, whole, step, VECTORS_ABREAST)
            start = whole
        self._count(statement, start, stop, step)

    def _count(
        self, statement: ast.For, start: Any, stop: Any, step: Any, vectors: int = 0
    ) -> None:
        """One loop; with `vectors`, so many of them are under way at a time."""
        build, counter = self.builder, self._slot(WORD)
        head, body, again, after = self.blocks(4)
        build.store(start, counter)
        build.branch(head)
        build.position_at_end(head)
        count = build.load(counter)
        build.cbranch(self._inside(count, stop, step), body, after)
        build.position_at_end(body)
        self._store(statement.target, Value("i8", count))
        self._repeat(statement, again, after)
        build.position_at_end(again)
        build.store(build.add(count, step, flags=["nsw"]), counter)
        back = build.branch(head)
        if vectors:
            back.set_metadata("llvm.loop", _interleaved(build.module, vectors))
        build.position_at_end(after)

    def _range(self, call: ast.expr) -> tuple[Any, Any, Any]:
        """Start, stop and step of a loop."""
        if not isinstance(call, ast.Call) or self.named(call.func) not in ("range", range):
            raise Untranslatable("a loop over something else than a range")
        words = [cast(self.builder, self.value(a), "i8").raw for a in call.args]
        zero, one = ir.Constant(WORD, 0), ir.Constant(WORD, 1)
        if len(words) == 1:
            return zero, words[0], one
        return words[0], words[1], words[2] if len(words) == 3 else one

    def _inside(self, count: Any, stop: Any, step: Any) -> Any:
        up = self.builder.icmp_signed("<", count, stop)
        if isinstance(step, ir.Constant) and step.constant > 0:
            return up
        down = self.builder.icmp_signed(">", count, stop)
        rising = self.builder.icmp_signed(">", step, ir.Constant(WORD, 0))
        return self.builder.select(rising, up, down)


def _items_abreast(call: ast.expr) -> int:
    """How many items go by at a time in a loop over `abreast_f4` or `abreast_f8`; 0: one."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return 0
    size = ABREAST.get(call.func.id)
    return VECTORS_ABREAST * vector_bytes() // size if size and vector_bytes() == WIDE else 0


def _interleaved(module: Any, vectors: int) -> Any:
    """Metadata that tells LLVM how many vectors of a loop to have under way at a time."""
    name = ir.MetaDataString(module, "llvm.loop.interleave.count")
    hint = module.add_metadata([name, ir.Constant(ir.IntType(32), vectors)])
    loop = ir.values.MDValue(module, (), name=str(len(module.metadata)))
    loop.operands = (loop, hint)  # itself: no two loops are the same
    return loop


_STATEMENTS: Mapping[type, Callable[..., None]] = {
    ast.Assign: _Function._assign, ast.AugAssign: _Function._update, ast.For: _Function._for,
    ast.While: _Function._while, ast.If: _Function._if, ast.Return: _Function._return,
    ast.Break: _Function._break, ast.Continue: _Function._continue, ast.Pass: _Function._pass,
    ast.Expr: _Function._evaluate,
}  # fmt: skip
