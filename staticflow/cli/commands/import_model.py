"""`staticflow import`: a model of another framework as a saved session."""

from __future__ import annotations

import argparse

from staticflow.cli.errors import CommandError
from staticflow.cli.report import table
from staticflow.cli.targets import check_targets
from staticflow.data.opening import check_file


def run(options: argparse.Namespace) -> int:
    """Take an ONNX model in and save it, for `staticflow.Session.load`."""
    from staticflow.session.interchange.onnx_in.model import from_onnx
    from staticflow.session.session import Session

    source = options.source
    target = options.out or source.with_suffix(".sf")
    if source.suffix.lower() != ".onnx":
        raise CommandError(
            f"{source} is in no format that is known; name a file that ends in .onnx"
        )
    check_file(source, "ONNX model", "")
    check_targets([target], [source])
    model = from_onnx(source)
    session = Session(outputs=dict(model.outputs))
    session.save(target)
    count = sum(array.size for array in session.params.values())
    rows = [(f"input {name}", str(node.type)) for name, node in model.inputs.items()]
    rows += [(f"output {name}", str(node.type)) for name, node in model.outputs.items()]
    rows += [("parameters", f"{count:,}"), ("opset", str(model.opset)), ("written", str(target))]
    print(table(rows))
    return 0
