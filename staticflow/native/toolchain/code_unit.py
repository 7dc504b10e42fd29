"""The machine code of one program: linked together, and given back when nobody needs it any more.

    for the life of the process     the worker, products, pools, ... : `Toolchain.kernel`
    for the life of a program       its kernels, finished products and drivers: a `CodeUnit`

A unit takes kernels that another unit has from there, and keeps that one's code for as long as its
own. Who runs a program holds it meanwhile, so that no code goes under anybody's feet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from staticflow.native.toolchain.linked import Linked
from staticflow.native.toolchain.objects import External, KernelSource, ObjectCode
from staticflow.native.toolchain.toolchain import Toolchain


class CodeUnit:
    """Collects what a program is made of, then links it. With `lasting`, nothing is ever unloaded,
    and other code may refer to it by its symbols.
    """

    def __init__(self, toolchain: Toolchain, lasting: bool = False) -> None:
        self._toolchain, self._lasting = toolchain, lasting
        self._new: dict[str, ObjectCode] = {}  # by key
        self._used: dict[int, Linked] = {}
        self._addresses: dict[str, int] = {}  # those of symbols that last

    def kernel(self, source: KernelSource) -> External:
        """A kernel, compiled; loaded at the latest by `link`."""
        if self._lasting:
            function = self._toolchain.kernel(source)
            self._addresses[function.symbol] = function.address
            return function.external
        key, symbol = self._toolchain.named(source)
        self._take(key, lambda: self._toolchain.compiled_kernel(source))
        return External(symbol, source.signature)

    def module(self, ir_text: Callable[[], str], key: Sequence[str]) -> None:
        """The functions of a module of LLVM IR; see `Toolchain.module`."""
        if self._lasting:
            self._toolchain.module(ir_text, key)
            return
        self._take(
            self._toolchain.module_key(key),
            lambda: self._toolchain.compiled_module(ir_text, key),
        )

    def _take(self, key: str, compiled: Callable[[], ObjectCode]) -> None:
        if key in self._new:
            return
        linked = self._toolchain.linked.get(key)
        if linked is None:
            self._new[key] = compiled()
        else:
            self._used[id(linked)] = linked

    def link(self) -> None:
        """Load what is new."""
        if self._new:
            linked = self._toolchain.link(self._new, tuple(self._used.values()))
            self._used[id(linked)] = linked
            self._new = {}

    def address(self, external: External) -> int:
        """Where a function of this unit is, once that is linked."""
        tables = [self._addresses, *(linked.addresses for linked in self._used.values())]
        return next(table[external.symbol] for table in tables if external.symbol in table)
