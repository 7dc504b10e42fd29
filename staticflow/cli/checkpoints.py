"""Trainings that go on after an interruption: what `train --checkpoint` keeps and `--resume` reads.

A checkpoint is a model file of the state after an epoch, which says besides how the training was
called and what its epochs logged. Training that goes on from it is the same, bit for bit, as if it
had not been interrupted. Beside it lies the model of the best epoch, if rows are held out.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from dataclasses import dataclass, field
from math import inf, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from staticflow.cli.errors import CommandError
from staticflow.cli.fields import read_fields
from staticflow.cli.model_card import Card, TextCard, read_card
from staticflow.cli.parser import build_parser
from staticflow.data.opening import check_file, reason

if TYPE_CHECKING:
    from staticflow.session.session import Session

Log = dict[str, float]
_COPY_SECONDS = 0.25  # between two copies in memory: what an interruption may lose
_SAVE_SECONDS, _SAVE_SHARE = 2.0, 0.02  # between two files, which take that share of the time
_WATCHED = "val_loss"

# What shapes a training: it must be the same when it goes on.
_OPTIONS = (
    "target", "drop", "task", "window", "test_fraction", "model", "hidden", "activation", "dropout",
    "steps", "epochs", "batch_size", "accumulate", "optimizer", "lr", "schedule",
    "weight_decay", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Training:
    """How a training was called, and what its epochs logged. Saved as plain data."""

    options: dict[str, Any]
    logs: list[dict[str, float]] = field(default_factory=list)

    def plain(self, epochs: int) -> dict[str, Any]:
        """As it was after some epochs, for JSON, which has no NaN."""
        logs = [
            {n: v if isfinite(v) else None for n, v in log.items()} for log in self.logs[:epochs]
        ]
        return {"options": self.options, "logs": logs}


def begun(options: argparse.Namespace) -> Training:
    """A training that is to be done as the options say."""
    given = vars(options)
    return Training({name: _plain(given[name]) for name in _OPTIONS})


def resumed(path: Path, options: argparse.Namespace) -> tuple[Training, Session, Card | TextCard]:
    """A training that goes on; options that were left out become what they were."""
    from staticflow.session.session import Session

    check_file(path, "checkpoint", "; `staticflow train --checkpoint` writes one")
    session = Session.load(path, threads=options.threads)
    card = read_card(path, session)
    try:
        training = _read(session.extra.get("training"))
        if tuple(training.options) != _OPTIONS:
            raise ValueError("'options' are another version's")
    except ValueError as error:
        raise CommandError(
            f"{path} is no checkpoint ({error}); `staticflow train --checkpoint` writes one"
        ) from error
    defaults = vars(build_parser().parse_args(["train", options.source]))
    for name, value in training.options.items():
        given = _plain(getattr(options, name))
        if given not in (_plain(defaults[name]), value):
            raise CommandError(
                f"{path} was trained with another --{name.replace('_', '-')} than {given}: "
                f"{'the default' if value is None else value}; leave the option out, or train anew"
            )
        setattr(options, name, tuple(value) if isinstance(value, list) else value)
    return training, session, card


def _read(data: Any) -> Training:
    training = read_fields(Training, data)
    logs = [{n: nan if v is None else float(v) for n, v in log.items()} for log in training.logs]
    return Training(training.options, logs)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class Keeper:
    """Called after each epoch: keeps the last state and the best, in memory and in files."""

    def __init__(self, path: Path, training: Training, epochs: int, card: Card | TextCard) -> None:
        self.path, self.best_path = path, best_file(path)
        self._training, self._epochs, self._card = training, epochs, card
        self._last: tuple[int, Session] | None = None  # the epochs done, and the state then
        self._unsaved_best: Session | None = None
        self._best, self._least = 0, inf  # the epoch of the least loss on rows held out
        for epoch, log in enumerate(training.logs, 1):
            self._is_best(epoch, log)
        self._copied = self._saved = -inf
        self._pause = _SAVE_SECONDS

    def _is_best(self, epoch: int, log: Log) -> bool:
        if not log.get(_WATCHED, nan) < self._least:
            return False
        self._best, self._least = epoch, log[_WATCHED]
        return True

    def __call__(self, session: Session, log: Log) -> None:
        """Take note of an epoch."""
        now = time.monotonic()
        self._training.logs.append(dict(log))
        epoch = len(self._training.logs)
        is_best = self._is_best(epoch, log)
        if is_best or now - self._copied >= _COPY_SECONDS or epoch == self._epochs:
            kept = copy.deepcopy(session)
            self._last, self._copied = (epoch, kept), now
            self._unsaved_best = kept if is_best else self._unsaved_best
        if now - self._saved >= self._pause:
            self._save_or_tell()

    def _save_or_tell(self) -> None:
        began = time.monotonic()
        try:
            self.save()
        except OSError as error:  # what is trained in memory is not given up for it
            what = f"{self.path} cannot be written: {reason(error)}; training goes on"
            print(f"staticflow: {what}", file=sys.stderr)
        self._saved = time.monotonic()
        self._pause = max(_SAVE_SECONDS, (self._saved - began) / _SAVE_SHARE)

    def save(self) -> str:
        """Write what is not in files yet; says what they hold. Raises OSError."""
        if self._unsaved_best is not None:
            self._unsaved_best.save(self.best_path, self._card.extra())
            self._unsaved_best = None
        if self._last is None:
            return ""
        epoch, session = self._last
        session.save(self.path, {**self._card.extra(), "training": self._training.plain(epoch)})
        text = f"epoch {epoch} of {self._epochs} is in {self.path}, for --resume"
        return f"{text}; the best, {self._best}, in {self.best_path}" if self._best else text


def best_file(path: Path) -> Path:
    """Where the model of the best epoch lies: run-best.sf beside run.sf."""
    return path.with_name(f"{path.stem}-best{path.suffix}")
