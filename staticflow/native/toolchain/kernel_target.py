"""Numba's target for kernels: what a processor can do with numbers, ranges, pointers and `math`.

The functions and operators of kernels are few, so that these contexts hold a handful of Numba's
registries (to fill the whole takes 0.3 s), and what an operator means for the same types is found
once. What kernels use beyond Python's arithmetic are intrinsics (`intrinsics`, `kernel_names`),
made by Numba's extension API: the code of users may call them as well.
"""

from __future__ import annotations

import functools
import operator
import weakref
from collections.abc import Iterable
from typing import Any

from numba.core import cpu, fastmathpass, imputils, types, typing
from numba.core.datamodel import models, register_default
from numba.core.errors import TypingError
from numba.core.registry import CPUTarget, cpu_target
from numba.core.target_extension import CPU, jit_registry, target_override, target_registry
from numba.core.typing import templates

from staticflow.native.toolchain.kernel_arithmetic import ARITHMETIC, OF_TWO
from staticflow.native.toolchain.numba_types import BoolPointer, load_bool, store_bool

KERNELS = "staticflow"  # the target's name


def _entries(registries: Iterable[Any], kinds: tuple[str, ...]) -> int:
    """How much has been entered in some of Numba's registries."""
    return sum(len(getattr(registry, kind)) for registry in registries for kind in kinds)


_INTRINSIC = templates._IntrinsicTemplate


class _KnownFunction(types.Function):  # type: ignore[misc]
    """A function without what Numba writes of it in Python; what it finds once, it remembers."""

    def __init__(self, written: types.Function) -> None:
        overloads = templates._OverloadFunctionTemplate
        kept = [t for t in written.templates if not issubclass(t, overloads)]
        super().__init__(kept or written.templates)
        self._found: dict[Any, Any] = {}

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """The signature for some types. Numba would try every candidate each time."""
        if kws:
            return super().get_call_type(context, args, kws)
        if args not in self._found:
            self._found[args] = super().get_call_type(context, args, kws)
        return self._found[args]


register_default(_KnownFunction)(models.OpaqueModel)


class _TypingContext(typing.Context):  # type: ignore[misc]
    """The functions whose types kernels ask for: the builtins and `math`."""

    def __init__(self) -> None:
        super().__init__()
        # Conversions and externals are functions of one kernel each, and go with it.
        self._known: weakref.WeakKeyDictionary[Any, _KnownFunction] = weakref.WeakKeyDictionary()
        self._seen, self._filling = -1, False

    def load_additional_registries(self) -> None:
        """Numba calls this when it fills the context."""
        from numba.core.typing import mathdecl

        self.install_registry(mathdecl.registry)

    def refresh(self) -> None:
        """Numba calls this before each compilation and for each intrinsic: look for new entries."""
        kinds = templates.RegistryLoader.registry_items
        if _entries(self._registries, kinds) != self._seen and not self._filling:
            self._filling = True  # entries look for their target, and refresh it and this
            try:
                with target_override(KERNELS):  # else Numba's own is filled, with all it knows
                    super().refresh()
            finally:
                self._filling = False
            self._seen = _entries(self._registries, kinds)

    def resolve_value_type(self, value: Any) -> Any:
        """The type of a global; `min` and `max` are those of two numbers."""
        found = super().resolve_value_type(OF_TWO.get(value, value) if callable(value) else value)
        return self._as_known(found) if type(found) is types.Function else found

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature of a function, or of an operator, for some types."""
        known = self._lookup_global(func) if func in _OPERATORS else func
        if type(known) is types.Function:
            known = self._as_known(known)
        if isinstance(known, types.ExternalFunction) and known.sig.args == _plain(args):
            return known.sig
        if isinstance(known, _KnownFunction):
            return known.get_call_type(self, args, kws)
        return super().resolve_function_type(known, args, kws)

    def _as_known(self, function: Any) -> _KnownFunction:
        if function not in self._known:
            self._known[function] = _KnownFunction(function)
        return self._known[function]


def _plain(args: Any) -> Any:
    return tuple(map(types.unliteral, args))


_OPERATORS = frozenset(
    value for name, value in vars(operator).items() if not name.startswith("_") and callable(value)
)


class _TargetContext(cpu.CPUContext):  # type: ignore[misc]
    """How numbers, ranges, pointers and `math` become LLVM IR."""

    _seen, _filling = -1, False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._wrapped: dict[Any, Any] = {}
        self._sizes: dict[Any, int] = {}

    def load_additional_registries(self) -> None:
        """Numba calls this when it fills the context."""
        from numba.core import optional  # noqa: F401
        from numba.cpython import builtins, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401

        self.install_registry(mathimpl.registry)

    def get_abi_sizeof(self, ty: Any) -> int:
        """The size of a type. Numba writes a module and parses it, for each variable."""
        if ty not in self._sizes:
            self._sizes[ty] = super().get_abi_sizeof(ty)
        return self._sizes[ty]

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        """What lowers a call, found once in a kernel: Numba reads a signature each time."""
        key = fn, sig.args, sig.return_type
        if key not in self._wrapped:
            self._wrapped[key] = self._find_function(fn, sig, _firstcall)
        return self._wrapped[key]

    def _find_function(self, fn: Any, sig: Any, _firstcall: bool) -> Any:
        """The same. An intrinsic brings that along; Numba enters it in a registry of the target
        that is current where the intrinsic is first typed, which may be another one.
        """
        if isinstance(fn, types.Function) and issubclass(fn.templates[0], _INTRINSIC):
            plain = sig.as_function()
            key = fn.get_impl_key(plain)
            if not self._defns[key].versions:
                self.insert_func_defn([(key, key, plain.args)])
        return super().get_function(fn, sig, _firstcall)

    def post_lowering(self, module: Any, library: Any) -> None:
        """The liberties of float arithmetic; Numba would also link what counts references."""
        if self.fastmath:
            fastmathpass.rewrite_module(module, self.fastmath)

    def subtarget(self, **options: Any) -> Any:
        """The context of one compilation. A manager of data models keeps the types that it has met,
        also those of the functions that a kernel calls, so that each has its own.
        """
        made = super().subtarget(**options)
        made.data_model_manager = self.data_model_manager.copy()
        made._wrapped = {}  # which know their context
        return made

    def refresh(self) -> None:
        """Look for new entries. What comes last is what counts: our arithmetic."""
        kinds = imputils.RegistryLoader.registry_items
        if _entries(self._registries, kinds) != self._seen and not self._filling:
            self._filling = True
            try:
                super().refresh()
            finally:
                self._filling = False
            self.install_registry(ARITHMETIC)
            self._seen = _entries(self._registries, kinds)
        self.typing_context.refresh()


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
def add_bool_pointers_to_numba() -> None:
    """Let Numba's own target read and write NumPy's bools behind pointers."""
    _with_bool_pointers(cpu_target.target_context)


class KernelProcessor(CPU):  # type: ignore[misc]
    """Numba's name for what kernels are compiled for: a CPU, with contexts of its own."""


target_registry[KERNELS] = KernelProcessor
kernel_target = _KernelTarget(KERNELS)


def _no_overloads(*_arguments: Any, **_options: Any) -> Any:
    """Kernels use no functions that Numba writes in Python: each would be compiled with them."""
    raise TypingError("a function that kernels do not know")


jit_registry[KernelProcessor] = _no_overloads
