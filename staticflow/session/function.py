"""Stateless compiled functions: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from staticflow.compiler.compile import compile_graph
from staticflow.compiler.passes.simplify import resolve_mode
from staticflow.compiler.sharing import has_large_products
from staticflow.errors import GraphError, fail
from staticflow.graph.checks import check_integer, check_outside_loops
from staticflow.graph.leaves import Const, Hyper, Input, Leaf
from staticflow.graph.node import Node
from staticflow.graph.pytree import flatten, rebuild_like
from staticflow.graph.traversal import leaves
from staticflow.native import memory
from staticflow.native.memory import Array
from staticflow.native.toolchain.toolchain import toolchain
from staticflow.runtime.fast_call import FastCall
from staticflow.runtime.feeds import as_array, bind_sizes
from staticflow.runtime.index_checks import check_indices, index_limits
from staticflow.runtime.printing.module_source import outputs_source
from staticflow.runtime.program import Program
from staticflow.runtime.program_table import OutputGraph, shared
from staticflow.runtime.runner import Runner
from staticflow.session.files.file_errors import checked
from staticflow.session.files.file_version import check_version, written


class Function:
    """A compiled function of its inputs; see `function`."""

    def __init__(self, inputs: Sequence[Node], outputs: Any, seed: int = 0) -> None:
        self.inputs = tuple(inputs)
        self.outputs = outputs
        self.seed = check_integer("the seed", seed, 0, "pass seed=0, for example")
        self._structured = _structurer(outputs)
        nodes = resolve_mode(flatten(outputs), training=False)
        if not nodes:
            fail(GraphError, "a function needs at least one output")
        self.names = _names(self.inputs)
        self._handed = _output_builder(outputs) if len(nodes) == 1 else self._structured
        check_outside_loops(nodes)
        self._check_leaves(nodes)
        program = _program(nodes)
        self._cells = {
            "seed": memory.filled([self.seed], np.int64),
            "step": memory.zeros((1,), np.int64),
        }
        fixed = {
            node: self._cells[node.op.label].ctypes.data
            for node in program.leaves
            if isinstance(node.op, Hyper)
        }
        self.runner = Runner(program, self.inputs, fixed)
        self.runner.limits = index_limits(nodes)
        self._short = self._short_way(program)

    def _short_way(self, program: Program) -> Callable[[Any], Any] | None:
        """What takes the arrays in order in one native call; None for arrays that it can't take.

        Large products have helpers of their own, who are called by the long way.
        """
        if not self.inputs or self.runner.limits or not FastCall.fits(self.inputs):
            return None

        def suits(env: Mapping[str, int]) -> bool:
            compiled = program.compiled
            return not has_large_products(compiled.steps, compiled.sized.sizes_by_name(env))

        self.runner.fast_call = FastCall(program, self.inputs, self.runner.fixed, suits=suits)
        return self.runner.fast_call.function

    def _check_leaves(self, nodes: Sequence[Node]) -> None:
        for leaf in leaves(nodes, Leaf):
            if leaf in self.inputs or isinstance(leaf.op, Const | Hyper):
                continue
            fail(
                GraphError,
                f"the outputs depend on {type(leaf.op).__name__.lower()} {leaf.name!r}, "
                "which is not among the inputs",
                got=f"declared at {leaf.where}",
                do="add it to the inputs",
            )

    def __call__(self, *values: Any, **named: Any) -> Any:
        """The outputs, as new arrays in the structure that was declared."""
        if not named and len(values) == len(self.inputs):
            if self._short is not None:
                found = self._short(values)
                if found is not None:
                    return self._handed(found)
            if self.runner.accepts(values):
                return self._structured(self.runner.long_way(values))
        return self._structured(self._run_checked(values, named))

    def _run_checked(self, values: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        """The outputs for inputs of any kind that converts to what is declared."""
        bound = list(values)
        if len(values) > len(self.inputs):
            fail(GraphError, f"the function takes {len(self.inputs)} arrays", f"{len(values)}")
        for name in self.names[len(values) :]:
            if name not in named:
                fail(GraphError, f"no value for input {name!r}", do=f"inputs: {self.names}")
            bound.append(named.pop(name))
        if named:
            fail(GraphError, f"there is no further input {next(iter(named))!r}")
        arrays = [as_array(n, v) for n, v in zip(self.inputs, bound, strict=True)]
        by_name = dict(zip(self.names, arrays, strict=True))
        env = bind_sizes(dict(zip(self.names, self.inputs, strict=True)), by_name)
        check_indices(self.runner.limits, by_name, env)
        return self.runner(arrays, env)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The graph as data, as in a saved session."""
        from staticflow.runtime.graph_json import Encoder

        encoder = Encoder()
        data = {
            **written(),
            "inputs": encoder.structure(list(self.inputs)),
            "outputs": encoder.structure(self.outputs),
            "seed": self.seed,
            "nodes": encoder.nodes,
        }
        return function_from_pickle, (data, encoder.tensors)

    def __copy__(self) -> Function:
        return self  # it has no state

    def __deepcopy__(self, memo: object) -> Function:
        return self

    @property
    def source(self) -> str:
        """A module of the generated functions, which runs by itself: `python FILE`."""
        return outputs_source(self.runner.program, self.inputs, {"seed": self.seed})


def function_from_pickle(data: dict[str, Any], tensors: dict[str, Array]) -> Function:
    """What pickle makes a function of again."""
    from staticflow.session.files.decode import Decoder, check_sizes

    def made() -> Function:
        decoder = Decoder(data["nodes"], [], tensors)
        inputs, outputs = (decoder.structure(data[key]) for key in ("inputs", "outputs"))
        check_sizes(flatten(outputs))
        return Function(inputs, outputs, data.get("seed", 0))

    check_version("a pickled function", data)
    return checked("a pickled function", made)


def _program(nodes: Sequence[Node]) -> Program:
    """The program of a function, which others of the same structure may have."""

    def make(graph: OutputGraph) -> Program:
        compiled = compile_graph(graph.nodes, standalone=True, name="function")
        return Program(compiled, toolchain())

    return shared(toolchain(), OutputGraph("function", nodes), make)


def _structurer(outputs: Any) -> Callable[[list[Any]], Any]:
    """What puts results into the structure of `outputs`: the plain ones cost no recursion."""
    if isinstance(outputs, Node):
        return lambda results: results[0]
    if type(outputs) in (list, tuple) and all(isinstance(x, Node) for x in outputs):
        return type(outputs)
    return lambda results: rebuild_like(outputs, iter(results))


def _output_builder(outputs: Any) -> Callable[[Any], Any]:
    """What puts a single result into the structure of `outputs`."""
    if isinstance(outputs, Node):
        return lambda result: result
    if type(outputs) is list and isinstance(outputs[0], Node):
        return lambda result: [result]
    return lambda result: rebuild_like(outputs, iter([result]))


def _names(inputs: Sequence[Node]) -> list[str]:
    names: list[str] = []
    for node in inputs:
        if not isinstance(node, Node) or not isinstance(node.op, Leaf):
            fail(GraphError, "the inputs of a function are inputs and params", got=repr(node))
        if node.name in names:
            fail(GraphError, f"two inputs are called {node.name!r}", do="give each its own name")
        names.append(node.name)
    return names


def function(inputs: Any, outputs: Any, seed: int = 0) -> Function:
    """Compile a stateless function of `inputs` (a node or a list of them).

    Call it with arrays in their order or by name; it returns new arrays in the structure of
    `outputs`. Inputs may be `sf.input`s and `sf.param`s; every one that the outputs reach must be
    given. Random values are those of the `seed`, the same at each call.
    """
    nodes = [inputs] if isinstance(inputs, Node) else list(inputs)
    if not all(isinstance(node.op, Input | Leaf) for node in nodes if isinstance(node, Node)):
        fail(GraphError, "the inputs of a function are inputs and params")
    return Function(nodes, outputs, seed)
