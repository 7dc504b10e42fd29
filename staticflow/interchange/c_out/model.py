"""A session's outputs as a C99 file and its header; see `Session.export_c`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from staticflow.compiler.compile import compile_graph
from staticflow.compiler.lowering.buffers import SUFFIX
from staticflow.compiler.passes.simplify import resolve_mode
from staticflow.compiler.pipeline import PIPELINE
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import Dim, names_of
from staticflow.graph.leaves import Const, Hyper
from staticflow.graph.node import Node
from staticflow.graph.traversal import dims_of, toposort
from staticflow.interchange.c_out.arrays import array_text
from staticflow.interchange.c_out.driver import CDriver
from staticflow.interchange.c_out.text import Argument, Entry, Module
from staticflow.interchange.c_out.words import comment, identifier
from staticflow.interchange.onnx_out.model import chosen
from staticflow.native.memory import Array
from staticflow.runtime.feeds import input_nodes
from staticflow.runtime.size_guards import check_size_guards, size_guards_of
from staticflow.session.ensemble import Ensemble
from staticflow.session.files.atomic_file import check_target, write_whole
from staticflow.session.files.file_version import written

# Passes for native code alone: blocks that threads share, panels in the native product's order,
# tiles in registers, rows abreast, and loops as kernels. C has the loops as they are.
_LEFT_OUT = (
    "in_row_blocks", "in_halves", "prepack", "fuse_epilogues", "widen_steps", "loop_kernels",
    "stacked_products", "mark_owner_computes", "mark_split_k",
)  # fmt: skip
C_PIPELINE = tuple(each for each in PIPELINE if each.name not in _LEFT_OUT)


NOTES = (
    f"Written by staticflow {written()['written_by']}.",
    "C99, libm; no memory is allocated, nothing is kept between calls. Compile it with -std=c99;"
    " on x86 and Arm, -O3 -march=native makes vectors.",
)


@dataclass(frozen=True)
class Graph:
    """What is to be written: outputs by name, and the values of parameters and states."""

    outputs: Mapping[str, Node]
    values: Mapping[str, Array]
    sizes: Mapping[str, int]


def export_c(
    session: Any, path: Any, outputs: Any = None, sizes: Mapping[str, int] | None = None
) -> None:
    """Write a C file and its header; see `Session.export_c`."""
    target = Path(path)
    if target.suffix != ".c":
        fail(GraphError, "export_c: the file is to be called something.c", got=str(path))
    header = target.with_suffix(".h")
    check_target(target)
    module = module_of(session, identifier(target.stem), outputs, sizes)
    _write(target, module.source(header.name))
    _write(header, module.header())


def _write(path: Path, text: str) -> None:
    def write(file: IO[bytes]) -> None:
        file.write(text.encode("ascii"))

    write_whole(path, write)


def module_of(
    session: Any, name: str, outputs: Any = None, sizes: Mapping[str, int] | None = None
) -> Module:
    """The text of a session's outputs, whose functions begin with a name."""
    if isinstance(session, Ensemble):
        fail(
            GraphError,
            "export_c: this session has members, of which each is a network",
            do="export one of them: session.member(k).export_c(...)",
        )
    values = {**session.states, **session.params}
    return module_for(chosen(session, outputs, "export_c"), values, name, sizes)


def module_for(
    outputs: Mapping[str, Node],
    values: Mapping[str, Array],
    name: str,
    sizes: Mapping[str, int] | None = None,
) -> Module:
    """The text of outputs by name; `values` are those of parameters and states."""
    module = Module(name, NOTES)
    enter(module, f"{name}_predict", outputs, values, sizes)
    return module


def enter(
    module: Module,
    name: str,
    outputs: Mapping[str, Node],
    values: Mapping[str, Array],
    sizes: Mapping[str, int] | None = None,
) -> None:
    """Add a function to a module; raises GraphError for what C has no words for."""
    roots = resolve_mode(list(outputs.values()), training=False)
    named = dict(zip(outputs, roots, strict=True))
    module.entries.append(predict(name, Graph(named, values, _sizes(roots, sizes or {})), module))


def _sizes(roots: Sequence[Node], given: Mapping[str, int]) -> dict[str, int]:
    """The sizes of all named dimensions; that which leads inputs is 1 unless it is given."""
    inputs = input_nodes(roots).values()
    names = names_of(dim for node in toposort(roots) for dim in dims_of(node))
    leading = {x.shape[0].name for x in inputs if x.ndim and isinstance(x.shape[0], Dim)}
    unknown = [name for name in given if name not in names]
    if unknown:
        fail(
            GraphError,
            f"export_c: there is no dimension {unknown[0]!r}",
            got=f"sizes of {', '.join(given)}",
            do=f"the named dimensions are {', '.join(sorted(names)) or 'none'}",
        )
    found = {}
    for name in sorted(names):
        size = given.get(name, 1 if name in leading else None)
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            fail(
                GraphError,
                f"export_c: the size of dimension {name!r} is fixed in C",
                got=f"{size!r}",
                do=f"give it, as in sizes={{{name!r}: 16}}",
            )
        found[name] = size
    return found


def predict(name: str, graph: Graph, module: Module) -> Entry:
    """The function that computes all outputs of all inputs."""
    roots = list(graph.outputs.values())
    compiled = compile_graph(roots, pipeline=C_PIPELINE, name="c")
    check_size_guards(size_guards_of([*compiled.sized.order], {}), graph.sizes)
    by_class = compiled.sized.sizes_by_name(graph.sizes)
    inputs = {
        node: Argument.of(node, module.argument(label), label, graph.sizes, True)
        for label, node in input_nodes(roots).items()
    }
    results = [
        Argument.of(node, module.argument(label), label, graph.sizes, False)
        for label, node in graph.outputs.items()
    ]
    names: dict[int, str] = {}
    copies = []
    for argument, buffer in zip(results, compiled.output_buffers, strict=True):
        first = names.setdefault(buffer, argument.name)
        if first != argument.name:
            copies.append(f"memcpy({argument.name}, {first}, {argument.count} * sizeof *{first});")
    leaves = {b.index: b.node for b in compiled.assignment.buffers if b.role == "leaf"}
    for index, node in leaves.items():
        names[index] = inputs[node].name if node in inputs else module.array_name(node.name)
    driver = CDriver(compiled, by_class, names, module)
    for step in compiled.steps:
        driver.step(step)
    for line in copies:
        driver.write(line)
    for index in sorted(driver.used & leaves.keys()):
        if leaves[index] not in inputs:
            _enter(leaves[index], names[index], graph, module)
    arguments = [*inputs.values(), *results]
    what = f"Computes {', '.join(graph.outputs)} at inference."
    scratch = compiled.memory.offsets(by_class)[1]
    return Entry(name, what, arguments, driver.declarations(), driver.write.text, scratch)


def _enter(node: Node, name: str, graph: Graph, module: Module) -> None:
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
    module.arrays[name] = array_text(name, np.asarray(values), SUFFIX[node.dtype], what)
