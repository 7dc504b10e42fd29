"""`Session.jit`: the compiled network as a function that the user's own jitted code calls.

    f = session.jit("y")

    @numba.njit
    def simulate(state, steps):
        force = np.empty((1, 1), np.float32)
        for _ in range(steps):
            f(state, force)             # fills `force`, allocates nothing
            ...

A small function is written for each fetch and jitted by Numba: it checks types while it is compiled
and shapes when it is called, and calls the native entry (`reentrant.py`) by its symbol. Parameters
are read where the session keeps them, at each call. Code that Numba has compiled may outlive every
Python reference to what it reads; so what a jitted function reads is kept for the process's life.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from staticflow.checks import index_limits
from staticflow.compile import compile_graph
from staticflow.demands import Demand
from staticflow.dims import AnyDim, Dim
from staticflow.driver_text import size_text
from staticflow.errors import GraphError, fail
from staticflow.feeds import input_nodes
from staticflow.kernel_text import Writer, identifier
from staticflow.native.numba_import import import_numba
from staticflow.node import Kind, Node
from staticflow.parameters import declared_order
from staticflow.program import Program
from staticflow.reentrant import Reentrant, named_sizes

if TYPE_CHECKING:
    from staticflow.session import Session

_KEPT: list[object] = []


def jit_session(session: Session, fetch: Any) -> Any:
    """The Numba function of a fetch; see `Session.jit`."""
    nodes, single = _fetched(session._fetches.resolve(fetch))
    inputs = declared_order(list(input_nodes(nodes).values()))
    _check_sizes(inputs, nodes)
    # What Numba compiles may call it as long as the process lives.
    program = Program(compile_graph(nodes, name="run"), session._toolchain, lasting=True)
    entry = Reentrant(program, inputs, session._fetches.fixed(program), named_sizes(inputs))
    stores = (session._params, session._states)
    flats = [flat.data for store in stores for flat in store.flats.values()]
    _KEPT.append([*entry.memory, *flats, session._seed_cell, session._inference_step])
    name = _identifier(fetch if isinstance(fetch, str) else nodes[0].name)
    return _function(name, inputs, nodes, single, entry, program.demands)


def _fetched(structure: Any) -> tuple[list[Node], bool]:
    """The nodes of a fetch, and whether it is one and not a tuple."""
    if isinstance(structure, Node):
        return [structure], True
    flat = isinstance(structure, tuple | list) and all(isinstance(n, Node) for n in structure)
    if not flat or not structure:
        fail(
            GraphError,
            "jit takes an output's name, a node, or a tuple of them",
            got=type(structure).__name__,
            do="jitted code has no dicts of arrays; fetch a tuple",
        )
    return list(structure), False


def _check_sizes(inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
    plain = {str(n.name) for x in inputs for n in x.shape if isinstance(n, Dim) and n.name}
    lost = [name for name in named_sizes([*inputs, *outputs]) if name not in plain]
    if lost:
        fail(
            GraphError,
            f"jit: no input of the fetch has the dimension {lost[0]!r}",
            do="fetch something that is computed from an input with that dimension",
        )


def _function(
    name: str,
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    single: bool,
    entry: Reentrant,
    demands: Sequence[Demand],
) -> Any:
    import_numba()
    import numba
    import numpy as np

    from staticflow.native.numba_call import Expected, caller, checker, contiguous, overlap

    names = _argument_names(inputs)
    given = [Expected(f"input {x.name!r}", x.dtype, x.ndim, str(x.type), False) for x in inputs]
    results = [Expected("out", y.dtype, y.ndim, str(y.type), True) for y in outputs]
    namespace: dict[str, Any] = {
        "np": np,
        "contiguous": contiguous,
        "overlap": overlap,
        "check_inputs": checker(given),
        "check_out": checker(results),
        "call": caller(entry.function.symbol, entry.context, [*given, *results]),
    }
    source = wrapper_source(name, names, inputs, outputs, single, demands)
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
    demands: Sequence[Demand] = (),
) -> str:
    """The function that Numba compiles: check, allocate what is not given, call."""
    results = [f"result_{i}" for i in range(len(outputs))]
    write = Writer()
    with write.block(f"def {name}({', '.join([*names, 'out=None'])}):"):
        if names:
            write(f"check_inputs({_tuple(names)})")
        _bind_sizes(write, names, inputs)
        _check_demands(write, outputs, demands)
        write("if out is None:")
        for result, node in zip(results, outputs, strict=True):
            shape = _tuple([_size(n) for n in node.shape])
            write(f"    {result} = np.empty({shape}, np.{_numpy_name(node.dtype)})")
        with write.block("else:"):
            write(f"{results[0] if single else _tuple(results)} = out")
            write(f"check_out({_tuple(results)})")
            for result, node in zip(results, outputs, strict=True):
                _check_shape(write, result, "out", node)
        write(f"if overlap({_tuple(results)}, {_tuple(names)}):")
        write("    raise ValueError('out overlaps another argument; pass it its own memory')")
        sizes = _tuple([f"size_{n}" for n in named_sizes(inputs)])
        write(f"code = call({sizes}, {_tuple([*names, *results])})")
        write("if code == 1:")
        write("    raise MemoryError('no memory for the temporaries of a network')")
        write("if code != 0:")
        write("    raise RuntimeError('a custom op raised an error, or returned other shapes')")
        write(f"return {results[0] if single else _tuple(results)}")
    return write.text


def _bind_sizes(write: Writer, names: Sequence[str], inputs: Sequence[Node]) -> None:
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


def _check_demands(write: Writer, outputs: Sequence[Node], demands: Sequence[Demand]) -> None:
    """Refuse sizes that are too small for what the graph slices or looks up."""
    for demand in demands:
        write(f"if {_size(demand.size)} < 0:")
        text = f"too few elements: {demand.size} must not be negative at {demand.node.where}"
        write(f"    raise ValueError({text!r})")
    for limit in index_limits(outputs):
        if isinstance(limit.high, Dim) and limit.used_by.op.kind in (Kind.GATHER, Kind.SCATTER):
            taken = [f"{_size(n)} > 0" for n in limit.uses]
            write(f"if {' and '.join([f'{_size(limit.high)} == 0', *taken])}:")
            text = f"there is no element to take at {limit.used_by.where}"
            write(f"    raise ValueError({text!r})")


def _check_shape(write: Writer, name: str, what: str, node: Node) -> None:
    wrong = [f"{name}.shape[{axis}] != {_size(n)}" for axis, n in enumerate(node.shape)]
    if wrong:
        shape = _tuple([str(n) for n in node.shape])
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
        name = _identifier(node.name)
        while name in names or name == "out":
            name += "_"
        names.append(name)
    return names


def _identifier(text: str) -> str:
    """A name that is no keyword and none of those that the wrapper uses."""
    return "in_" + identifier(text)


def _describe(names: Sequence[str], inputs: Sequence[Node], outputs: Sequence[Node]) -> str:
    lines = [f"    {name}: {node.type}" for name, node in zip(names, inputs, strict=True)]
    results = ", ".join(str(node.type) for node in outputs)
    return "\n".join([f"Computes {results}, into `out` if given, from", *lines])
