"""What the toolchain takes and gives: sources, signatures, object code, loaded functions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

FASTMATH = ("contract", "nsz", "reassoc")


class Signature(NamedTuple):
    """A C signature in type codes: f4 f8 i4 i8 u8 b1, with * for a pointer, "" for no result.

    b1 is NumPy's bool: one byte, 0 or 1. u8 is for sizes and loop bounds.
    """

    result: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.result or 'void'}({', '.join(self.arguments)})"


class TypedName(NamedTuple):
    """What a function of the library is called for elements of a dtype: `gemm_f4` in source."""

    function: str
    suffix: str

    def __str__(self) -> str:
        return f"{self.function}_{self.suffix}"


class External(NamedTuple):
    """A compiled function that a kernel may call: the C symbol and its signature."""

    symbol: str
    signature: Signature


@dataclass(frozen=True)
class ObjectCode:
    """An object file: what it defines, what must be there before it is loaded, and its bytes."""

    symbols: tuple[str, ...]
    requires: tuple[str, ...]
    code: bytes


def _no_names() -> Mapping[str, object]:
    return {}


@dataclass(frozen=True)
class KernelSource:
    """One function in Numba's Python, over raw pointers and scalars.

    `name` is the function's name in `source`. Besides the names of `intrinsics.STANDARD_NAMES` and
    the builtins, the source may use `externals` (compiled functions, by the name they have in the
    source) and `namespace()` (anything Numba takes as a global: intrinsics, jitted functions). The
    namespace is a function so that a warm start never builds it; `namespace_key` is the text that
    stands for its content in the cache key. Jitted functions are compiled with their own options,
    and a kernel that calls them by Numba, which costs 0.3 s more in a process that has not used it
    yet.

    `noalias` promises that no two pointer arguments overlap where one is written. `error_result`
    is what a function with a result gives when Numba's code inside it raised (by default 0: then
    nothing in the source may raise).
    """

    name: str
    source: str
    signature: Signature
    externals: Mapping[str, External] = field(default_factory=dict)
    namespace: Callable[[], Mapping[str, object]] = _no_names
    namespace_key: tuple[str, ...] = ()
    fastmath: tuple[str, ...] = FASTMATH
    noalias: bool = True
    error_result: int = 0

    def key_parts(self) -> list[str]:
        """Everything that shapes the code, apart from the versions and the machine."""
        called = [(name, *external) for name, external in sorted(self.externals.items())]
        lists = (self.namespace_key, sorted(self.fastmath), called)
        options = (self.noalias, self.error_result)
        # each list is one part, so that no entry can move from one list to the next unnoticed
        text = ("kernel", self.name, self.source, str(self.signature))
        return [*text, *map(repr, lists), repr(options)]


class NativeFunction(NamedTuple):
    """A loaded function."""

    symbol: str
    address: int
    signature: Signature

    @property
    def external(self) -> External:
        """How another kernel refers to this function."""
        return External(self.symbol, self.signature)

    def bind(self) -> Callable[..., Any]:
        """A ctypes callable; it releases the GIL. Pointers are passed as integer addresses."""
        codes = (self.signature.result, *self.signature.arguments)
        result, *arguments = [_ctype(code) for code in codes]
        return ctypes.CFUNCTYPE(result, *arguments)(self.address)


_CTYPES: dict[str, Any] = {
    "": None, "f4": ctypes.c_float, "f8": ctypes.c_double, "i4": ctypes.c_int32,
    "i8": ctypes.c_int64, "u8": ctypes.c_uint64, "b1": ctypes.c_bool,
}  # fmt: skip


def _ctype(code: str) -> Any:
    return ctypes.c_void_p if code.endswith("*") else _CTYPES[code]


def wanted(entries: Iterable[ObjectCode]) -> frozenset[str]:
    """The symbols that objects refer to and do not define themselves."""
    listed = list(entries)
    required = {symbol for entry in listed for symbol in entry.requires}
    return frozenset(required - {symbol for entry in listed for symbol in entry.symbols})
