"""`Session.jit`: the compiled network as a function that the user's own jitted code calls.

    f = session.jit("y")

    @numba.njit
    def simulate(state, steps):
        force = np.empty((1, 1), np.float32)
        for _ in range(steps):
            f(state, force)             # fills `force`, allocates nothing
            ...

A small function is written for each fetch and jitted by Numba (`jit_function`). Parameters
are read where the session keeps them, at each call. Code that Numba has compiled may outlive every
Python reference to what it reads; so what a jitted function reads is kept for the process's life.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticflow.compiler.compile import compile_graph
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import Dim
from staticflow.graph.node import Node
from staticflow.native.memory import words_of
from staticflow.runtime.feeds import input_nodes
from staticflow.runtime.jit_function import argument_name, jit_function
from staticflow.runtime.parameters import declared_order
from staticflow.runtime.program import Program
from staticflow.runtime.reentrant import Reentrant, named_sizes
from staticflow.session.run.fetch import Fetches

_KEPT: list[object] = []


def jit(fetches: Fetches, fetch: Any) -> Any:
    """The Numba function of a fetch; see `Session.jit`."""
    state = fetches.state
    nodes, single = _fetched(fetches.resolve(fetch))
    inputs = declared_order(list(input_nodes(nodes).values()))
    _check_sizes(inputs, nodes)
    # What Numba compiles may call it as long as the process lives.
    program = Program(compile_graph(nodes, name="run"), state.toolchain, lasting=True)
    each = fetches.each()
    sizes = named_sizes(inputs)
    entries = [Reentrant(program, inputs, own.fixed(program), sizes) for own in each]
    entry = entries[0]
    stores = [store for own in each for store in (own.state.params, own.state.states)]
    flats = [flat.data for store in stores for flat in store.flats.values()]
    cells = [cell for own in each for cell in (own.state.seed_cell, own.state.run_cell)]
    _KEPT.append([*(array for one in entries for array in one.memory), *flats, *cells])
    contexts = None
    if fetches.has_members:
        contexts = words_of(one.context for one in entries)
        _KEPT.append(contexts)
    name = argument_name(fetch if isinstance(fetch, str) else nodes[0].name)
    return jit_function(name, inputs, nodes, single, entry, program.size_guards, contexts)


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
