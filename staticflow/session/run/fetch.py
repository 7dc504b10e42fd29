"""What a session computes on demand: fetches, each a compiled program with its runner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.checks import check_outside_loops
from staticflow.graph.leaves import Hyper, Param, State
from staticflow.graph.node import Node
from staticflow.graph.pytree import flatten, rebuild_like
from staticflow.graph.traversal import leaves
from staticflow.native.memory import Array, filled
from staticflow.native.threads.call_pool import CallPool
from staticflow.native.toolchain.forks import ForkAware
from staticflow.runtime.fast_call import FastCall, compile_rows, leading
from staticflow.runtime.feeds import (
    as_array,
    bind_sizes,
    checked_feeds,
    input_nodes,
    match_feeds,
    measured,
)
from staticflow.runtime.index_checks import check_indices, index_limits
from staticflow.runtime.program import Program
from staticflow.runtime.program_table import OutputGraph, shared
from staticflow.runtime.runner import Runner
from staticflow.session.state.session_state import SessionState
from staticflow.training.check_numerics import checked_run


class Fetch(NamedTuple):
    """A compiled fetch."""

    runner: Runner
    names: list[str]  # of its inputs
    structure: Any  # the fetch with its names replaced by nodes
    numbers: list[str]  # of a run that draws: which of seed and step are the last inputs


class Fetches(ForkAware):
    """The fetches of a session, compiled when they are first asked for, also while it trains."""

    def __init__(self, state: SessionState) -> None:
        super().__init__()
        self.state = state
        self._lock = threading.RLock()  # the session's own is held by a fit until it ends
        self.known: dict[Any, Fetch] = {}
        self._fast: dict[Any, Callable[[Any], Any]] = {}

    def after_fork_in_child(self) -> None:
        """Nobody holds the lock."""
        self._lock = threading.RLock()

    has_members = False

    def each(self) -> list[Fetches]:
        """Those of each member; of a session without members these alone."""
        return [self]

    def forget(self) -> None:
        """Compile what is fetched again when it is next asked for."""
        with self._lock:
            self.known, self._fast = {}, {}
            vars(self).pop("pool", None)

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None, seed: int | None = None) -> Any:
        """The values, in the structure of the fetches; a `seed` says what is drawn."""
        # Unions of types are made and looked into at each call: too slow for small runs.
        if type(fetches) is str or isinstance(fetches, Node):
            fast = None if isinstance(feeds, tuple) else self._fast.get(fetches)
            found = None if fast is None else fast(feeds)
            if found is not None:
                return found
        fetch = self.fetch(fetches)
        arrays = [*self.feed(fetch, {} if feeds is None else feeds), *self.numbers(fetch, seed)]
        if self.state.check_numerics:
            values = checked_run(fetch.runner, arrays)
        else:
            values = fetch.runner(arrays)
        return rebuild_like(fetch.structure, iter(values))

    def fetch(self, fetches: Any) -> Fetch:
        """The fetch, compiled."""
        self._check_structure(fetches)
        key = fetches if isinstance(fetches, str | Node) else structure_key(fetches)
        with self._lock:
            if key not in self.known:
                structure = self.resolve(fetches)
                runner = self._runner(flatten(structure))
                numbers = [x.name for x in runner.inputs if isinstance(x.op, Hyper)]
                names = [x.name for x in runner.inputs if not isinstance(x.op, Hyper)]
                self.known[key] = Fetch(runner, names, structure, numbers)
                plain = not runner.limits and not numbers and isinstance(structure, Node)
                if runner.fast_call and plain:
                    self._fast[key] = runner.fast_call.function
            return self.known[key]

    def feed(self, fetch: Fetch, feeds: Mapping[Any, Any]) -> list[Array]:
        """What is fed, checked and in order."""
        runner, names = fetch.runner, fetch.names
        feeds = checked_feeds(names, feeds)
        if len(feeds) == len(runner.inputs) == 1:
            (key,), (name,) = feeds, names
            value = feeds[key]
            node = runner.inputs[0]
            known = key == name or key is node
            if known and runner.accepts((value,)):
                return [value]
        inputs = dict(zip(names, runner.inputs, strict=False))
        named = match_feeds(inputs, feeds, self.state.graph.inputs)
        arrays = {name: as_array(inputs[name], named[name]) for name in names}
        check_indices(runner.limits, arrays, bind_sizes(inputs, arrays))
        return list(arrays.values())

    def numbers(self, fetch: Fetch, seed: int | None = None) -> list[Array]:
        """The last inputs of a run that draws: the session's seed and the number of the run, which
        is counted, or a seed alone.
        """
        if not fetch.numbers:
            return []
        state = self.state
        # Training steps are numbered from 1; runs downwards from 0 draw other numbers than they.
        run = 0 if seed is not None else -state.count_run()
        values = {"seed": state.seed if seed is None else seed, "step": run}
        return [filled(values[name], np.int64) for name in fetch.numbers]

    def _runner(self, nodes: Sequence[Node]) -> Runner:
        state = self.state
        inputs = list(input_nodes(nodes).values())
        program = self._program(nodes, inputs)
        batch = program.compiled.sharding.shard or ""
        inputs += measured(program.dimensions, inputs, state.graph.inputs)
        drawn = [n for n in program.leaves if isinstance(n.op, Hyper)]
        inputs += drawn
        fixed = {n: a for n, a in self.fixed(program).items() if n not in drawn}
        runner = Runner(program, inputs, fixed, state.gate)
        runner.limits = index_limits(nodes)
        if not state.check_numerics and FastCall.fits(inputs):
            helpers = self.pool if batch else None
            gate = state.gate.address
            runner.fast_call = FastCall(program, inputs, fixed, batch, helpers, gate=gate)
        return runner

    def _program(self, nodes: Sequence[Node], inputs: Sequence[Node]) -> Program:
        """The program of some outputs, which other sessions of the same structure may have."""
        toolchain, batch = self.state.toolchain, leading(nodes, inputs)

        def make(graph: OutputGraph) -> Program:
            return Program(compile_rows(graph.nodes, batch), toolchain)

        graph = OutputGraph("run", nodes)
        if self.state.check_numerics:  # faults are looked for in the graph itself
            return make(graph)
        return shared(toolchain, graph, make)

    @cached_property
    def pool(self) -> CallPool | None:
        """The threads that help with long runs."""
        state = self.state
        if state.threads == 1:
            return None
        return CallPool(state.threads - 1, state.toolchain)

    def fixed(self, program: Program) -> dict[Node, int]:
        """The addresses of everything but inputs."""
        state = self.state
        fixed: dict[Node, int] = {}
        for node in program.leaves:
            if isinstance(node.op, Param):
                fixed[node] = state.params.address(node)
            elif isinstance(node.op, State):
                fixed[node] = state.states.address(node)
            elif isinstance(node.op, Hyper):
                cell = state.run_cell if node.op.label == "step" else state.seed_cell
                fixed[node] = cell.ctypes.data
        return fixed

    def resolve(self, fetches: Any) -> Any:
        """Fetches with names replaced by nodes."""
        graph = self.state.graph
        if isinstance(fetches, str):
            named = graph.outputs if isinstance(graph.outputs, dict) else {}
            loss = {} if graph.loss is None else {"loss": graph.loss}
            extra = {**graph.metrics, **loss}
            if fetches not in named and fetches not in extra:
                fail(
                    GraphError,
                    f"there is no output {fetches!r}",
                    do=f"the outputs are {', '.join(map(repr, [*named, *extra])) or 'none'}",
                )
            return named.get(fetches, extra.get(fetches))
        if isinstance(fetches, dict):
            return {k: self.resolve(v) for k, v in fetches.items()}
        if isinstance(fetches, list | tuple):
            return type(fetches)(self.resolve(v) for v in fetches)
        if isinstance(fetches, Node):
            check_outside_loops([fetches])
            self._check_reach(fetches)
            return fetches
        self._refuse_fetch(fetches)

    def _check_structure(self, fetches: Any) -> None:
        """Refuse what is no fetch; feeds most likely, if inputs have names in it."""
        if isinstance(fetches, str | Node):
            return
        if isinstance(fetches, dict | list | tuple):
            for value in fetches.values() if isinstance(fetches, dict) else fetches:
                if not isinstance(value, str | Node | dict | list | tuple):
                    self._refuse_fetch(fetches)
                self._check_structure(value)
            return
        self._refuse_fetch(fetches)

    def _refuse_fetch(self, fetches: Any) -> NoReturn:
        graph = self.state.graph
        named = graph.outputs if isinstance(graph.outputs, dict) else {}
        fed = isinstance(fetches, Mapping) and any(key in graph.inputs for key in fetches)
        output = repr(next(iter(named), "loss"))
        feeds = ", ".join(f"{name!r}: ..." for name in fetches) if fed else "'x': ..."
        fail(
            GraphError,
            "a fetch is a name, a node, or a list, tuple or dict of them",
            got="what looks like feeds" if fed else f"{type(fetches).__name__} {fetches!r}"[:80],
            do=f"say what to compute before what is fed: session.run({output}, {{{feeds}}})",
        )

    def _check_reach(self, node: Node) -> None:
        for kind, store in ((Param, self.state.params), (State, self.state.states)):
            unknown = [p for p in leaves([node], kind) if store.nodes.get(p.name) is not p]
            if unknown:
                fail(
                    GraphError,
                    f"the fetched node uses {store.what} {unknown[0].name!r}, "
                    "which is not this session's",
                    do="pass the node in outputs= when making the session",
                )


def structure_key(fetches: Any) -> Any:
    """What stands for a fetch in a table."""
    if isinstance(fetches, dict):
        return ("dict", *((k, structure_key(v)) for k, v in fetches.items()))
    if isinstance(fetches, list | tuple):
        return (type(fetches).__name__, *(structure_key(v) for v in fetches))
    return fetches
