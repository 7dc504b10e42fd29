"""`staticflow inspect`: what is in a model file, and what it compiles to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from staticflow.cli.card import load_model
from staticflow.cli.report import table

if TYPE_CHECKING:
    from staticflow.session import Session


def run(options: argparse.Namespace) -> int:
    """Print one view of the model."""
    session, kind, fields = load_model(options.model)
    if options.source:
        print(session.source)
    elif options.graph or options.memory:
        graph, _, programs = session.explain().partition("\nPROGRAM ")
        print(graph if options.graph else f"PROGRAM {programs}")
    else:
        print(_summary(session, kind, fields))
    return 0


def _summary(session: Session, kind: str, fields: dict[str, Any]) -> str:
    shapes = {name: array.shape for name, array in session.params.items()}
    count = sum(array.size for array in session.params.values())
    rows = [("model", f"{fields['model']}, {count:,} parameters")]
    if kind == "table":
        answer = _list(fields["classes"]) if fields["classes"] else "a number"
        rows.append(("inputs", _list(fields["features"])))
        rows.append(("target", f"{fields['target']}: {answer}"))
    else:
        rows.append(("alphabet", repr(fields["alphabet"])))
    rows.append(("held out", f"{100 * fields['test_fraction']:g} % of its data"))
    return table(rows + [(name, " x ".join(map(str, shape))) for name, shape in shapes.items()])


def _list(names: list[str], most: int = 12) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most // 2])}, ... {names[-1]} ({len(names)})"
