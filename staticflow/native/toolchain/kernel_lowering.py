"""From Numba's typed IR to LLVM IR, for kernels.

Numba's own lowering writes an error's context for each statement, looks three times for a constant
operand that nothing here marks, gives each variable that several blocks use a place in memory, and
counts references. A kernel needs none of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba.core import analysis, lowering
from numba.core import ir as numba_ir

from staticflow.native.toolchain.target import ABREAST, vector_bytes

# A function of some twenty operations that wait for each other leaves a processor idle unless
# others are under way. With 64-byte vectors there are registers for eight; with fewer, LLVM's own
# choice stays.
VECTORS_ABREAST, WIDE = 8, 64


class GeneralLower(lowering.Lower):  # type: ignore[misc]
    """Lowers a function, and marks its loops over `abreast_f4` and `abreast_f8`."""

    def lower_function_body(self) -> Any:
        """All blocks."""
        ends = _ends_abreast(self.func_ir.blocks) if vector_bytes() == WIDE else set()
        self._ends = {id(self.func_ir.blocks[label]) for label in ends}
        return super().lower_function_body()

    def post_block(self, block: Any) -> None:
        """Numba calls this behind each block."""
        super().post_block(block)
        if id(block) in self._ends:
            back = self.builder.block.terminator
            back.set_metadata("llvm.loop", _interleaved(self.module, VECTORS_ABREAST))


class KernelLower(GeneralLower):
    """Lowers a kernel, whose values are numbers and addresses: there are no references to count."""

    def _find_singly_assigned_variable(self) -> None:
        """The variables that are values; others get a place in memory.

        A value is what is set once, and used behind that in the same block, or, if the first block
        sets it (arguments and sizes above all), anywhere. Numba's own takes the former.
        """
        times, places = Counter[str](), dict[str, int]()
        elsewhere: set[str] = set()
        for label, block in sorted(self.blocks.items()):
            for statement in block.body:
                elsewhere |= {
                    name
                    for name in _used(statement)
                    if places.get(name) not in (label, self.firstblk)
                }
                if type(statement) is numba_ir.Assign:
                    name = statement.target.name
                    times[name] += 1
                    places[name] = label
        self._singly_assigned_vars = {
            name for name, count in times.items() if count == 1 and name not in elsewhere
        }
        self._blk_local_varmap: dict[str, Any] = {}

    def pre_block(self, block: Any) -> None:
        """Nothing: no variable ends its life here, and nothing is raised or caught."""

    def lower_block(self, block: Any) -> None:
        """The statements of a block; Numba's own sets up an error's context for each."""
        for statement in block.body:
            self.loc = statement.loc
            self.lower_inst(statement)
        self.post_block(block)

    def lower_inst(self, inst: Any) -> None:
        """One statement; Numba's own also prints each, for its debugger."""
        if type(inst) is numba_ir.Assign:
            name = inst.target.name
            self.storevar(self.lower_assign(self.typeof(name), inst), name)
        else:
            super().lower_inst(inst)

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        """Set a variable; Numba's own reads what it held, to count a reference less."""
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self.builder.store(value, self.getvar(name))

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        """An operator; Numba's own tries first what takes one of the operands as a constant."""
        context, signature = self.context, self.fndesc.calltypes[expr]
        operator = context.typing_context.resolve_value_type(op)
        operands = [
            context.cast(self.builder, self.loadvar(v.name), self.typeof(v.name), type_)
            for v, type_ in zip((expr.lhs, expr.rhs), signature.args, strict=True)
        ]
        found = operator.get_call_type(context.typing_context, signature.args, {})
        result = context.get_function(operator, found)(self.builder, operands)
        return context.cast(self.builder, result, signature.return_type, resty)

    def incref(self, type_: Any, value: Any) -> None:
        """Nothing: see above."""

    def decref(self, type_: Any, value: Any) -> None:
        """Nothing: see above."""


def _used(statement: Any) -> Iterable[str]:
    """The names of the variables that a statement reads, or sets otherwise than by `=`."""
    if type(statement) is not numba_ir.Assign:
        return [variable.name for variable in statement.list_vars()]
    value = statement.value
    if type(value) is numba_ir.Var:
        return (value.name,)
    return [v.name for v in value.list_vars()] if type(value) is numba_ir.Expr else ()


def _ends_abreast(blocks: Any) -> set[int]:
    """The blocks that lead back to the head of a loop over `abreast_f4` or `abreast_f8`."""
    marked: set[str] = set()  # variables: the function, its range, the iterator
    heads: set[int] = set()
    for label in sorted(blocks):
        for statement in blocks[label].find_insts(numba_ir.Assign):
            value, name = statement.value, statement.target.name
            if isinstance(value, numba_ir.Global) and value.name in ABREAST:
                marked.add(name)
            elif isinstance(value, numba_ir.Var) and value.name in marked:
                marked.add(name)
            elif isinstance(value, numba_ir.Expr) and value.op in _OPERANDS:
                operand = getattr(value, _OPERANDS[value.op]).name
                if operand in marked and value.op == "iternext":
                    heads.add(label)
                elif operand in marked:
                    marked.add(name)
    if not heads:
        return set()
    loops = analysis.compute_cfg_from_blocks(blocks).loops().values()
    return {
        label
        for loop in loops
        if loop.header in heads
        for label in loop.body
        if loop.header in blocks[label].terminator.get_targets()
    }


_OPERANDS = {"call": "func", "getiter": "value", "iternext": "value"}


def _interleaved(module: Any, vectors: int) -> Any:
    """Metadata that tells LLVM how many vectors of a loop to have under way at a time."""
    name = ir.MetaDataString(module, "llvm.loop.interleave.count")
    hint = module.add_metadata([name, ir.Constant(ir.IntType(32), vectors)])
    loop = ir.values.MDValue(module, (), name=str(len(module.metadata)))
    loop.operands = (loop, hint)  # itself: no two loops are the same
    return loop
