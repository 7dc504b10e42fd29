"""The passes of Numba's that a kernel goes through, from bytecode to LLVM IR.

A kernel is a loop nest over raw pointers and scalars, or calls such functions in order. There are
no closures to inline, no arrays to analyse and no references to count in it; what Numba does about
these would take half of the time.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import analysis, compiler, funcdesc, lowering, transforms, typing
from numba.core import ir as numba_ir
from numba.core.compiler_machinery import (
    FunctionPass,
    LoweringPass,
    PassManager,
    register_pass,
)
from numba.core.runtime import rtsys
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import IRLegalization, NopythonTypeInference
from numba.core.untyped_passes import FixupArgs, IRProcessing, TranslateByteCode

from staticflow.native.toolchain.target import ABREAST, vector_bytes

# A function of some twenty operations that wait for each other leaves a processor idle unless
# others are under way. With 64-byte vectors there are registers for eight; with fewer, LLVM's own
# choice stays.
VECTORS_ABREAST, WIDE = 8, 64


class ObjectLibrary:
    """Stands in for Numba's code library: it keeps the LLVM IR instead of compiling it."""

    def __init__(self, codegen: Any) -> None:
        self.codegen = codegen
        self.name = "staticflow"
        self.module: Any = None
        self._linked: dict[Any, None] = {}

    def create_ir_module(self, name: str) -> Any:
        """An empty module with this machine's layout."""
        return self.codegen._create_empty_module(name)

    def add_ir_module(self, module: Any) -> None:
        """What lowering gives."""
        self.module = module

    def add_linking_library(self, library: Any) -> None:
        """A jitted function of the user's that the kernel calls."""
        self._linked[library] = None

    def linked(self) -> list[Any]:
        """The modules of jitted functions that the kernel calls."""
        runtime = rtsys.library if rtsys._init else None  # reference counting
        libraries = [library for library in self._linked if library is not runtime]
        if libraries and runtime is not None:
            libraries.append(runtime)
        return [library._get_module_for_linking().clone() for library in libraries]


class _Lower(lowering.Lower):  # type: ignore[misc]
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


class _LowerKernel(_Lower):
    """Lowers a kernel, whose values are numbers and addresses: there are no references to count."""

    def lower_block(self, block: Any) -> None:
        """The statements of a block; Numba's own sets up an error's context for each."""
        self.pre_block(block)
        for statement in block.body:
            self.loc = statement.loc
            self.lower_inst(statement)
        self.post_block(block)

    def incref(self, type_: Any, value: Any) -> None:
        """Nothing: see above."""

    def decref(self, type_: Any, value: Any) -> None:
        """Nothing: see above."""


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


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerToIR(LoweringPass):  # type: ignore[misc]
    """Typed IR to LLVM IR, which stays in the `ObjectLibrary`."""

    _name = "staticflow_lower_to_ir"
    _lower = _Lower

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Lower the function of a compilation."""
        library = ObjectLibrary(state.targetctx.codegen())
        descriptor = funcdesc.PythonFunctionDescriptor.from_specialized_function(
            state.func_ir, state.typemap, state.return_type, state.calltypes,
            mangler=state.targetctx.mangler, inline=False, noalias=state.flags.noalias, abi_tags=(),
        )  # fmt: skip
        with state.targetctx.push_code_library(library):
            self._lower(state.targetctx, library, descriptor, state.func_ir).lower()
        state.cr = compiler.compile_result(
            typing_context=state.typingctx, target_context=state.targetctx, library=library,
            signature=typing.signature(state.return_type, *state.args), fndesc=descriptor,
            objectmode=False, lifted=(), reload_init=[], metadata=state.metadata,
        )  # fmt: skip
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerKernelToIR(_LowerToIR):
    """The same for a kernel."""

    _name = "staticflow_lower_kernel_to_ir"
    _lower = _LowerKernel


@register_pass(mutates_CFG=True, analysis_only=False)
class _FindBlocks(FunctionPass):  # type: ignore[misc]
    """The basic blocks, without the lives of variables, which only references need."""

    _name = "staticflow_find_blocks"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Put the blocks in order."""
        state.func_ir.blocks = transforms.canonicalize_cfg(state.func_ir.blocks)
        state.func_ir.generator_info = None
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _InferTypes(NopythonTypeInference):  # type: ignore[misc]
    """Numba's type inference. Jitted functions that are called keep options of their own."""

    _name = "staticflow_infer_types"

    def run_pass(self, state: Any) -> Any:
        """Give each variable its type."""
        flags = compiler.Flags()
        flags.nrt = True
        with ConfigStack().enter(flags):
            return super().run_pass(state)


class _Passes(PassManager):  # type: ignore[misc]
    """Runs passes, without Numba's checks and clean-ups between them: none changes the blocks."""

    def _runPass(self, index: int, pass_inst: Any, internal_state: Any) -> None:
        pass_inst.run_pass(internal_state)


class KernelCompiler(compiler.CompilerBase):  # type: ignore[misc]
    """The passes that a kernel goes through."""

    passes: tuple[tuple[Any, str], ...] = (
        (TranslateByteCode, "bytecode to Numba's IR"),
        (FixupArgs, "name the arguments"),
        (_FindBlocks, "find blocks"),
        (_InferTypes, "give each variable its type"),
        (_LowerKernelToIR, "make LLVM IR"),
    )

    def define_pipelines(self) -> list[Any]:
        """One pipeline."""
        manager = _Passes("kernel")
        for each, reason in self.passes:
            manager.add_pass(each, reason)
        manager.finalize()
        return [manager]


class CallingCompiler(KernelCompiler):
    """The passes of a kernel that calls what others have jitted, with arrays and references."""

    passes = (
        (TranslateByteCode, "bytecode to Numba's IR"),
        (FixupArgs, "name the arguments"),
        (IRProcessing, "find blocks, loops and lives"),
        (_InferTypes, "give each variable its type"),
        (IRLegalization, "end the lives of variables"),
        (_LowerToIR, "make LLVM IR"),
    )
