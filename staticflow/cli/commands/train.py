"""`staticflow train`: data in, a trained model, its loss curve and a table of results out."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from staticflow.cli.checkpoints import Keeper, Training, begun, best_file, resumed
from staticflow.cli.errors import CommandError, Interrupted
from staticflow.cli.model_card import Card, TextCard
from staticflow.cli.report import seconds, table
from staticflow.cli.targets import check_targets
from staticflow.errors import NumericsError
from staticflow.session.report.history import History
from staticflow.session.report.plot import check_format

if TYPE_CHECKING:
    from staticflow.session.session import Session

Feeds = dict[str, Any]
_TEXT = {".txt"}


class Problem(Protocol):
    """What there is to learn: from the rows of a table, or from a text."""

    name: str  # the stem of the files that training writes
    epochs: int

    @property
    def card(self) -> Card | TextCard:
        """What the model file says beside the weights."""

    def session(self) -> Session:
        """The network, untrained."""

    def training_data(self) -> Feeds:
        """What `fit` learns from."""

    def test_data(self) -> Feeds | None:
        """What is held out; None for nothing."""

    def results(self, session: Session) -> list[tuple[str, str]]:
        """Lines of the final table."""


def run(options: argparse.Namespace) -> int:
    """Train as the options say."""
    start = time.perf_counter()
    training, session, card = begun(options), None, None
    if options.resume is not None:
        training, session, card = resumed(options.resume, options)
    problem = _problem(options)
    if card not in (None, problem.card):
        raise CommandError(f"{options.source} is not what {options.resume} was trained on")
    files = _Files.of(options, problem.name)
    files.check(options)
    session = session or problem.session()
    keeper = None
    if files.checkpoint is not None:
        keeper = Keeper(files.checkpoint, training, problem.epochs, problem.card)
    fit_start = time.perf_counter()
    try:
        _fit(options, problem, training, session, keeper)
    except NumericsError as error:
        what = str(error).splitlines()[0].removeprefix("fit: ")
        print(f"staticflow: {what}; lower --lr. Nothing was written", file=sys.stderr)
        return 1
    trained = seconds(time.perf_counter() - fit_start)
    logs = training.plain(len(training.logs))["logs"]
    session.save(files.model, extra={**problem.card.extra(), "history": logs})
    if files.plot is not None:
        History(training.logs).plot(files.plot)
    rows = problem.results(session)
    rows.append(("time", f"{trained} training, {seconds(time.perf_counter() - start)} in all"))
    written = [str(path) for path in files.targets() if path.exists()]
    rows.append(("written", ", ".join(written)))
    print(table(rows))
    return 0


@dataclass(frozen=True)
class _Files:
    """Where results go."""

    model: Path
    plot: Path | None
    checkpoint: Path | None

    @staticmethod
    def of(options: argparse.Namespace, name: str) -> _Files:
        plot = None if options.no_plot else options.plot or Path(f"{name}-loss.svg")
        model = options.out or Path(f"{name}.sf")
        return _Files(model, plot, options.checkpoint or options.resume)

    def check(self, options: argparse.Namespace) -> None:
        """Refuse before training what would fail after it."""
        if self.plot is not None:
            try:
                check_format(self.plot)
            except (ImportError, ValueError) as error:
                raise CommandError(f"--plot {self.plot}: {error}") from error
        check_targets(self.targets(), [Path(options.source)])

    def targets(self) -> list[Path]:
        """All of them."""
        best = None if self.checkpoint is None else best_file(self.checkpoint)
        return [path for path in (self.model, self.plot, self.checkpoint, best) if path]


def _fit(
    options: argparse.Namespace,
    problem: Problem,
    training: Training,
    session: Session,
    keeper: Keeper | None,
) -> None:
    """Train for the epochs that are left; logs them. What was trained so far is kept on Ctrl-C."""
    done = len(training.logs)
    try:
        history = session.fit(
            problem.training_data(),
            epochs=max(0, problem.epochs - done),
            batch_size=options.batch_size,
            accumulate=options.accumulate,
            validation_data=problem.test_data(),
            callbacks=[] if keeper is None else keeper,
            progress=not options.no_progress,
            on_nan="raise",
        )
        if keeper is not None:
            keeper.save()
    except KeyboardInterrupt as interrupt:
        if keeper is None:
            hint = "--checkpoint FILE keeps what was trained"
            raise Interrupted(f"nothing was saved; {hint}") from interrupt
        raise Interrupted(keeper.save() or "no epoch was finished") from interrupt
    if keeper is None:
        training.logs.extend(history.epochs)


def _problem(options: argparse.Namespace) -> Problem:
    is_text = Path(options.source).suffix.lower() in _TEXT
    options.model = options.model or ("gru" if is_text or options.window else "fnn")
    if is_text:
        from staticflow.cli.text_task import TextProblem

        return TextProblem(options)
    from staticflow.cli.table_task import RowsProblem

    return RowsProblem(options)
