"""Applying a saved or fresh model to rows, in slices that bound the memory, and scoring it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.cli.errors import CommandError
from staticflow.data import Table

if TYPE_CHECKING:
    from staticflow.cli.model_card import Card
    from staticflow.session.session import Session

Array = np.ndarray[Any, Any]
_SLICE = 4096


def outputs(session: Session, card: Card, x: Array) -> Array:
    """Probabilities (rows, classes), or predictions (rows,) in the target's own unit."""
    fetch = "prediction" if card.classes is None else "probabilities"
    slices = range(0, len(x), _SLICE)
    parts = [session.run(fetch, {"x": x[start : start + _SLICE]}) for start in slices]
    values: Array = np.concatenate(parts)
    return values if card.classes else values * card.target_std + card.target_mean


def forecast(session: Session, card: Card, values: Array, ahead: int) -> Array:
    """The values after the last; each is forecast as if those before it had come true."""
    assert card.window is not None
    if len(values) < card.window:
        raise CommandError(
            f"{card.target!r} has {len(values)} rows; the model reads the last {card.window}"
        )
    known = values[-card.window :].tolist()
    for _ in range(ahead):
        row = np.array([known[-card.window :]])
        known.append(float(outputs(session, card, card.inputs(row))[0]))
    return np.array(known[card.window :])


def check_answers(values: Array, table: Table, rows: Array) -> None:
    """Refuse answers that are no numbers; names the first of the table's rows that has such."""
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not finite.all():
        row = table.line(int(rows[np.argmin(finite)]))
        raise CommandError(
            f"{table.source}: the model has no answer at {row}; "
            "the values there are far from those that it was trained on"
        )


def scores(card: Card, values: Array, y: Array) -> dict[str, float]:
    """Accuracy and log loss of a classifier; RMSE and R2 of a regressor, in the target's unit."""
    if card.classes is not None:
        chosen = values[np.arange(len(y)), y]
        return {
            "accuracy": float((values.argmax(axis=1) == y).mean()),
            "log loss": float(-np.log(np.maximum(chosen, 1e-30)).mean()),
        }
    squared = float(((values - y) ** 2).mean())
    spread = float(y.var())
    r2 = 1 - squared / spread if spread else float("nan")
    return {"RMSE": squared**0.5, "R2": r2}


def shown(scores: dict[str, float]) -> str:
    """Scores in a line."""
    return ", ".join(
        f"{name} {100 * value:.2f} %" if name == "accuracy" else f"{name} {value:.4g}"
        for name, value in scores.items()
    )
