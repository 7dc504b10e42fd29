"""What a model file says beside its network: which columns it reads, and what its answers mean.

Rows go into the network as they come; what scales them is in its graph. In a file of version 0.1.0
it stands in the card instead, and is applied here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.cli.errors import CommandError
from staticflow.cli.series import lagged, split_in_time
from staticflow.data import DataError, Split, Table, split_rows
from staticflow.data.table import is_number

if TYPE_CHECKING:
    from staticflow.cli.source import Floats
    from staticflow.session import Session

_FORMAT, _FORMER = 2, 1


@dataclass(frozen=True)
class Card:
    """Saved with the model as plain data. Without `classes` the answer is a number."""

    model: str  # a line for people: "fnn 64-128-64-10"
    features: list[str]
    steps: int | None  # a row is that many time steps, None for a flat row
    target: str
    classes: list[str] | None
    rows: str  # the fingerprint of the rows that were split
    seed: int
    test_fraction: float
    window: int | None = None  # of a series: how many values a forecast is made from
    mean: list[float] | None = None  # of features and target, in files of version 0.1.0
    std: list[float] | None = None
    target_mean: float = 0.0
    target_std: float = 1.0

    def table(self, table: Table) -> Table:
        """The rows that the model knows, of a table that a file holds."""
        return table if self.window is None else lagged(table, self.target, self.window)

    def inputs(self, x: Floats) -> Floats:
        """Features in the shape of the network's input."""
        if self.mean is not None:
            x = (x - np.array(self.mean)) / np.array(self.std)
        return x if self.steps is None else x.reshape(len(x), self.steps, -1)

    def answers(self, table: Table) -> np.ndarray[Any, Any]:
        """The target's column as class numbers, or as it is."""
        if self.classes is None:
            return table.numbers(self.target)
        number = {label: k for k, label in enumerate(self.classes)}
        labels = table.labels(self.target).tolist()
        for row, label in enumerate(labels):
            if label not in number:
                raise DataError(
                    f"{table.source}: column {self.target!r} at {table.line(row)} is {label!r}; "
                    f"the model knows the classes {', '.join(self.classes)}"
                )
        return np.array([number[label] for label in labels])

    def split(self, answers: np.ndarray[Any, Any]) -> Split:
        """The rows trained on and the rows held out, drawn again from the seed."""
        if self.window is not None:
            return split_in_time(len(answers), self.test_fraction)
        labels = answers if self.classes is not None else None
        if self.test_fraction == 0:
            return Split(np.arange(len(answers)), np.arange(0))
        return split_rows(len(answers), self.test_fraction, self.seed, labels)

    def extra(self) -> dict[str, Any]:
        """As plain data."""
        return write_card("table", asdict(self))


def class_names(labels: np.ndarray[Any, Any]) -> list[str]:
    """The different labels, in numerical order where all are numbers."""
    names = np.unique(labels).tolist()
    return sorted(names, key=float) if all(is_number(name) for name in names) else names


def write_card(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Plain data that `read_card` knows again."""
    return {"staticflow-card": _FORMAT, "kind": kind, "fields": fields}


def load_model(path: Path) -> tuple[Session, str, dict[str, Any]]:
    """A model file that `train` has written: the session, and its card's kind and fields."""
    from staticflow.session import Session

    if not path.exists():
        raise CommandError(f"there is no model file {path}; `staticflow train` writes one")
    session = Session.load(path)
    extra = session.extra or {}
    if extra.get("staticflow-card") not in (_FORMAT, _FORMER):
        raise CommandError(f"{path} was not written by this version's `staticflow train`")
    return session, extra["kind"], extra["fields"]


def load_rows_model(path: Path) -> tuple[Session, Card]:
    """A model of a table's rows."""
    session, kind, fields = load_model(path)
    if kind != "table":
        raise CommandError(f"{path} is a model of a text; use it with `staticflow generate`")
    return session, Card(**fields)
