"""A compiled program as a function that Numba jits, for the user's own jitted code.

The wrapper checks types while it is compiled and shapes when it is called, allocates what is not
given, and calls the native entry (`reentrant`) by its symbol.

    def y(in_x, out=None):
        check_inputs((in_x,))
        in_x = contiguous(in_x)
        size_batch = in_x.shape[0]
        ...
        code = call((size_batch,), (in_x, result_0))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from staticflow.compiler.codegen.driver import size_text
from staticflow.compiler.codegen.kernels import identifier
from staticflow.compiler.codegen.writer import SourceWriter
from staticflow.graph.dims import AnyDim, Dim
from staticflow.graph.node import Kind, Node
from staticflow.native.memory import Words
from staticflow.native.toolchain.numba_import import import_numba
from staticflow.runtime.index_checks import index_limits
from staticflow.runtime.reentrant import Reentrant, named_sizes
from staticflow.runtime.size_guards import SizeGuard

if TYPE_CHECKING:
    from staticflow.native.calls.jitted import Expected


def jit_function(
    name: str,
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    single: bool,
    entry: Reentrant,
    guards: Sequence[SizeGuard],
    contexts: Words | None = None,
) -> Any:
    import_numba()
    import numba
    import numpy as np

    from staticflow.native.calls.jitted import (
        Expected,
        caller,
        checker,
        contiguous,
        member_caller,
        overlap,
    )

    names = _argument_names(inputs)
    given = [Expected(f"input {x.name!r}", x.dtype, x.ndim, str(x.type), False) for x in inputs]
    members = None if contexts is None else len(contexts)
    results = [_expected(y, members) for y in outputs]
    arguments = [*given, *results]
    symbol = entry.function.symbol
    namespace: dict[str, Any] = {
        "np": np,
        "contiguous": contiguous,
        "overlap": overlap,
        "check_inputs": checker(given),
        "check_out": checker(results),
        "call": caller(symbol, entry.context, arguments)
        if contexts is None
        else member_caller(symbol, int(contexts.ctypes.data), arguments),
    }
    source = wrapper_source(name, names, inputs, outputs, single, guards, members)
    exec(compile(source, f"<staticflow jit {name}>", "exec"), namespace)
    function = namespace[name]
    function.__doc__ = _describe(names, inputs, outputs)
    return numba.njit(nogil=True)(function)


def wrapper_source(
    name: str,
    names: Sequence[str],
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    single: bool,
    guards: Sequence[SizeGuard] = (),
    members: int | None = None,
) -> str:
    """The function that Numba compiles: check, allocate what is not given, call."""
    results = [f"result_{i}" for i in range(len(outputs))]
    write = SourceWriter()
    lead = () if members is None else (str(members),)
    with write.block(f"def {name}({', '.join([*names, 'out=None'])}):"):
        if names:
            write(f"check_inputs({_tuple(names)})")
        _bind_sizes(write, names, inputs)
        _check_guards(write, outputs, guards)
        write("if out is None:")
        for result, node in zip(results, outputs, strict=True):
            shape = _tuple([*lead, *(_size(n) for n in node.shape)])
            write(f"    {result} = np.empty({shape}, np.{_numpy_name(node.dtype)})")
        with write.block("else:"):
            write(f"{results[0] if single else _tuple(results)} = out")
            write(f"check_out({_tuple(results)})")
            for result, node in zip(results, outputs, strict=True):
                _check_shape(write, result, "out", node, members)
        write(f"if overlap({_tuple(results)}, {_tuple(names)}):")
        write("    raise ValueError('out overlaps another argument; pass it its own memory')")
        sizes = _tuple([f"size_{n}" for n in named_sizes(inputs)])
        if members is None:
            write(f"code = call({sizes}, {_tuple([*names, *results])})")
        else:
            own = [f"{result}[member:]" for result in results]
            write("code = 0")
            with write.block(f"for member in range({members}):"):
                write(f"code = call(member, {sizes}, {_tuple([*names, *own])})")
                write("if code != 0:")
                write("    break")
        write("if code == 1:")
        write("    raise MemoryError('no memory for the temporaries of a network')")
        write("if code != 0:")
        write("    raise RuntimeError('a custom op raised an error, or returned other shapes')")
        write(f"return {results[0] if single else _tuple(results)}")
    return write.text


def _bind_sizes(write: SourceWriter, names: Sequence[str], inputs: Sequence[Node]) -> None:
    """Take named sizes from the shapes that show them first, and check all others."""
    known: set[str] = set()
    for name, node in zip(names, inputs, strict=True):
        if node.ndim:
            write(f"{name} = contiguous({name})")
        for axis, n in enumerate(node.shape):
            if isinstance(n, Dim) and n.name and n.name not in known:
                known.add(n.name)
                write(f"size_{n.name} = {name}.shape[{axis}]")
    for name, node in zip(names, inputs, strict=True):
        _check_shape(write, name, f"input {node.name!r}", node)


def _check_guards(
    write: SourceWriter, outputs: Sequence[Node], guards: Sequence[SizeGuard]
) -> None:
    """Refuse sizes that are too small for what the graph slices or looks up."""
    for guard in guards:
        write(f"if {_size(guard.size)} < 0:")
        text = f"too few elements: {guard.size} must not be negative at {guard.node.where}"
        write(f"    raise ValueError({text!r})")
    for limit in index_limits(outputs):
        if isinstance(limit.high, Dim) and limit.used_by.op.kind in (Kind.GATHER, Kind.SCATTER):
            taken = [f"{_size(n)} > 0" for n in limit.uses]
            write(f"if {' and '.join([f'{_size(limit.high)} == 0', *taken])}:")
            text = f"there is no element to take at {limit.used_by.where}"
            write(f"    raise ValueError({text!r})")


def _expected(node: Node, members: int | None) -> Expected:
    """An array for an output, of all members if there are several."""
    from staticflow.native.calls.jitted import Expected

    if members is None:
        return Expected("out", node.dtype, node.ndim, str(node.type), True)
    text = f"{node.type} for each of {members} members"
    return Expected("out", node.dtype, node.ndim + 1, text, True)


def _check_shape(
    write: SourceWriter, name: str, what: str, node: Node, members: int | None = None
) -> None:
    sizes = [*([] if members is None else [members]), *node.shape]
    wrong = [f"{name}.shape[{axis}] != {_size(n)}" for axis, n in enumerate(sizes)]
    if wrong:
        shape = _tuple([str(n) for n in sizes])
        write(f"if {' or '.join(wrong)}:")
        write(f"    raise ValueError({f'{what} expects shape {shape}'!r})")


def _size(dim: AnyDim) -> str:
    """A size as source over the wrapper's variables."""
    if isinstance(dim, int):
        return str(dim)
    renamed = dim.substitute({name: Dim.named(f"size_{name}") for name in dim.names})
    return f"({size_text(renamed)})" if isinstance(renamed, Dim) else str(renamed)


def _tuple(items: Sequence[str]) -> str:
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _numpy_name(dtype: str) -> str:
    return "bool_" if dtype == "bool" else dtype


def _argument_names(inputs: Sequence[Node]) -> list[str]:
    names: list[str] = []
    for node in inputs:
        name = argument_name(node.name)
        while name in names or name == "out":
            name += "_"
        names.append(name)
    return names


def argument_name(text: str) -> str:
    """A name that is no keyword and none of those that the wrapper uses."""
    return "in_" + identifier(text)


def _describe(names: Sequence[str], inputs: Sequence[Node], outputs: Sequence[Node]) -> str:
    lines = [f"    {name}: {node.type}" for name, node in zip(names, inputs, strict=True)]
    results = ", ".join(str(node.type) for node in outputs)
    return "\n".join([f"Computes {results}, into `out` if given, from", *lines])
