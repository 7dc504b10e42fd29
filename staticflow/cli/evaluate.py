"""`staticflow evaluate`: how good a saved model's answers are."""

from __future__ import annotations

import argparse

import numpy as np

from staticflow.cli.card import load_model
from staticflow.cli.measure import scores, shown
from staticflow.cli.report import table
from staticflow.cli.source import fingerprint, open_source


def run(options: argparse.Namespace) -> int:
    """Score the model on a source; on the one it was trained on, on the rows held out."""
    session, card = load_model(options.model)
    source = open_source(options.source)
    x = source.table.matrix(card.features)
    y = card.answers(source.table)
    rows, note = np.arange(len(x)), "all rows"
    held_out = not options.all and card.test_fraction > 0 and fingerprint(x) == card.rows
    if held_out:
        rows, note = card.split(y).test, "the rows held out from training"
    found = scores(session, card, card.inputs(x[rows]), y[rows])
    lines = [
        ("model", card.model),
        ("data", f"{source.table.source}: {len(rows):,} rows, {note}"),
        ("result", shown(found)),
    ]
    print(table(lines))
    return 0
