"""Numba's compiler for kernels: its passes and contexts, with our code library behind it.

    source -> Numba's bytecode, IR, types -> LLVM IR     here, by a Numba dispatcher
    LLVM IR -> object code                               `toolchain.llvm_backend`, once

A kernel is a loop nest over raw pointers and scalars. Of Numba's passes those are run that such
code needs: there are no closures to inline, no arrays to analyse, no references to count. Its
functions and operators are few, so that the contexts hold a handful of Numba's registries (to fill
the whole takes 0.3 s), and what an operator means for the same types is found once.

What a kernel uses beyond Python's arithmetic are intrinsics (`intrinsics`, `kernel_names`), made by
Numba's extension API: the code of users may call them as well.
"""

from __future__ import annotations

import functools
import operator
import weakref
from typing import Any

from llvmlite import ir
from numba.core import analysis, compiler, cpu, dispatcher, funcdesc, lowering, types, typing
from numba.core import ir as numba_ir
from numba.core.compiler_machinery import LoweringPass, PassManager, register_pass
from numba.core.errors import TypingError
from numba.core.registry import CPUDispatcher, CPUTarget, cpu_target
from numba.core.runtime import rtsys
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_registry
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import IRLegalization, NopythonTypeInference
from numba.core.untyped_passes import FixupArgs, IRProcessing, TranslateByteCode

from staticflow.native.toolchain.kernel_arithmetic import ARITHMETIC, OF_TWO
from staticflow.native.toolchain.numba_types import BoolPointer, load_bool, store_bool
from staticflow.native.toolchain.objects import KernelSource
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


class _TypingContext(typing.Context):  # type: ignore[misc]
    """The functions whose types kernels ask for: the builtins and `math`."""

    def __init__(self) -> None:
        super().__init__()
        # Signatures by function and types. Conversions and externals are functions of one kernel
        # each, and go with it.
        self._resolved: weakref.WeakKeyDictionary[Any, dict[Any, Any]]
        self._resolved = weakref.WeakKeyDictionary()

    def load_additional_registries(self) -> None:
        """Numba calls this before each compilation."""
        from numba.core.typing import mathdecl

        self.install_registry(mathdecl.registry)

    def resolve_value_type(self, value: Any) -> Any:
        """The type of a global; `min` and `max` are those of two numbers."""
        return super().resolve_value_type(OF_TWO.get(value, value) if callable(value) else value)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature of a function for types. Numba would try every candidate each time."""
        if kws or not (func in _OPERATORS or isinstance(func, types.Function)):
            return super().resolve_function_type(func, args, kws)
        known = self._resolved.setdefault(func, {})
        if args not in known:
            known[args] = super().resolve_function_type(func, args, kws)
        return known[args]


_OPERATORS = frozenset(
    value for name, value in vars(operator).items() if not name.startswith("_") and callable(value)
)


class _TargetContext(cpu.CPUContext):  # type: ignore[misc]
    """How numbers, ranges, pointers and `math` become LLVM IR."""

    def load_additional_registries(self) -> None:
        """Numba calls this before each compilation."""
        from numba.core import optional  # noqa: F401
        from numba.cpython import builtins, mathimpl, numbers, rangeobj  # noqa: F401

        self.install_registry(mathimpl.registry)

    def subtarget(self, **options: Any) -> Any:
        """The context of one compilation. A manager of data models keeps the types that it has met,
        also those of the functions that a kernel calls, so that each has its own.
        """
        made = super().subtarget(**options)
        made.data_model_manager = self.data_model_manager.copy()
        return made

    def refresh(self) -> None:
        """Numba calls this before each compilation. What comes last is what counts."""
        super().refresh()
        self.install_registry(ARITHMETIC)


class _KernelTarget(CPUTarget):  # type: ignore[misc]
    """The processor, as kernels see it."""

    @functools.cached_property
    def _toplevel_target_context(self) -> Any:
        context = _TargetContext(self.typing_context, self._target_name)
        return _with_bool_pointers(context)

    @functools.cached_property
    def _toplevel_typing_context(self) -> Any:
        return _TypingContext()


def _with_bool_pointers(context: Any) -> Any:
    context.insert_func_defn(
        [
            (load_bool, operator.getitem, (BoolPointer, types.Integer)),
            (store_bool, operator.setitem, (BoolPointer, types.Integer, types.Any)),
        ]
    )
    return context


@functools.cache
def _add_bool_pointers_to_numba() -> None:
    _with_bool_pointers(cpu_target.target_context)


class KernelProcessor(CPU):  # type: ignore[misc]
    """Numba's name for what kernels are compiled for: a CPU, with contexts of its own."""


target_registry["staticflow"] = KernelProcessor
kernel_target = _KernelTarget("staticflow")


def _no_overloads(*_arguments: Any, **_options: Any) -> Any:
    """Kernels use no functions that Numba writes in Python: each would be compiled with them."""
    raise TypingError("a function that kernels do not know")


jit_registry[KernelProcessor] = _no_overloads


class _Lower(lowering.Lower):  # type: ignore[misc]
    """Lowers a kernel, and marks its loops over `abreast_f4` and `abreast_f8`."""

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
            _Lower(state.targetctx, library, descriptor, state.func_ir).lower()
        state.cr = compiler.compile_result(
            typing_context=state.typingctx, target_context=state.targetctx, library=library,
            signature=typing.signature(state.return_type, *state.args), fndesc=descriptor,
            objectmode=False, lifted=(), reload_init=[], metadata=state.metadata,
        )  # fmt: skip
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


class _KernelCompiler(compiler.CompilerBase):  # type: ignore[misc]
    """The passes that a kernel goes through."""

    def define_pipelines(self) -> list[Any]:
        """One pipeline."""
        passes = _Passes("kernel")
        for each, reason in (
            (TranslateByteCode, "bytecode to Numba's IR"),
            (FixupArgs, "name the arguments"),
            (IRProcessing, "find blocks, loops and lives"),
            (_InferTypes, "give each variable its type"),
            (IRLegalization, "refuse what cannot be lowered"),
            (_LowerToIR, "make LLVM IR"),
        ):
            passes.add_pass(each, reason)
        passes.finalize()
        return [passes]


class _FunctionCompiler(dispatcher._FunctionCompiler):  # type: ignore[misc]
    """What a dispatcher compiles with, and the flags that Numba has no option for."""

    noalias = True

    def _customize_flags(self, flags: Any) -> Any:
        flags.noalias = self.noalias
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        return flags


class KernelDispatcher(CPUDispatcher):  # type: ignore[misc]
    """A kernel as a Numba dispatcher, whose one overload is LLVM IR in an `ObjectLibrary`."""

    targetdescr = kernel_target

    def __init__(self, function: Any, kernel: KernelSource) -> None:
        options = {
            "nopython": True, "error_model": "numpy", "fastmath": set(kernel.fastmath) or False,
        }  # fmt: skip
        super().__init__(function, targetoptions=options)
        self._compiler = _FunctionCompiler(function, self.targetdescr, options, {}, _KernelCompiler)
        self._compiler.noalias = kernel.noalias

    def add_overload(self, result: Any) -> None:
        """Numba would register the address of its code; this has none yet."""
        self.overloads[tuple(result.signature.args)] = result


dispatcher_registry[KernelProcessor] = KernelDispatcher


class CallingDispatcher(KernelDispatcher):
    """A kernel that calls jitted functions or NumPy, and needs all that Numba knows."""

    targetdescr = cpu_target

    def __init__(self, function: Any, kernel: KernelSource) -> None:
        _add_bool_pointers_to_numba()
        super().__init__(function, kernel)
