"""`staticflow train`: rows in, a trained model, its loss curve and a table of results out."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.cli import network
from staticflow.cli.card import Card, class_names
from staticflow.cli.errors import CommandError
from staticflow.cli.measure import scores, shown
from staticflow.cli.report import seconds, table
from staticflow.cli.source import (
    Floats,
    Source,
    features_of,
    fingerprint,
    open_source,
    target_of,
    task_of,
)
from staticflow.data import Split, split_rows

if TYPE_CHECKING:
    from staticflow.history import History
    from staticflow.session import Session


@dataclass(frozen=True)
class _Problem:
    """The card of the model to be, and all rows in the network's terms."""

    card: Card
    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    split: Split

    def part(self, rows: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        return {"x": self.x[rows], "y": self.y[rows]}


def run(options: argparse.Namespace) -> int:
    """Train as the options say."""
    start = time.perf_counter()
    source = open_source(options.source)
    model_file = options.out or Path(f"{source.name}.sf")
    plot_file = options.plot or Path(f"{source.name}-loss.svg")
    for path in [model_file] if options.no_plot else [model_file, plot_file]:
        _check_writable(path)
    problem = _problem(options, source)
    session = _session(options, problem)
    history, fit_seconds = _fit(options, session, problem)
    session.save(model_file, extra=problem.card.extra())
    if not options.no_plot:
        history.plot(plot_file)
    rows = _results(options, source, session, problem)
    rows.append(("time", f"{seconds(fit_seconds)} training, {_since(start)} in all"))
    rows.append(("written", str(model_file) + ("" if options.no_plot else f", {plot_file}")))
    print(table(rows))
    return 0


def _since(start: float) -> str:
    return seconds(time.perf_counter() - start)


def _check_writable(path: Path) -> None:
    """Refuse before training what would fail after it."""
    if path.is_dir():
        raise CommandError(f"{path} is a folder; name a file to write")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"there is no folder {path.parent} to write {path.name} into")


def _problem(options: argparse.Namespace, source: Source) -> _Problem:
    target = target_of(source, options.target)
    features = features_of(source.table, target, options.drop)
    task = task_of(source.table, target, options.task)
    x = source.table.matrix(features)
    labels = source.table.labels(target) if task == "classify" else None
    split = _split(options, len(x), labels)
    card = _card(options, source, (features, x), target, labels, split)
    return _Problem(card, card.inputs(x), card.answers(source.table), split)


def _split(options: argparse.Namespace, rows: int, labels: np.ndarray[Any, Any] | None) -> Split:
    if options.test_fraction == 0:
        return Split(np.arange(rows), np.arange(0))
    if rows < 2:
        raise CommandError(f"{options.source} has {rows} row; training and a test need two or more")
    return split_rows(rows, options.test_fraction, options.seed, labels)


def _card(
    options: argparse.Namespace,
    source: Source,
    features: tuple[list[str], Floats],
    target: str,
    labels: np.ndarray[Any, Any] | None,
    split: Split,
) -> Card:
    names, x = features
    known = x[split.train]
    classes = class_names(labels) if labels is not None else None
    if classes is not None and len(classes) < 2:
        raise CommandError(f"column {target!r} holds one class only, {classes[0]!r}")
    scale = (0.0, 1.0)
    if classes is None:
        values = source.table.numbers(target)[split.train]
        scale = (float(values.mean()), float(values.std()) or 1.0)
    std = known.std(axis=0)
    return Card(
        model=network.describe(options, len(names), len(classes or "1")),
        features=names,
        mean=known.mean(axis=0).tolist(),
        std=np.where(std > 0, std, 1.0).tolist(),
        steps=_steps(options, source, len(names)),
        target=target,
        classes=classes,
        target_mean=scale[0],
        target_std=scale[1],
        rows=fingerprint(x),
        seed=options.seed,
        test_fraction=options.test_fraction,
    )


def _steps(options: argparse.Namespace, source: Source, features: int) -> int | None:
    if options.model == "fnn":
        if options.steps is not None:
            raise CommandError("--steps is for --model rnn, lstm or gru; an fnn reads flat rows")
        return None
    steps: int = options.steps or source.steps or features
    if features % steps:
        raise CommandError(f"{features} columns cannot be cut into {steps} equal time steps")
    return steps


def _session(options: argparse.Namespace, problem: _Problem) -> Session:
    card = problem.card
    batches = -(-len(problem.split.train) // options.batch_size)
    return network.build(
        options,
        features=len(card.features),
        steps=card.steps,
        classes=len(card.classes or ()),
        total_steps=options.epochs * batches,
    )


def _fit(options: argparse.Namespace, session: Session, problem: _Problem) -> tuple[History, float]:
    start = time.perf_counter()
    history = session.fit(
        problem.part(problem.split.train),
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation_data=problem.part(problem.split.test) if len(problem.split.test) else None,
        progress=not options.no_progress,
    )
    return history, time.perf_counter() - start


def _results(
    options: argparse.Namespace, source: Source, session: Session, problem: _Problem
) -> list[tuple[str, str]]:
    card, split = problem.card, problem.split
    numbers = sum(array.size for array in session.params.values())
    count = f"{len(split.train):,} rows to train on, {len(split.test):,} to test on"
    task = f"{len(card.classes)} classes" if card.classes else "a number"
    rows = [
        ("model", f"{card.model}, {numbers:,} parameters"),
        ("data", f"{source.table.source}: {count}; {card.target} is {task}"),
        ("training", f"{options.epochs} epochs of batches of {options.batch_size}"),
    ]
    for name, part in (("train", split.train), ("test", split.test)):
        if len(part):
            x, y = problem.x[part], problem.y[part]
            rows.append((name, shown(scores(session, card, x, y))))
    return rows
