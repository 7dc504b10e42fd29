"""`staticflow evaluate`: how good a saved model's answers are."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.cli.card import Card, load_model
from staticflow.cli.measure import scores, shown
from staticflow.cli.report import table
from staticflow.cli.source import fingerprint, open_source

if TYPE_CHECKING:
    from staticflow.session import Session


def run(options: argparse.Namespace) -> int:
    """Score the model on a source; on the one it was trained on, on what was held out."""
    session, kind, fields = load_model(options.model)
    lines = (_text if kind == "text" else _rows)(options, session, fields)
    print(table(lines))
    return 0


def _rows(
    options: argparse.Namespace, session: Session, fields: dict[str, Any]
) -> list[tuple[str, str]]:
    card = Card(**fields)
    source = open_source(options.source)
    known = card.table(source.table)
    x = known.matrix(card.features)
    y = card.answers(known)
    rows, note = np.arange(len(x)), "all rows"
    if not options.all and card.test_fraction > 0 and fingerprint(x) == card.rows:
        rows, note = card.split(y).test, "the rows held out from training"
    return [
        ("model", card.model),
        ("data", f"{source.table.source}: {len(rows):,} rows, {note}"),
        ("result", shown(scores(session, card, card.inputs(x[rows]), y[rows]))),
    ]


def _text(
    options: argparse.Namespace, session: Session, fields: dict[str, Any]
) -> list[tuple[str, str]]:
    from staticflow.cli.text import TextCard, bits, held_out
    from staticflow.data.text import encode, read_text

    card, text = TextCard(**fields), read_text(options.source)
    if options.all:
        codes, note = encode(text.characters, card.alphabet, text.source), "all characters"
    else:
        codes, note = held_out(card, text)
    return [
        ("model", card.model),
        ("data", f"{text.source}: {len(codes):,} characters, {note}"),
        ("result", f"{bits(session, codes):.3f} bits a character"),
    ]
