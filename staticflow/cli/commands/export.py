"""`staticflow export`: a model in another format, which the name of the file to write says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from staticflow.cli.errors import CommandError
from staticflow.cli.model_card import Card, read_card
from staticflow.cli.report import table
from staticflow.cli.targets import check_targets
from staticflow.data.opening import check_file
from staticflow.graph.leaves import Input
from staticflow.graph.traversal import leaves
from staticflow.session.files.tensor_file import write_tensors
from staticflow.session.interchange.c_out.model import export_c
from staticflow.session.interchange.onnx_out.model import export_onnx

if TYPE_CHECKING:
    from staticflow.session.session import Session


def run(options: argparse.Namespace) -> int:
    """Write a model, of `train`, of `import`, or a saved session."""
    from staticflow.session.session import Session

    source, target = options.model, options.target
    write = WRITERS.get(target.suffix.lower())
    if write is None:
        raise CommandError(
            f"{target} is in no format that is known; name a file that ends in "
            f"{' or '.join(WRITERS)}"
        )
    of_c = options.sizes or options.stream or options.derivatives or options.training
    if target.suffix.lower() != ".c" and of_c:
        raise CommandError("--sizes, --stream, --derivatives and --training are of C files")
    check_file(source, "model file", "; `staticflow train` writes one")
    check_targets([target], [source])
    session = Session.load(source)
    rows = write(session, source, options)
    size = target.stat().st_size
    print(table([*rows, ("written", f"{target}, {size / 1000:,.1f} kB")]))
    return 0


def _onnx(session: Session, source: Path, options: argparse.Namespace) -> list[tuple[str, str]]:
    """Outputs as an ONNX model, with what the columns and classes are called."""
    metadata = _meanings(source, session)
    outputs = list(options.outputs) or None
    export_onnx(session, options.target, outputs, options.opset, metadata)
    names = outputs or list(session.outputs)
    return [("inputs", _read_by(session, names)), ("outputs", ", ".join(map(str, names)))]


def _read_by(session: Session, outputs: Sequence[str]) -> str:
    """The inputs that outputs depend on: labels, say, are of the loss alone."""
    used = leaves([session.outputs[name] for name in outputs], Input)
    return ", ".join(name for name, node in session.inputs.items() if node in used)


def _tensors(session: Session, source: Path, options: argparse.Namespace) -> list[tuple[str, str]]:
    """Weights alone, by their names."""
    if options.outputs or options.opset is not None:
        raise CommandError("--outputs and --opset are of other files; this one has weights alone")
    values = {**session.params, **session.states}
    write_tensors(options.target, values, _meanings(source, session))
    return [("weights", f"{len(values)}, {sum(a.size for a in values.values()):,} numbers")]


def _meanings(source: Path, session: Session) -> Mapping[str, str]:
    """What the card of a model says of its columns and answers."""
    extra = session.extra
    if not isinstance(extra, dict) or "staticflow-card" not in extra:
        return {}
    card = read_card(source, session)
    if not isinstance(card, Card):
        return {"alphabet": card.alphabet}
    if card.mean is not None:
        raise CommandError(
            f"{source} is of version 0.1.0, whose scales are beside the network; train it again"
        )
    found = {"features": json.dumps(card.features), "target": card.target}
    return found if card.classes is None else {**found, "classes": json.dumps(card.classes)}


def _c(session: Session, source: Path, options: argparse.Namespace) -> list[tuple[str, str]]:
    """Outputs as C, beside a header that says what its functions take."""
    if options.opset is not None:
        raise CommandError("--opset is of ONNX files; this one is C")
    header = options.target.with_suffix(".h")
    check_targets([header], [source])
    outputs = list(options.outputs) or None
    export_c(
        session, options.target, outputs=outputs, sizes=dict(options.sizes), stream=options.stream,
        training=options.training, derivatives=options.derivatives,
    )  # fmt: skip
    names = outputs or list(session.outputs)
    return [
        ("inputs", _read_by(session, names)),
        ("outputs", ", ".join(map(str, names))),
        ("header", str(header)),
    ]


WRITERS: dict[str, Callable[..., Any]] = {".onnx": _onnx, ".safetensors": _tensors, ".c": _c}
