"""`staticflow predict`: a CSV with an answer for every row, or with what comes after the last."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np

from staticflow.cli.errors import CommandError
from staticflow.cli.model_card import Card, load_rows_model
from staticflow.cli.scoring import check_answers, forecast, outputs
from staticflow.cli.source import open_source
from staticflow.cli.targets import check_targets
from staticflow.session.files.atomic_file import write_whole


def run(options: argparse.Namespace) -> int:
    """Write the predictions to a file or to the standard output."""
    session, card = load_rows_model(options.model)
    if options.probabilities and card.classes is None:
        raise CommandError(f"{options.model} predicts numbers; it has no --probabilities")
    if options.ahead is not None and card.window is None:
        raise CommandError(f"{options.model} is no model of a series; it has no --ahead")
    if options.out is not None:
        check_targets([options.out], [options.model, Path(options.source)])
    table = open_source(options.source).table
    if card.window is not None:
        values = forecast(session, card, table.numbers(card.target), options.ahead or 1)
    else:
        values = outputs(session, card, card.inputs(table.matrix(card.features)))
        check_answers(values, table, np.arange(len(values)))
    if options.out is None:
        _write(sys.stdout, card, values, options.probabilities)
        return 0
    write_whole(options.out, lambda file: _write_table(file, card, values, options.probabilities))
    print(f"{len(values):,} predictions written to {options.out}")
    return 0


def _write_table(
    file: IO[bytes], card: Card, values: np.ndarray[Any, Any], probabilities: bool
) -> None:
    text = io.StringIO()
    _write(text, card, values, probabilities)
    file.write(text.getvalue().encode())


def _write(file: TextIO, card: Card, values: np.ndarray[Any, Any], probabilities: bool) -> None:
    writer = csv.writer(file, lineterminator="\n")
    if card.classes is None:
        writer.writerow([card.target])
        writer.writerows([f"{value:.7g}"] for value in values.tolist())
        return
    chosen = [card.classes[k] for k in values.argmax(axis=1).tolist()]
    columns = card.classes if probabilities else []
    writer.writerow([card.target, *(f"p({name})" for name in columns)])
    for answer, row in zip(chosen, values.tolist(), strict=True):
        writer.writerow([answer, *(f"{p:.6g}" for p in row if probabilities)])
