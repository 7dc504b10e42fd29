"""A session's outputs as a C99 file and its header; see `Session.export_c`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from staticflow.compiler.passes.simplify import resolve_mode
from staticflow.errors import GraphError, fail
from staticflow.graph.dims import Dim, names_of
from staticflow.graph.leaves import State
from staticflow.graph.loop_op import substitute
from staticflow.graph.node import Node
from staticflow.graph.state_updates import updates_of
from staticflow.graph.traversal import dims_of, leaves, toposort
from staticflow.native.memory import Array
from staticflow.runtime.feeds import input_nodes
from staticflow.session.ensemble import Ensemble
from staticflow.session.files.atomic_file import check_target, write_whole
from staticflow.session.files.file_version import written
from staticflow.session.interchange.c_out.derivatives import check_dtype, jacobians
from staticflow.session.interchange.c_out.program import Graph, enter_reader, enter_step, predict
from staticflow.session.interchange.c_out.stream import one_step, starts_of
from staticflow.session.interchange.c_out.text import Module
from staticflow.session.interchange.c_out.training import training_step
from staticflow.session.interchange.c_out.words import identifier
from staticflow.session.interchange.onnx_out.model import chosen

NOTES = (
    f"Written by staticflow {written()['written_by']}.",
    "C99, libm; no memory is allocated, nothing is kept between calls. Compile it with -std=c99;"
    " on x86 and Arm, -O3 -march=native makes vectors.",
)


def export_c(session: Any, path: Any, **options: Any) -> None:
    """Write a C file and its header, with the options of `module_of`; see `Session.export_c`."""
    target = Path(path)
    if target.suffix != ".c":
        fail(GraphError, "export_c: the file is to be called something.c", got=str(path))
    header = target.with_suffix(".h")
    check_target(target)
    module = module_of(session, identifier(target.stem), **options)
    _write(target, module.source(header.name).encode("ascii"))
    _write(header, module.header().encode("ascii"))
    if module.blob is not None:
        _write(target.with_suffix(".bin"), bytes(module.blob))


def _write(path: Path, data: bytes) -> None:
    def write(file: IO[bytes]) -> None:
        file.write(data)

    write_whole(path, write)


def module_of(
    session: Any,
    name: str,
    outputs: Any = None,
    sizes: Mapping[str, int] | None = None,
    stream: str | None = None,
    carry: Sequence[str] = (),
    training: bool = False,
    weights: str = "arrays",
    dtype: str | None = None,
    derivatives: Sequence[str] = (),
) -> Module:
    """The text of a session's outputs, whose functions begin with a name."""
    if isinstance(session, Ensemble):
        fail(
            GraphError,
            "export_c: this session has members, of which each is a network",
            do="export one of them: session.member(k).export_c(...)",
        )
    values = {**session.states, **session.params}
    if weights not in ("arrays", "file"):
        fail(GraphError, 'export_c: weights are "arrays" or a "file"', got=repr(weights))
    module = Module(name, NOTES, blob=bytearray() if weights == "file" else None)
    some = outputs is not None or not training or bool(session.outputs)
    nodes = chosen(session, outputs, "export_c") if some else {}
    check_dtype(nodes, dtype)
    slopes = jacobians(nodes, derivatives)
    if training:
        if stream is not None or carry:
            fail(GraphError, "export_c: a training step is of whole sequences",
                 do="export it without stream= and carry=")  # fmt: skip
        _enter_training(module, session, nodes, sizes or {})
    elif stream is None and not carry:
        enter(module, f"{name}_predict", nodes, values, sizes)
    else:
        _enter_step(module, nodes, values, dict(sizes or {}), stream, carry)
    if slopes:
        enter(module, f"{name}_derivatives", slopes, values, sizes)
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


def _enter_step(
    module: Module,
    outputs: Mapping[str, Node],
    values: Mapping[str, Array],
    given: dict[str, int],
    stream: str | None,
    carry: Sequence[str],
) -> None:
    """Add the functions of one step over a dimension, or of states that are carried along."""
    roots = resolve_mode(list(outputs.values()), training=False)
    states = {node.name: node for node in leaves(roots, State)}
    carried = [states[name] for name in carry if name in states]
    lost = [name for name in carry if name not in states or not updates_of([states[name]])]
    if lost:
        fail(
            GraphError,
            f"export_c: no output reads a state {lost[0]!r} that has an update",
            got=f"carry={list(carry)}",
            do=f"choose from {', '.join(states) or 'none'}, and say sf.update(state, value)",
        )
    if stream is not None and given.setdefault(stream, 1) != 1:
        fail(GraphError, f"export_c: a step has one element of {stream!r}", got=f"sizes={given}")
    sizes = _sizes([*roots, *updates_of(carried)], given)
    step = one_step(roots, stream, carried, sizes)
    graph = Graph(dict(zip(outputs, step.outputs, strict=True)), values, sizes)
    what = f"Computes {', '.join(outputs)} of the next sample."
    enter_step(module, graph, step, starts_of(step, values), "step", what)


def _enter_training(
    module: Module, session: Any, outputs: Mapping[str, Node], sizes: Mapping[str, int]
) -> None:
    """Add the functions of a training step, and of outputs by the parameters that it trains."""
    training = training_step(session)
    found = resolve_mode(list(outputs.values()), training=False)
    roots = substitute(found, dict(training.places))
    nodes = [*training.step.outputs, *(c.after for c in training.step.carried)]
    known = _sizes([*roots, *nodes], sizes)
    values = {**session.states, **session.params}
    graph = Graph({"loss": training.step.outputs[0]}, values, known)
    what = "Trains on one batch; loss is that before the update."
    kept = enter_step(module, graph, training.step, training.starts, "train", what)
    if outputs:
        enter_reader(module, Graph(dict(zip(outputs, roots, strict=True)), values, known), kept)


def _sizes(roots: Sequence[Node], given: Mapping[str, int]) -> dict[str, int]:
    """The sizes of all named dimensions; that which leads inputs is 1 unless it is given."""
    inputs = list(input_nodes(roots).values())
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
