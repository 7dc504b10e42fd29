"""The user's jitted functions as native routines, called from compiled code without Python.

A wrapper is generated around each: it makes arrays of addresses and sizes, calls the function, and
copies what it returns into the outputs. It gives 0, or the routine's code where the function raised
or returned other shapes than were declared.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
import sys
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.native.routines.table import FAILURES, PROVIDED
from staticflow.native.toolchain.objects import External, KernelSource, Signature
from staticflow.native.toolchain.toolchain import Toolchain

FIRST_CODE = 1000  # of failures; smaller ones mean something else to the training loop


class CallArgument(NamedTuple):
    """An argument or result of a function: dtype and number of axes."""

    dtype: str
    ndim: int


def provide(
    function: Any, inputs: Sequence[CallArgument], outputs: Sequence[CallArgument], label: str
) -> str:
    """Enter a jitted function among the routines; returns the routine's name."""
    key = fingerprint(function)
    digest = hashlib.sha256(repr((key, tuple(inputs), tuple(outputs))).encode()).hexdigest()
    name = f"custom{digest[:16]}"
    code = FIRST_CODE + int(digest[:7], 16)
    FAILURES[code] = label
    source = _wrapper(name, inputs, outputs, code)
    count = len(inputs) + len(outputs) + sum(argument.ndim for argument in (*inputs, *outputs))

    def provider(toolchain: Toolchain, suffix: str) -> External:
        kernel = KernelSource(
            name=name,
            source=source,
            signature=Signature("i8", ("i8",) * count),
            namespace=lambda: _namespace(function),
            namespace_key=(key,),
            fastmath=(),
            noalias=False,
            error_result=code,
        )
        try:
            return toolchain.kernel(kernel).external
        except Exception as error:
            if not type(error).__module__.startswith("numba"):
                raise
            types_ = ", ".join(f"{argument.dtype} of {argument.ndim} axes" for argument in inputs)
            fail(GraphError, f"{label}: Numba cannot compile it", types_, str(error).strip())

    PROVIDED[name] = provider
    return name


def _wrapper(
    name: str, inputs: Sequence[CallArgument], outputs: Sequence[CallArgument], code: int
) -> str:
    given = [*((f"x{k}", s) for k, s in enumerate(inputs)),
             *((f"y{k}", s) for k, s in enumerate(outputs))]  # fmt: skip
    sizes = [f"{letter}_{axis}" for letter, argument in given for axis in range(argument.ndim)]
    lines = [f"def {name}({', '.join([*(f'p{letter}' for letter, _ in given), *sizes])}):"]
    for letter, argument in given:
        shape = "".join(f"{letter}_{axis}, " for axis in range(argument.ndim)) or "1,"
        lines.append(f"    {letter} = carray(pointer(p{letter}), ({shape}), {argument.dtype})")
    arguments = ", ".join(f"x{k}" if s.ndim else f"x{k}[0]" for k, s in enumerate(inputs))
    results = [f"r{k}" for k in range(len(outputs))]
    lines.append(f"    {', '.join(results)} = function({arguments})")
    for k, argument in enumerate(outputs):
        lines.append(f"    check_kind(r{k}, y{k})")
        if argument.ndim:
            lines += [f"    if r{k}.shape != y{k}.shape:", f"        return {code}"]
            lines.append(f"    y{k}[:] = r{k}")
        else:
            lines.append(f"    y{k}[0] = r{k}")
    return "\n".join([*lines, "    return 0", ""])


def _namespace(function: Any) -> dict[str, object]:
    return {**_names(), "function": function}


@functools.cache
def _names() -> dict[str, object]:
    from llvmlite import ir
    from numba import carray
    from numba.core import errors
    from numba.core import types as numba_types
    from numba.core.registry import cpu_target
    from numba.extending import intrinsic

    def pointer(_context: Any, _address: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], ir.IntType(8).as_pointer())

        return numba_types.voidptr(numba_types.int64), generate

    def check_kind(_context: Any, result: Any, declared: Any) -> Any:
        """Refuse, while Numba compiles, what would lose more than digits."""
        given = getattr(result, "dtype", result)
        rank = (numba_types.Boolean, numba_types.Integer, numba_types.Float)
        found, wanted = (
            next((k for k, kind in enumerate(rank) if isinstance(t, kind)), None)
            for t in (given, declared.dtype)
        )
        if found is not None and wanted is not None and found > wanted:
            raise errors.TypingError(f"it returns {given} where `infer` gives {declared.dtype}")
        return numba_types.void(result, declared), lambda context, *_: context.get_dummy_value()

    names = {"pointer": intrinsic(pointer), "check_kind": intrinsic(check_kind)}
    names |= {"carray": carray, "bool": np.bool_}
    cpu_target.typing_context.refresh()  # Numba's contexts may have been filled before
    return names | {dtype: getattr(np, dtype) for dtype in ("float32", "float64", "int32", "int64")}


def fingerprint(function: Any) -> str:
    """A hash over a jitted function's code, its options, and what it refers to."""
    digest = hashlib.sha256(sys.version.encode())
    _add(digest, function, set())
    return digest.hexdigest()


def _add(digest: Any, value: Any, seen: set[int]) -> None:
    python = getattr(value, "py_func", value)
    if isinstance(python, types.FunctionType):
        if id(python) not in seen:
            seen.add(id(python))
            digest.update(repr(sorted(getattr(value, "targetoptions", {}).items())).encode())
            _add(digest, python.__defaults__, seen)
            _add(digest, tuple(sorted((python.__kwdefaults__ or {}).items())), seen)
            _add_code(digest, python, python.__code__, seen)
    elif isinstance(value, types.BuiltinFunctionType | np.ufunc) or _is_library_type(value):
        digest.update(repr(getattr(value, "__qualname__", value)).encode())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
    elif isinstance(value, tuple | list):
        digest.update(f"{type(value).__name__} {len(value)}".encode())
        for entry in value:
            _add(digest, entry, seen)
    elif isinstance(value, int | float | complex | str | bytes | np.generic | types.NoneType):
        digest.update(f"{type(value).__name__} {value!r}".encode())
    else:
        digest.update(secrets.token_bytes())  # what it holds cannot be told: never shared


def _is_library(name: str) -> bool:
    """Whether a module is one that changes with its version only."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in ("numpy", "numba", "scipy")


def _is_library_type(value: Any) -> bool:
    return isinstance(value, type) and _is_library(value.__module__)


def _add_module(
    digest: Any, module: types.ModuleType, names: Sequence[str], seen: set[int]
) -> None:
    """A module: its version, or of the user's own what the code may look up there."""
    digest.update(f"{module.__name__} {getattr(module, '__version__', '')}".encode())
    looked_up = hash((id(module), tuple(names)))
    if _is_library(module.__name__) or looked_up in seen:
        return
    seen.add(looked_up)
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, types.ModuleType):
            _add_module(digest, value, names, seen)
        else:
            _add(digest, value, seen)


def _add_code(digest: Any, function: Any, code: types.CodeType, seen: set[int]) -> None:
    digest.update(code.co_code + repr((code.co_names, code.co_varnames)).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(digest, function, constant, seen)
        else:
            _add(digest, constant, seen)
    for name in code.co_names:
        if name in function.__globals__:
            _add_found(digest, function.__globals__[name], code, seen)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        digest.update(name.encode())
        _add_found(digest, cell.cell_contents, code, seen)


def _add_found(digest: Any, value: Any, code: types.CodeType, seen: set[int]) -> None:
    """What a name in the code stands for."""
    if isinstance(value, types.ModuleType):
        _add_module(digest, value, code.co_names, seen)
    else:
        _add(digest, value, seen)
