"""A graph as one function of a file: its inputs, its outputs, and what it keeps between calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from staticflow.compiler.compile import compile_graph
from staticflow.compiler.lowering.buffers import SUFFIX
from staticflow.compiler.pipeline import PIPELINE
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import evaluate
from staticflow.graph.leaves import Const, Hyper
from staticflow.graph.node import Node
from staticflow.native.memory import LINE, Array
from staticflow.runtime.feeds import input_nodes
from staticflow.runtime.parameters import declared_order
from staticflow.runtime.size_guards import check_size_guards, size_guards_of
from staticflow.session.interchange.c_out.driver import CDriver
from staticflow.session.interchange.c_out.fold import folded
from staticflow.session.interchange.c_out.stream import Step
from staticflow.session.interchange.c_out.text import Argument, Entry, Field, Module
from staticflow.session.interchange.c_out.words import C_TYPES, comment, identifier

# Passes for native code alone: blocks that threads share, panels in the native product's order,
# tiles in registers, rows abreast, and loops as kernels. C has the loops as they are.
_LEFT_OUT = (
    "in_row_blocks", "in_halves", "prepack", "fuse_epilogues", "widen_steps", "loop_kernels",
    "stacked_products", "mark_owner_computes", "mark_split_k",
)  # fmt: skip
C_PIPELINE = tuple(each for each in PIPELINE if each.name not in _LEFT_OUT)


@dataclass(frozen=True)
class Graph:
    """What is to be written: outputs by name, and the values of parameters and states."""

    outputs: Mapping[str, Node]
    values: Mapping[str, Array]
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Body:
    """The lines of a function, and the scratch memory that they need."""

    declarations: Sequence[str]
    text: str
    scratch: int


def body_of(
    module: Module, graph: Graph, inputs: Mapping[Node, str], results: Sequence[str]
) -> Body:
    """The lines that compute the outputs of a graph from what its inputs are called."""
    roots = folded(list(graph.outputs.values()), graph.values, list(inputs))
    compiled = compile_graph(roots, pipeline=C_PIPELINE, name="c")
    check_size_guards(size_guards_of([*compiled.sized.order], {}), graph.sizes)
    by_class = compiled.sized.sizes_by_name(graph.sizes)
    names: dict[int, str] = {}
    copies = []
    for name, buffer in zip(results, compiled.output_buffers, strict=True):
        first = names.setdefault(buffer, name)
        if first != name:
            copies.append((name, first, buffer))
    leaves = {b.index: b.node for b in compiled.assignment.buffers if b.role == "leaf"}
    for index, node in leaves.items():
        names[index] = inputs[node] if node in inputs else module.array_name(node)
    driver = CDriver(compiled, by_class, names, module)
    for step in compiled.steps:
        driver.step(step)
    for name, first, buffer in copies:
        count = driver.size(compiled.assignment.buffers[buffer].count)
        driver.write(f"memcpy({name}, {first}, {count} * sizeof *{name});")
    found = []
    for index in sorted(driver.used & leaves.keys()):
        if leaves[index] not in inputs:
            found += _enter(leaves[index], names[index], graph, module)
    scratch = compiled.memory.offsets(by_class)[1]
    return Body([*found, *driver.declarations()], driver.write.text, scratch)


def _enter(node: Node, name: str, graph: Graph, module: Module) -> list[str]:
    """Enter the values of a parameter, a state or a constant among the arrays."""
    if isinstance(node.op, Hyper):
        fail(
            GraphError,
            "export_c: random values cannot be written in C",
            do="draw them outside, and make them an input",
            where=node.where,
        )
    values = node.op.value if isinstance(node.op, Const) else graph.values[node.name]
    what = comment(f"{node.name}: {node.type}")
    return module.enter_array(name, np.asarray(values), SUFFIX[node.dtype], what)


def _arguments(module: Module, graph: Graph, skip: Sequence[Node] = ()) -> dict[Node, Argument]:
    """The inputs in order of declaration; then come outputs."""
    nodes = input_nodes(list(graph.outputs.values()))
    own = declared_order([node for node in nodes.values() if node not in skip])
    return {
        node: Argument.of(node, module.argument(node.name), node.name, graph.sizes, True)
        for node in own
    }


def _results(module: Module, graph: Graph, names: Sequence[str]) -> list[Argument]:
    return [
        Argument.of(graph.outputs[name], module.argument(name), name, graph.sizes, False)
        for name in names
    ]


def predict(name: str, graph: Graph, module: Module) -> Entry:
    """The function that computes all outputs of all inputs."""
    inputs, results = _arguments(module, graph), _results(module, graph, list(graph.outputs))
    called = {node: argument.name for node, argument in inputs.items()}
    body = body_of(module, graph, called, [a.name for a in results])
    what = f"Computes {', '.join(graph.outputs)} at inference."
    arguments = [*inputs.values(), *results]
    return Entry(name, what, arguments, body.declarations, body.text, body.scratch)


def enter_step(
    module: Module, graph: Graph, step: Step, starts: Sequence[Array], verb: str, what: str
) -> Mapping[Node, str]:
    """Add the function of one step, the one that begins anew, and the struct of what they hand on.

    `graph` has the outputs of the step. Returns what its inputs that are handed on are called.
    """
    fields = _fields(step)
    nexts = {f"next {field.name}": c.after for field, c in zip(fields, step.carried, strict=True)}
    whole = Graph({**graph.outputs, **nexts}, graph.values, graph.sizes)
    befores = [c.before for c in step.carried]
    inputs = _arguments(module, whole, befores)
    results = _results(module, whole, list(graph.outputs))
    kept = {node: f"state->{f.name}" for node, f in zip(befores, fields, strict=True)}
    called = {**{node: argument.name for node, argument in inputs.items()}, **kept}
    after = [identifier(f"next_{field.name}", module.taken) for field in fields]
    body = body_of(module, whole, called, [*(a.name for a in results), *after])
    declarations, scratch = [*body.declarations], body.scratch
    copies = []
    for name, field in zip(after, fields, strict=True):
        kind = C_TYPES[field.suffix]
        place = f"({kind} *)(void *)((unsigned char *)scratch + {scratch})"
        declarations.append(f"{kind} *const {name} = {place};")
        copies.append(f"memcpy(state->{field.name}, {name}, sizeof state->{field.name});")
        scratch += -(-field.bytes // LINE) * LINE
    text = body.text + "".join(f"{line}\n" for line in copies)
    arguments = [*inputs.values(), *results]
    module.fields = fields
    module.entries.append(_reset(module, fields, starts))
    name = f"{module.name}_{verb}"
    module.entries.append(Entry(name, what, arguments, declarations, text, scratch, "step"))
    return kept


def enter_reader(module: Module, graph: Graph, kept: Mapping[Node, str]) -> None:
    """Add the function that computes outputs from what steps hand on."""
    inputs, results = (
        _arguments(module, graph, list(kept)),
        _results(module, graph, list(graph.outputs)),
    )
    called = {**{node: argument.name for node, argument in inputs.items()}, **kept}
    body = body_of(module, graph, called, [a.name for a in results])
    what = f"Computes {', '.join(graph.outputs)} at inference, by the parameters of the state."
    name, arguments = f"{module.name}_predict", [*inputs.values(), *results]
    entry = Entry(name, what, arguments, body.declarations, body.text, body.scratch, "reader")
    module.entries.append(entry)


def _fields(step: Step) -> list[Field]:
    taken: set[str] = set()
    fields = []
    for carried in step.carried:
        shape = tuple(evaluate(n, {}) for n in carried.before.shape)
        name, suffix = identifier(carried.name, taken), SUFFIX[carried.before.dtype]
        fields.append(Field(name, suffix, shape, str(carried.start.where)))
    return fields


def _reset(module: Module, fields: Sequence[Field], starts: Sequence[Array]) -> Entry:
    """The function that gives the state what the first sample finds."""
    lines, found = list[str](), list[str]()
    for field, start in zip(fields, starts, strict=True):
        array = np.asarray(start)
        if not array.any() and not np.signbit(array).any():
            lines.append(f"memset(state->{field.name}, 0, sizeof state->{field.name});")
            continue
        name = identifier(f"{module.name}_first_{field.name}", module.taken)
        found += module.enter_array(name, array, field.suffix, f"first {field.name}")
        lines.append(f"memcpy(state->{field.name}, {name}, sizeof state->{field.name});")
    what = "Begins anew: to be called first."
    text = "".join(f"{line}\n" for line in lines)
    return Entry(f"{module.name}_reset", what, [], found, text, 0, "reset")
