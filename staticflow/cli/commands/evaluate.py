"""`staticflow evaluate`: how good a saved model's answers are."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from staticflow.cli.errors import CommandError
from staticflow.cli.model_card import Card, TextCard, load_model
from staticflow.cli.report import table
from staticflow.cli.scoring import check_answers, outputs, scores, shown
from staticflow.cli.source import fingerprint, open_source

if TYPE_CHECKING:
    from staticflow.session.session import Session


def run(options: argparse.Namespace) -> int:
    """Score the model on a source; on the one it was trained on, on what was held out."""
    session, card = load_model(options.model)
    if isinstance(card, Card):
        lines = _rows(options, session, card)
    else:
        lines = _text(options, session, card)
    print(table(lines))
    return 0


def _rows(options: argparse.Namespace, session: Session, card: Card) -> list[tuple[str, str]]:
    source = open_source(options.source)
    known = card.table(source.table)
    x = known.matrix(card.features)
    y = card.answers(known)
    rows, note = np.arange(len(x)), "all rows"
    if not options.all and card.test_fraction > 0 and fingerprint(x) == card.rows:
        rows, note = card.split(y).test, "the rows held out from training"
    values = outputs(session, card, card.inputs(x[rows]))
    check_answers(values, known, rows)
    return [
        ("model", card.model),
        ("data", f"{source.table.source}: {len(rows):,} rows, {note}"),
        ("result", shown(scores(card, values, y[rows]))),
    ]


def _text(options: argparse.Namespace, session: Session, card: TextCard) -> list[tuple[str, str]]:
    from staticflow.cli.text_task import bits, held_out
    from staticflow.data.text import encode, read_text

    text = read_text(options.source)
    if options.all:
        codes, note = encode(text.characters, card.alphabet, text.source), "all characters"
    else:
        codes, note = held_out(card, text)
    if len(codes) < 2:
        raise CommandError(f"{text.source} is too short to evaluate on: {len(codes)} characters")
    return [
        ("model", card.model),
        ("data", f"{text.source}: {len(codes):,} characters, {note}"),
        ("result", f"{bits(session, codes):.3f} bits a character"),
    ]
