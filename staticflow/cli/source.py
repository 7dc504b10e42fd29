"""From SOURCE on the command line to a table, and from a table to features and answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from staticflow.cli.errors import CommandError
from staticflow.data import Table, load_digits, read_table
from staticflow.data.opening import shown
from staticflow.data.table import is_number, listed, same_spelling

Floats = np.ndarray[Any, np.dtype[np.float64]]

_MANY = 20  # whole numbers of more different values than this are quantities, not classes


@dataclass(frozen=True)
class Source:
    """A table, what it is called, and the defaults that its origin suggests."""

    name: str  # the stem of the files that training writes
    table: Table
    target: str | None = None
    steps: int | None = None  # how a recurrent model reads a row, if it says nothing else


def open_source(text: str) -> Source:
    """The bundled digits, or a file."""
    if text == "digits" and not Path(text).exists():
        return Source("digits", _digits(), target="digit", steps=8)
    path = Path(text)
    if not path.suffix and len(path.parts) == 1 and not path.exists():
        known = "'digits' is bundled, or name a file"
        raise CommandError(f"there is no data set {str(shown(path))!r}; {known}")
    return Source(path.stem, read_table(path))


def _digits() -> Table:
    digits = load_digits()
    columns = {f"pixel{k}": column for k, column in enumerate(digits.images.T.astype(np.float64))}
    columns["digit"] = digits.labels.astype(np.float64)
    return Table("digits", columns, lambda row: f"image {row}")


def target_of(source: Source, given: str | None, drop: Sequence[str]) -> str:
    """The column to predict."""
    name = given or source.target
    if name is None:
        columns = listed(source.table.names)
        raise CommandError(f"say which column to predict with --target; there are {columns}")
    source.table.column(name)
    if name in drop:
        raise CommandError(f"--drop leaves out {name!r}, which is the column to predict")
    return name


def features_of(table: Table, target: str, drop: Sequence[str]) -> list[str]:
    """Every column but the target and those left out."""
    for name in drop:
        table.column(name)
    names = [name for name in table.names if name != target and name not in drop]
    if not names:
        raise CommandError(f"{table.source}: no column is left to learn {target!r} from")
    return names


def classes_of(table: Table, target: str) -> np.ndarray[Any, Any]:
    """The column to predict as text; in a column of numbers, equal ones are spelt alike."""
    labels = table.labels(target)
    if not all(map(is_number, labels.tolist())):
        return labels
    return np.array([same_spelling(label) for label in labels.tolist()], dtype=object)


def task_of(table: Table, target: str, given: str | None) -> str:
    """`classify` or `regress`: text and few whole numbers are classes."""
    if given is not None:
        return given
    if table.is_text(target) or table.are_codes(target, _MANY):
        return "classify"
    values = table.numbers(target)
    whole = bool((values == np.round(values)).all())
    return "classify" if whole and len(np.unique(values)) <= _MANY else "regress"


def fingerprint(x: np.ndarray[Any, Any]) -> str:
    """What tells whether two commands read the same data."""
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:32]
