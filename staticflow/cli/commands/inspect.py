"""`staticflow inspect`: what is in a model file, and what it compiles to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from staticflow.cli.model_card import Card, TextCard, load_model
from staticflow.cli.report import table
from staticflow.compiler.tracing import trace
from staticflow.data.table import listed
from staticflow.graph.node import Node

if TYPE_CHECKING:
    from staticflow.session.session import Session


def run(options: argparse.Namespace) -> int:
    """Print one view of the model."""
    session, card = load_model(options.model)
    if options.source:
        print(session.source)
    elif options.passes:
        roots = [node for node in (session.loss, session.outputs) if isinstance(node, Node)]
        print(trace(roots[:1], training=session.loss is not None))
    elif options.graph or options.memory:
        graph, _, programs = session.explain().partition("\nPROGRAM ")
        print(graph if options.graph else f"PROGRAM {programs}")
    else:
        print(_summary(session, card))
    return 0


def _summary(session: Session, card: Card | TextCard) -> str:
    shapes = {name: array.shape for name, array in session.params.items()}
    count = sum(array.size for array in session.params.values())
    rows = [("model", f"{card.model}, {count:,} parameters")]
    if isinstance(card, Card):
        answer = listed(card.classes) if card.classes else "a number"
        rows.append(("inputs", listed(card.features)))
        rows.append(("target", f"{card.target}: {answer}"))
    else:
        rows.append(("alphabet", repr(card.alphabet)))
    rows.append(("held out", f"{100 * card.test_fraction:g} % of its data"))
    return table(rows + [(name, " x ".join(map(str, shape))) for name, shape in shapes.items()])
