"""Numba's typing and target contexts, cut down to what raw-pointer kernels need.

Numba's own contexts know arrays, strings, random numbers, BLAS; to fill them costs 0.3 s, half of
it imports of SciPy. Kernels use integers, floats, pointers, `range` and `math`. So they get
contexts of their own, filled from Numba's registries for those alone (0.03 s); a kernel that calls
jitted functions or needs anything else is compiled with Numba's own contexts.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

from numba.core import cpu, fastmathpass, intrinsics, types, typing
from numba.core.extending import _Intrinsic
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.typing import mathdecl, templates

from staticflow.native.numba_types import BoolPointer, load_bool, store_bool


class Contexts(NamedTuple):
    """What Numba types and lowers a function with."""

    typing: Any
    target: Any
    numbas_own: bool


def calls_jitted_functions(names: Iterable[object]) -> bool:
    """Whether there are jitted functions among `names`: only Numba's own contexts know those."""
    return any(isinstance(value, CPUDispatcher) for value in names)


@functools.cache
def numba_contexts() -> Contexts:
    """Numba's own contexts, with everything Numba knows registered."""
    typing_context, target_context = cpu_target.typing_context, cpu_target.target_context
    typing_context.refresh()
    target_context.refresh()
    _add_bool_pointers(target_context)
    return Contexts(typing_context, target_context, True)


@functools.cache
def kernel_contexts() -> Contexts:
    """The small contexts."""
    typing_context = _KernelTyping()
    target_context = _KernelTarget(typing_context)
    typing_context.refresh()
    target_context.refresh()
    for function, compare in ((min, "<"), (max, ">")):
        typing_context.replace_global(function, _choice_template(compare, target_context))
    _add_bool_pointers(target_context)
    return Contexts(typing_context, target_context, False)


def add_intrinsics(contexts: Contexts, names: Iterable[object]) -> None:
    """Let the small contexts know the intrinsics among `names`."""
    for value in names:
        if isinstance(value, _Intrinsic):
            contexts.typing.add_intrinsic(value, contexts.target)


class _KernelTyping(typing.BaseContext):  # type: ignore[misc]
    """Types numbers, pointers, `range`, `math` and intrinsics."""

    def init(self) -> None:
        self._known: set[_Intrinsic] = set()
        self._filled = False

    def refresh(self) -> None:
        if not self._filled:  # Numba asks for it whenever it compiles
            self._filled = True
            self._fill()

    def _fill(self) -> None:
        from numba.core.typing import builtins  # noqa: F401  (fills the registry)
        from numba.core.unsafe import eh  # noqa: F401  (as Numba does)

        for registry in (templates.builtin_registry, mathdecl.registry):
            for template in registry.functions:
                self.insert_function(template(self))
            for value, type_ in registry.globals:
                self._add_global(value, type_)
            for template in registry.attributes:
                if not issubclass(template, templates._OverloadAttributeTemplate):
                    self.insert_attributes(template(self))

    def _add_global(self, value: Any, type_: Any) -> None:
        existing = self._lookup_global(value)
        if existing is not None:
            self._remove_global(value)
            type_ = existing.augment(type_)
        self.insert_global(value, type_)

    def add_intrinsic(self, value: _Intrinsic, target: Any) -> None:
        if value not in self._known:  # Numba's typing of it would fill Numba's contexts
            self._known.add(value)
            self.replace_global(value, _intrinsic_template(value, target))

    def replace_global(self, value: Any, template: Any) -> None:
        if self._lookup_global(value) is not None:
            self._remove_global(value)
        self.insert_global(value, types.Function(template))


class _KernelTarget(cpu.CPUContext):  # type: ignore[misc]
    """Lowers numbers, pointers, `range` and `math`."""

    def load_additional_registries(self) -> None:
        # Calls with more than 30 arguments pass a tuple.
        from numba.cpython import builtins, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401

        self.install_registry(mathimpl.registry)

    def refresh(self) -> None:
        self.load_additional_registries()
        from numba.core.imputils import builtin_registry

        self.install_registry(builtin_registry)

    def init(self) -> None:
        super().init()
        self._sizes: dict[Any, int] = {}

    def get_abi_sizeof(self, type_: Any) -> int:
        """LLVM is asked once a type: each question makes it parse a module."""
        if type_ not in self._sizes:
            self._sizes[type_] = super().get_abi_sizeof(type_)
        return self._sizes[type_]

    def post_lowering(self, module: Any, library: Any) -> None:
        if self.fastmath:
            fastmathpass.rewrite_module(module, self.fastmath)
        if self.is32bit:
            intrinsics.fix_divmod(module)
        # Numba would link its reference counting here; kernels own nothing


def _choice_template(compare: str, target: Any) -> Any:
    """`min` or `max` of two numbers; in some versions of Numba they are jitted functions."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        type_ = signature.return_type
        test = builder.icmp_signed if type_ in types.signed_domain else builder.icmp_unsigned
        if type_ in types.real_domain:
            test = builder.fcmp_ordered
        first, second = values
        return builder.select(test(compare, second, first), second, first)

    class Template(templates.AbstractTemplate):  # type: ignore[misc]
        key = generate

        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != 2 or not all(isinstance(arg, types.Number) for arg in args):
                return None
            result = self.context.unify_types(*map(types.unliteral, args))
            return typing.signature(result, result, result)

    target.insert_func_defn([(generate, generate, (types.Number, types.Number))])
    return Template


def _intrinsic_template(value: _Intrinsic, target: Any) -> Any:
    lowered = set()

    class Template(templates.AbstractTemplate):  # type: ignore[misc]
        key = value

        def generic(self, args: Any, kws: Any) -> Any:
            found = value._defn(self.context, *args, **kws)
            if found is None:
                return None
            signature, generate = found
            if signature.args not in lowered:
                lowered.add(signature.args)
                target.insert_func_defn([(generate, value, signature.args)])
            return signature

    return Template


def _add_bool_pointers(target: Any) -> None:
    target.insert_func_defn(
        [
            (load_bool, operator.getitem, (BoolPointer, types.Integer)),
            (store_bool, operator.setitem, (BoolPointer, types.Integer, types.Any)),
        ]
    )
