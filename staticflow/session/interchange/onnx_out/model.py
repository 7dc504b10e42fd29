"""What was written as a ModelProto of the onnx package, checked, and as a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.checks import check_outside_loops
from staticflow.graph.dims import Dim
from staticflow.graph.leaves import Param
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.graph.types import TensorType
from staticflow.native.memory import Array
from staticflow.session.ensemble import Ensemble
from staticflow.session.files.atomic_file import check_target, write_whole
from staticflow.session.files.file_version import written as writer_of_files
from staticflow.session.interchange.onnx_out.builder import (
    ELEMENT,
    Body,
    Builder,
    Entry,
    onnx_module,
)
from staticflow.session.interchange.onnx_out.write import written

OLDEST, USUAL = 16, 18
LARGEST = (1 << 31) - 1  # bytes of a protobuf message


def export_onnx(
    session: Any,
    path: Any,
    outputs: Any = None,
    opset: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write outputs of a session as an ONNX model; see `Session.export_onnx`. `metadata` is added
    to what the model says of itself.
    """
    check_target(path)
    model = model_of(session, outputs, opset)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    data = model.SerializeToString()

    def write(file: IO[bytes]) -> None:
        file.write(data)

    write_whole(path, write)


def model_of(session: Any, outputs: Any = None, opset: int | None = None) -> Any:
    """The ModelProto of a session's outputs, checked in full."""
    onnx = _onnx()
    number = _checked_opset(onnx, opset)
    nodes = chosen(session, outputs)
    values = {**session.states, **session.params}
    size = sum(np.asarray(v).nbytes for v in values.values())
    if size > LARGEST:
        fail(
            GraphError,
            "export_onnx: the model would be beyond 2 GiB, which is the most of an ONNX file",
            got=f"{size} bytes of parameters",
            do="save the weights with session.save",
        )
    members = [values]
    if isinstance(session, Ensemble):
        members = [{k: v[m] for k, v in values.items()} for m in range(session.members)]
    b, inputs, results, renamed = written(nodes, members, session.inputs, number)
    model = Proto(b, renamed).model(inputs, results)
    onnx.checker.check_model(model, full_check=True)
    return model


def _onnx() -> Any:
    try:
        return onnx_module()
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        fail(GraphError, "ONNX models need the onnx package", do="pip install 'staticflow[onnx]'")


def _checked_opset(onnx: Any, opset: int | None) -> int:
    newest = onnx.defs.onnx_opset_version()
    number = min(USUAL, newest) if opset is None else opset
    if isinstance(number, bool) or not isinstance(number, int) or not OLDEST <= number <= newest:
        fail(
            GraphError,
            f"export_onnx: there is no writing opset {opset!r}",
            got=f"onnx {onnx.__version__}, which knows opsets up to {newest}",
            do=f"choose one from {OLDEST} to {newest}",
        )
    return number


def chosen(session: Any, outputs: Any, method: str = "export_onnx") -> dict[str, Node]:
    """The outputs to write, by name; `method` is what errors call the export."""
    named = dict(session.outputs) if isinstance(session.outputs, Mapping) else {}
    if outputs is None:
        given = session.outputs
        if isinstance(given, Node):
            named = {given.label or "output": given}
        elif not isinstance(given, Mapping):
            named = {n.label or f"output_{k}": n for k, n in enumerate(given)}
        if not named:
            fail(GraphError, f"{method}: the session has no outputs",
                 do="make it with outputs={'name': node}, or give outputs= here")  # fmt: skip
        return named
    known = {**named, **session.metrics}
    if session.loss is not None:
        known["loss"] = session.loss
    if isinstance(outputs, Mapping):
        found = dict(outputs)
    else:
        several = outputs if isinstance(outputs, list | tuple) else [outputs]
        found = {_name(x, k): known.get(x, x) if isinstance(x, str) else x
                 for k, x in enumerate(several)}  # fmt: skip
    for name, node in found.items():
        if not isinstance(node, Node) or not isinstance(node.type, TensorType):
            fail(
                GraphError,
                f"{method}: there is no output {name!r}",
                got=repr(node)[:80],
                do=f"choose from {', '.join(known) or 'nodes'}, or give {{name: node}}",
            )
    check_outside_loops(list(found.values()))
    lost = [x for x in leaves(found.values(), Param) if x.name not in session.params]
    if lost:
        fail(GraphError, f"{method}: {lost[0].name!r} is no parameter of this session",
             do="pass the node in outputs= when making the session")  # fmt: skip
    return found


def _name(output: Any, k: int) -> str:
    if isinstance(output, str):
        return output
    return getattr(output, "label", None) or f"output_{k}"


class Proto:
    """Turns entries into protobuf messages."""

    def __init__(self, b: Builder, renamed: Mapping[str, str]) -> None:
        self.b, self.renamed = b, renamed
        self.helper = onnx_module("helper")
        self._count = 0

    def model(self, inputs: Sequence[tuple[str, Node]], outputs: Sequence[tuple[str, Node]]) -> Any:
        helper = self.helper
        entries = list(self._used(self.b.main.entries, {name for name, _ in outputs}))
        read = {name for entry in entries for name in self._reads(entry)}
        arrays = [self._array(n, a) for n, a in self.b.constants.items() if n in read]
        graph = helper.make_graph(
            [self.node(entry) for entry in entries],
            "staticflow",
            [self._value(name, node.type) for name, node in inputs],
            [self._value(name, node.type) for name, node in outputs],
            arrays,
        )
        ids = [helper.make_opsetid("", self.b.opset)]
        version = writer_of_files()["written_by"]
        model = helper.make_model(
            graph,
            opset_imports=ids,
            ir_version=max(8, helper.find_min_ir_version_for(ids)),
            producer_name="staticflow",
            producer_version=version,
        )
        helper.set_model_props(model, {"staticflow": version})
        return model

    def _used(self, entries: Sequence[Entry], wanted: set[str]) -> Iterator[Entry]:
        """The entries that outputs need, in order."""
        needed, kept = set(wanted), list[Entry]()
        for entry in reversed(entries):
            if any(self._named(name) in needed for name in entry.outputs if name):
                kept.append(entry)
                needed.update(self._reads(entry))
        return reversed(kept)

    def _reads(self, entry: Entry) -> Iterator[str]:
        """The names that an entry reads, also in its bodies."""
        yield from map(self._named, entry.inputs)
        for value in entry.attributes.values():
            if isinstance(value, Body):
                for inner in value.entries:
                    yield from self._reads(inner)
                yield from (self._named(name) for name, _ in value.outputs)

    def _named(self, name: str) -> str:
        return self.renamed.get(name, name)

    def node(self, entry: Entry) -> Any:
        attributes = {
            key: self._graph(value) if isinstance(value, Body) else value
            for key, value in entry.attributes.items()
        }
        self._count += 1
        return self.helper.make_node(
            entry.kind,
            [self._named(name) for name in entry.inputs],
            [self._named(name) for name in entry.outputs],
            name=f"{entry.kind.lower()}.{self._count}",
            doc_string=entry.doc or None,
            **attributes,
        )

    def _graph(self, body: Body) -> Any:
        wanted = {self._named(name) for name, _ in body.outputs}
        return self.helper.make_graph(
            [self.node(entry) for entry in self._used(body.entries, wanted)],
            body.name,
            [self._value(name, type_) for name, type_ in body.inputs],
            [self._value(self._named(name), type_) for name, type_ in body.outputs],
        )

    def _value(self, name: str, type_: TensorType) -> Any:
        shape = [str(n) if isinstance(n, Dim) else n for n in type_.shape]
        return self.helper.make_tensor_value_info(name, ELEMENT[type_.dtype], shape)

    def _array(self, name: str, array: Array) -> Any:
        return onnx_module("numpy_helper").from_array(np.asarray(array), name)
