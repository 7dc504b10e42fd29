"""Reading tables from files: CSV with nothing but the standard library, NPZ, and Parquet."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from staticflow.data.errors import DataError
from staticflow.data.npz import read_npz
from staticflow.data.opening import check_file, line_not_utf8, shown, unreadable
from staticflow.data.parquet import read_parquet
from staticflow.data.table import Table, is_number


def read_table(path: str | Path) -> Table:
    """Read a .csv, .tsv, .npz or .parquet file."""
    path = Path(path)
    check_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{shown(path)}: a table is one of {', '.join(READERS)}, not {path.suffix!r}"
        )
    try:
        table = reader(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if not table.columns or not table.rows:
        raise DataError(f"{path} has no rows of data")
    return table


def _read_csv(path: Path) -> Table:
    """A header, then rows of equal length; the delimiter is the header's: comma, semicolon, tab.

    A first column without a name numbers the rows, as pandas writes it, and is left out.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            names, lines, rows = _records(path, _lines(path, file), delimiter)
    except UnicodeDecodeError:
        raise line_not_utf8(path) from None
    cells = zip(*rows, strict=True)  # a cell of its own length, however long another is
    columns = {n: np.array(c, dtype=object) for n, c in zip(names, cells, strict=False) if n}
    return Table(str(path), columns, lambda row: f"line {lines[row]}")


def _lines(path: Path, file: Iterator[str]) -> Iterator[str]:
    """The lines of a file, none of which has a NUL: it would end a cell before its time."""
    for number, line in enumerate(file, 1):
        if "\0" in line:
            raise DataError(f"{path}: line {number} holds a NUL character; this is no text")
        yield line


def _records(
    path: Path, file: Iterator[str], delimiter: str
) -> tuple[list[str], list[int], list[list[str]]]:
    """The header, and the non-empty rows with the numbers of the lines where they begin."""
    reader = csv.reader(file, delimiter=delimiter)
    lines: list[int] = []
    rows: list[list[str]] = []
    names: list[str] | None = None
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error:
            raise DataError(
                f"{path}: the cell at line {begin} has more than {csv.field_size_limit():,} "
                "characters; is a quote missing?"
            ) from None
        if names is None:
            names = [name.strip() for name in row]
            _check_header(path, names)
        elif row and (len(row) > 1 or len(names) == 1 or row[0].strip()):
            _check_length(path, begin, reader.line_num, row, names)
            lines.append(begin)
            rows.append(row)
    _check_header(path, names or [])
    return names or [], lines, rows


def _check_length(path: Path, begin: int, end: int, row: list[str], names: list[str]) -> None:
    if len(row) != len(names):
        remedy = f"; a quote in it closes at line {end}, or never" if end > begin else ""
        raise DataError(
            f"{path}: line {begin} has {len(row)} cells, the header has {len(names)}{remedy}"
        )


def _check_header(path: Path, names: list[str]) -> None:
    if not names:
        raise DataError(f"{path} is empty")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f"{path}: two columns are called {twice[0]!r}; rename one")
    named = names[1:] if len(names) > 1 and not names[0] else names
    if all(is_number(name) for name in named):
        raise DataError(f"{path} has no header; add a first line that names the columns")
    if "" in named:
        number = len(names) - len(named) + named.index("") + 1
        raise DataError(f"{path}: column {number} has no name in the header")


def _read_npz(path: Path) -> Table:
    return Table(str(path), read_npz(path), lambda row: f"row {row}")


def _read_parquet(path: Path) -> Table:
    return Table(str(path), read_parquet(path), lambda row: f"row {row}")


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
}
