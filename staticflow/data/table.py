"""A table of named columns, and how features and a target are taken from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from staticflow.data.errors import DataError

Column = np.ndarray[Any, Any]  # one dimension; float64, or strings where it came as text
_TEXT = "OU"  # kinds of dtypes: strings of any length, or of one, as NPZ files have them

_LARGEST = 1e150  # so that squares are numbers too
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_NO_CLASS = frozenset({"", "n/a", "nan", "?"})  # among words; NA is North America, None is none


@dataclass(frozen=True)
class Table:
    """Columns of equal length; a text column is parsed only when it is used.

    `line` says where a row stands in the file, for error messages.
    """

    source: str
    columns: Mapping[str, Column]
    line: Callable[[int], str]

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> Column:
        """A column as stored."""
        if name not in self.columns:
            known = listed(self.names)
            raise DataError(f"{self.source}: there is no column {name!r}; the columns are {known}")
        return self.columns[name]

    def numbers(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """A column as numbers; a missing cell or text in it is an error that names the cell."""
        values = self.column(name)
        if values.dtype.kind in _TEXT:
            values = self._parse(name, values)
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.argmin(finite))
            self._refuse(name, row, "missing" if np.isnan(values[row]) else "infinite")
        if (np.abs(values) > _LARGEST).any():
            row = int(np.argmax(np.abs(values) > _LARGEST))
            self._refuse(name, row, f"too large ({values[row]:g})")
        return values

    def matrix(self, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Columns side by side, as numbers."""
        return np.stack([self.numbers(name) for name in names], axis=1)

    def is_text(self, name: str) -> bool:
        """Whether no cell of the column is a number, as in a column of class names."""
        values = self.column(name)
        return values.dtype.kind in _TEXT and not any(is_number(cell) for cell in values.tolist())

    def are_codes(self, name: str, most: int) -> bool:
        """Whether some cells of a column are words, and some of those read as numbers (1E5), as in
        a column of at most so many codes; a word that occurs once is a slip of the pen.
        """
        values = self.column(name)
        if values.dtype.kind not in _TEXT:
            return False
        counts = Counter(cell.strip() for cell in values.tolist())
        words = {text: n for text, n in counts.items() if not is_number(text)}
        known = all(n > 1 and text.lower() not in _MISSING for text, n in words.items())
        return bool(words) and known and len(counts) <= most

    def labels(self, name: str) -> Column:
        """A column as text, as it is spelt, where no cell may be missing."""
        values = self.column(name)
        if values.dtype.kind not in _TEXT:
            numbers = self.numbers(name).tolist()
            return np.array([format_number(v) for v in numbers], dtype=object)
        cells = [cell.strip() for cell in values.tolist()]
        words = any(not is_number(cell) and cell.lower() not in _MISSING for cell in set(cells))
        missing = _NO_CLASS if words else _MISSING
        for row, cell in enumerate(cells):
            if cell.lower() in missing:
                self._refuse(name, row, "missing")
        return np.array(cells, dtype=object)

    def _parse(self, name: str, cells: Column) -> np.ndarray[Any, np.dtype[np.float64]]:
        try:
            return cells.astype(np.float64)
        except ValueError:
            texts = cells.tolist()
            row = next(row for row, cell in enumerate(texts) if not is_number(cell))
            if texts[row].strip().lower() in _MISSING:
                self._refuse(name, row, "missing")
            self._refuse(name, row, f"text ({texts[row][:80]!r}) where a number is needed")

    def _refuse(self, name: str, row: int, what: str) -> NoReturn:
        remedy = {
            "text": f"encode the column as numbers, or leave it out with --drop {name}",
            "too": "measure the column in a larger unit",
        }.get(what.split()[0], "fill the cell in or remove the row")
        raise DataError(f"{self.source}: column {name!r} at {self.line(row)} is {what}; {remedy}")


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message; of many, the first and the last."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most // 2])}, ... {names[-1]} ({len(names)})"


def same_spelling(label: str) -> str:
    """A label that is a number, as all that are equal to it are spelt: 1 for 1.0; others stay."""
    if not is_number(label) or not math.isfinite(float(label)):
        return label
    try:
        return str(int(label))
    except ValueError:
        return format_number(float(label))


def format_number(value: float) -> str:
    """A number as a class name: `3` for 3.0."""
    return str(int(value)) if value.is_integer() else repr(value)


def is_number(text: str) -> bool:
    """Whether a cell reads as a number; `nan` does."""
    try:
        float(text)
    except ValueError:
        return False
    return True
