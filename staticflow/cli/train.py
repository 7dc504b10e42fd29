"""`staticflow train`: data in, a trained model, its loss curve and a table of results out."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from staticflow.cli.errors import CommandError
from staticflow.cli.report import seconds, table
from staticflow.errors import NumericsError
from staticflow.files import check_target

if TYPE_CHECKING:
    from staticflow.session import Session

Feeds = dict[str, Any]
_TEXT = {".txt"}


class Problem(Protocol):
    """What there is to learn: from the rows of a table, or from a text."""

    name: str  # the stem of the files that training writes
    epochs: int

    def session(self) -> Session:
        """The network, untrained."""

    def training_data(self) -> Feeds:
        """What `fit` learns from."""

    def test_data(self) -> Feeds | None:
        """What is held out; None for nothing."""

    def extra(self) -> dict[str, Any]:
        """What the model file says beside the weights."""

    def results(self, session: Session) -> list[tuple[str, str]]:
        """Lines of the final table."""


def run(options: argparse.Namespace) -> int:
    """Train as the options say."""
    start = time.perf_counter()
    problem = _problem(options)
    model_file = options.out or Path(f"{problem.name}.sf")
    plot_file = None if options.no_plot else options.plot or Path(f"{problem.name}-loss.svg")
    files = [path for path in (model_file, plot_file) if path is not None]
    for path in files:
        _check_writable(path)
    session = problem.session()
    fit_start = time.perf_counter()
    try:
        history = session.fit(
            problem.training_data(),
            epochs=problem.epochs,
            batch_size=options.batch_size,
            validation_data=problem.test_data(),
            progress=not options.no_progress,
            on_nan="raise",
        )
    except NumericsError as error:
        what = str(error).splitlines()[0].removeprefix("fit: ")
        print(f"staticflow: {what}; lower --lr. Nothing was written", file=sys.stderr)
        return 1
    training = seconds(time.perf_counter() - fit_start)
    session.save(model_file, extra=problem.extra())
    if plot_file is not None:
        history.plot(plot_file)
    rows = problem.results(session)
    rows.append(("time", f"{training} training, {seconds(time.perf_counter() - start)} in all"))
    rows.append(("written", ", ".join(map(str, files))))
    print(table(rows))
    return 0


def _problem(options: argparse.Namespace) -> Problem:
    is_text = Path(options.source).suffix.lower() in _TEXT
    options.model = options.model or ("gru" if is_text or options.window else "fnn")
    if is_text:
        from staticflow.cli.text import TextProblem

        return TextProblem(options)
    from staticflow.cli.rows import RowsProblem

    return RowsProblem(options)


def _check_writable(path: Path) -> None:
    """Refuse before training what would fail after it."""
    if path.is_dir():
        raise CommandError(f"{path} is a folder; name a file to write")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"there is no folder {path.parent} to write {path.name} into")
    try:
        check_target(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}") from error
