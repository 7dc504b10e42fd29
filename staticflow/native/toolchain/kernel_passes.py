"""The passes of Numba's that a kernel goes through, from bytecode to LLVM IR.

A kernel is a loop nest over raw pointers and scalars, or calls such functions in order. There are
no closures to inline, no arrays to analyse and no references to count in it; what Numba does about
these would take half of the time.
"""

from __future__ import annotations

from typing import Any

from numba.core import compiler, funcdesc, interpreter, transforms, typing
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

from staticflow.native.toolchain.kernel_inference import infer_types
from staticflow.native.toolchain.kernel_lowering import GeneralLower, KernelLower


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


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerToIR(LoweringPass):  # type: ignore[misc]
    """Typed IR to LLVM IR, which stays in the `ObjectLibrary`."""

    _name = "staticflow_lower_to_ir"
    _lower = GeneralLower

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
    _lower = KernelLower


class _Interpreter(interpreter.Interpreter):  # type: ignore[misc]
    """Bytecode to Numba's IR."""

    def post_process(self, peepholes: Any, func_ir: Any) -> Any:
        """What mends what Python makes of long calls, and not what looks for `with` and `dict`."""
        needless = (
            interpreter.peep_hole_delete_with_exit,
            interpreter.peep_hole_fuse_dict_add_updates,
        )
        return super().post_process([p for p in peepholes if p not in needless], func_ir)


@register_pass(mutates_CFG=True, analysis_only=False)
class _TranslateByteCode(FunctionPass):  # type: ignore[misc]
    """The same as a pass."""

    _name = "staticflow_translate_bytecode"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Make the IR of a function."""
        state.func_ir = _Interpreter(state.func_id).interpret(state.bc)
        return True


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


@register_pass(mutates_CFG=True, analysis_only=False)
class _InferKernelTypes(FunctionPass):  # type: ignore[misc]
    """The types of a kernel's variables."""

    _name = "staticflow_infer_kernel_types"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Give each variable its type."""
        state.typemap, state.return_type, state.calltypes = infer_types(state)
        return True


class _Passes(PassManager):  # type: ignore[misc]
    """Runs passes, without Numba's checks and clean-ups between them: none changes the blocks."""

    def _runPass(self, index: int, pass_inst: Any, internal_state: Any) -> None:
        pass_inst.run_pass(internal_state)


class KernelCompiler(compiler.CompilerBase):  # type: ignore[misc]
    """The passes that a kernel goes through."""

    passes: tuple[tuple[Any, str], ...] = (
        (_TranslateByteCode, "bytecode to Numba's IR"),
        (FixupArgs, "name the arguments"),
        (_FindBlocks, "find blocks"),
        (_InferKernelTypes, "give each variable its type"),
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
