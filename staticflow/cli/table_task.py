"""Learning a column of a table from the others."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.cli import network
from staticflow.cli.errors import CommandError
from staticflow.cli.model_card import Card, class_names
from staticflow.cli.scoring import outputs, scores, shown
from staticflow.cli.series import as_series, opponents, split_in_time
from staticflow.cli.source import (
    Floats,
    Source,
    classes_of,
    features_of,
    fingerprint,
    open_source,
    target_of,
    task_of,
)
from staticflow.data import Split, split_rows
from staticflow.models.scaling import Scaler

if TYPE_CHECKING:
    from staticflow.session.session import Session

Array = np.ndarray[Any, Any]
_EPOCHS, _TEST_FRACTION = 30, 0.2


class RowsProblem:
    """Classes or a number for each row; see `train.Problem`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        source = open_source(options.source)
        self.name = source.name
        self.epochs: int = options.epochs or _EPOCHS
        target = target_of(source, options.target, options.drop)
        if options.window is not None:
            _check_series(options)
            source = as_series(source, target, options.window)
        self._source = source
        features = features_of(source.table, target, options.drop)
        task = "regress" if options.window else task_of(source.table, target, options.task)
        x = source.table.matrix(features)
        labels = classes_of(source.table, target) if task == "classify" else None
        self.fraction = _TEST_FRACTION if options.test_fraction is None else options.test_fraction
        self.split = self._split(len(x), labels)
        self.card = self._card(features, x, target, labels)
        self.x, self.y = self.card.inputs(x), self.card.answers(source.table)
        self._scales = self._learn_scales(x)

    def session(self) -> Session:
        return network.build(
            self._options,
            features=len(self.card.features),
            steps=self.card.steps,
            classes=len(self.card.classes or ()),
            total_steps=self.epochs * network.updates(self._options, len(self.split.train)),
            scales=self._scales,
        )

    def training_data(self) -> dict[str, Array]:
        return self._part(self.split.train)

    def test_data(self) -> dict[str, Array] | None:
        return self._part(self.split.test) if len(self.split.test) else None

    def results(self, session: Session) -> list[tuple[str, str]]:
        card, split = self.card, self.split
        numbers = sum(array.size for array in session.params.values())
        count = f"{len(split.train):,} rows to train on, {len(split.test):,} to test on"
        task = f"{len(card.classes)} classes" if card.classes else "a number"
        rows = [
            ("model", f"{card.model}, {numbers:,} parameters"),
            ("data", f"{self._source.table.source}: {count}; {card.target} is {task}"),
            ("training", network.trained(self._options, self.epochs)),
        ]
        for name, part in (("train", split.train), ("test", split.test)):
            if len(part):
                values = outputs(session, card, self.x[part])
                rows.append((name, shown(scores(card, values, self.y[part]))))
        if self._options.window and len(split.test):
            known = self._source.table
            found = opponents(known.matrix(card.features), known.numbers(card.target), split)
            rows += [(name, f"RMSE {error:.4g}") for name, error in found.items()]
        return rows

    def _part(self, rows: Array) -> dict[str, Array]:
        return {"x": self.x[rows], "y": self.y[rows]}

    def _split(self, rows: int, labels: Array | None) -> Split:
        if self.fraction == 0:
            return Split(np.arange(rows), np.arange(0))
        if rows < 2:
            what = f"{self._options.source} has {rows} row"
            raise CommandError(f"{what}; training and a test need two or more")
        if self._options.window:
            return split_in_time(rows, self.fraction)
        return split_rows(rows, self.fraction, self._options.seed, labels)

    def _card(self, names: list[str], x: Floats, target: str, labels: Array | None) -> Card:
        classes = class_names(labels) if labels is not None else None
        if classes is not None and len(classes) < 2:
            raise CommandError(f"column {target!r} holds one class only, {classes[0]!r}")
        steps = _steps(self._options, self._source, len(names))
        inputs = len(names) if steps is None else f"{steps}x{len(names) // steps}"
        return Card(
            model=network.describe(self._options, inputs, len(classes) if classes else 1),
            features=names,
            steps=steps,
            target=target,
            classes=classes,
            rows=fingerprint(x),
            seed=self._options.seed,
            test_fraction=self.fraction,
            window=self._options.window,
        )

    def _learn_scales(self, x: Floats) -> tuple[Scaler, Scaler]:
        """The scales of features and answers, of the rows to train on."""
        rows = self.split.train
        answers = Scaler.fitted(self.y[rows].astype(np.float64)[:, None])
        if self._options.window:  # one scale for all of a series
            width = x.shape[1]
            alike = Scaler(np.repeat(answers.mean, width), np.repeat(answers.scale, width))
            return alike, answers
        return Scaler.fitted(x[rows]), answers


def _check_series(options: argparse.Namespace) -> None:
    if options.drop:
        raise CommandError("--window reads the target's own column alone; leave --drop out")
    if options.task == "classify":
        raise CommandError("--window forecasts numbers; leave --task classify out")


def _steps(options: argparse.Namespace, source: Source, features: int) -> int | None:
    if options.model == "fnn":
        if options.steps is not None:
            raise CommandError("--steps is for --model rnn, lstm or gru; an fnn reads flat rows")
        return None
    steps: int = options.steps or source.steps or features
    if features % steps:
        raise CommandError(f"{features} columns cannot be cut into {steps} equal time steps")
    return steps
