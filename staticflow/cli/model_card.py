"""What a model file says beside its network: which columns it reads, and what its answers mean.

Rows go into the network as they come; what scales them is in its graph. In a file of version 0.1.0
it stands in the card instead, and is applied here.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from staticflow.cli.errors import CommandError
from staticflow.cli.fields import read_fields
from staticflow.cli.series import lagged, split_in_time
from staticflow.data import DataError, Split, Table, split_rows
from staticflow.data.opening import check_file
from staticflow.data.table import is_number, listed, same_spelling

if TYPE_CHECKING:
    from staticflow.cli.source import Floats
    from staticflow.session.session import Session

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
        spelt = same_spelling if all(map(is_number, self.classes)) else str
        number = {spelt(label): k for k, label in enumerate(self.classes)}
        labels = [spelt(label) for label in table.labels(self.target).tolist()]
        for row, label in enumerate(labels):
            if label not in number:
                raise DataError(
                    f"{table.source}: column {self.target!r} at {table.line(row)} is {label!r}; "
                    f"the model knows the classes {listed(self.classes)}"
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


@dataclass(frozen=True)
class TextCard:
    """Of a model of a text. Saved with it as plain data."""

    model: str  # a line for people: "gru 96-128-96"
    alphabet: str
    states: list[list[int]]  # the shape of each state, for one text
    characters: str  # the fingerprint of the text
    test_fraction: float

    def extra(self) -> dict[str, Any]:
        """As plain data."""
        return write_card("text", asdict(self))


_KINDS: dict[str, type[Card] | type[TextCard]] = {"table": Card, "text": TextCard}


def write_card(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Plain data that `load_model` knows again."""
    return {"staticflow-card": _FORMAT, "kind": kind, "fields": fields}


def load_model(path: Path) -> tuple[Session, Card | TextCard]:
    """A model file that `train` has written: the session, and its card."""
    from staticflow.session.session import Session

    check_file(path, "model file", "; `staticflow train` writes one")
    session = Session.load(path)
    return session, read_card(path, session)


def read_card(path: Path, session: Session) -> Card | TextCard:
    """The card of a session that was loaded from a file, for which it was made."""
    extra = session.extra
    if not isinstance(extra, dict) or extra.get("staticflow-card") not in (_FORMAT, _FORMER):
        raise CommandError(f"{path} was not written by this version's `staticflow train`")
    try:
        card = read_fields(_KINDS[str(extra.get("kind"))], extra.get("fields"))
        _check(card, session)
    except (KeyError, ValueError) as error:
        raise CommandError(
            f"{path} is damaged: its card is not as `staticflow train` writes it ({error}); "
            "train it again, or take a copy"
        ) from error
    return card


def _check(card: Card | TextCard, session: Session) -> None:
    """Refuse a card of another network: a ValueError says where they differ."""
    if not 0 <= card.test_fraction < 1:
        raise ValueError(f"'test_fraction' is {card.test_fraction}")
    inputs = {name: node.shape[1:] for name, node in session.inputs.items()}
    outputs = {name: node.shape[1:] for name, node in dict(session.outputs).items()}
    if isinstance(card, TextCard):
        shapes = {f"state{k}": tuple(shape) for k, shape in enumerate(card.states)}
        if not shapes.items() <= {name: x.shape for name, x in session.inputs.items()}.items():
            raise ValueError("'states' are another network's")
        if "next" not in outputs or dict(session.outputs)["next"].shape != (len(card.alphabet),):
            raise ValueError("'alphabet' is another network's")
        return
    count = len(card.features)
    steps = card.steps
    if steps is not None and (steps < 1 or count % steps):
        raise ValueError(f"'steps' is {steps}")
    if inputs.get("x") != ((count,) if steps is None else (steps, count // steps)):
        raise ValueError("'features' are another network's")
    if card.window is not None and card.window != count:
        raise ValueError(f"'window' is {card.window}")
    if card.classes is None and "prediction" not in outputs:
        raise ValueError("'classes' are missing")
    if card.classes is not None and outputs.get("probabilities") != (len(card.classes),):
        raise ValueError("'classes' are another network's")
    if not 0 <= card.seed < 1 << 63:
        raise ValueError(f"'seed' is {card.seed}")
    for name, scale in (("mean", card.mean), ("std", card.std)):
        if scale is not None and (len(scale) != count or not all(map(_is_finite, scale))):
            raise ValueError(f"{name!r} is another network's")
    if not (_is_finite(card.target_mean) and _is_finite(card.target_std)):
        raise ValueError("the target's scale is infinite")


def _is_finite(number: float) -> bool:
    """Whether a number, which may be an integer of any length, is one among floats."""
    return abs(number) <= sys.float_info.max


def load_rows_model(path: Path) -> tuple[Session, Card]:
    """A model of a table's rows."""
    session, card = load_model(path)
    if isinstance(card, TextCard):
        raise CommandError(f"{path} is a model of a text; use it with `staticflow generate`")
    return session, card
