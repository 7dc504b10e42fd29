"""`staticflow inspect`: what is in a model file, and what it compiles to."""

from __future__ import annotations

import argparse

from staticflow.cli.card import Card, load_model
from staticflow.cli.report import table
from staticflow.session import Session


def run(options: argparse.Namespace) -> int:
    """Print one view of the model."""
    session, card = load_model(options.model)
    if options.source:
        print(session.source)
    elif options.graph or options.memory:
        print(session.explain())
    else:
        print(_summary(session, card))
    return 0


def _summary(session: Session, card: Card) -> str:
    shapes = {name: array.shape for name, array in session.params.items()}
    count = sum(array.size for array in session.params.values())
    rows = [
        ("model", f"{card.model}, {count:,} parameters"),
        ("inputs", _list(card.features)),
        ("target", f"{card.target}: {_list(card.classes) if card.classes else 'a number'}"),
        ("trained", f"seed {card.seed}, {100 * card.test_fraction:g} % of the rows held out"),
    ]
    return table(rows + [(name, " x ".join(map(str, shape))) for name, shape in shapes.items()])


def _list(names: list[str], most: int = 12) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most // 2])}, ... {names[-1]} ({len(names)})"
