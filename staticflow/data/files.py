"""Reading tables from files: CSV with nothing but the standard library, NPZ, and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile
from zlib import error as ZlibError

import numpy as np

from staticflow.data.errors import DataError
from staticflow.data.table import Column, Table, is_number


def read_table(path: str | Path) -> Table:
    """Read a .csv, .tsv, .npz or .parquet file."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no file {path}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: a table is one of {', '.join(READERS)}, not {path.suffix!r}")
    try:
        table = reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not table.columns or not table.rows:
        raise DataError(f"{path} has no rows of data")
    return table


def _read_csv(path: Path) -> Table:
    """A header, then rows of equal length; the delimiter is the header's: comma, semicolon, tab."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            names, lines, rows = _records(path, csv.reader(file, delimiter=delimiter))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}") from None
    cells = np.array(rows, dtype=np.str_).reshape(len(rows), len(names))
    columns = dict(zip(names, cells.T, strict=True)) if rows else {}
    return Table(str(path), columns, lambda row: f"line {lines[row]}")


def _records(path: Path, reader: Any) -> tuple[list[str], list[int], list[list[str]]]:
    """The header, and the non-empty rows with their line numbers."""
    names = [name.strip() for name in next(reader, [])]
    _check_header(path, names)
    lines, rows = [], []
    for row in reader:
        if not row or (len(row) == 1 and len(names) > 1 and not row[0].strip()):
            continue
        if len(row) != len(names):
            raise DataError(
                f"{path}: line {reader.line_num} has {len(row)} cells, the header has {len(names)}"
            )
        lines.append(reader.line_num)
        rows.append(row)
    return names, lines, rows


def _check_header(path: Path, names: list[str]) -> None:
    if not names:
        raise DataError(f"{path} is empty")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: two columns are called {twice[0]!r}; rename one")
    if all(is_number(name) for name in names):
        raise DataError(f"{path} has no header; add a first line that names the columns")
    if "" in names:
        raise DataError(f"{path}: column {names.index('') + 1} has no name in the header")


def _read_npz(path: Path) -> Table:
    """Every array is a column; one of more dimensions gives a column for each of its elements."""
    columns: dict[str, Column] = {}
    if not is_zipfile(path):
        raise DataError(f"{path} is not an NPZ file, as np.savez writes it")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                columns.update(_array_columns(path, name, arrays[name]))
    except DataError:
        raise
    except (ValueError, EOFError, BadZipFile, ZlibError) as error:
        raise DataError(f"{path} is not an NPZ file of plain arrays: {error}") from None
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        (a, m), (b, n) = list({n: (k, n) for k, n in lengths.items()}.values())[:2]
        raise DataError(f"{path}: the arrays differ in length: {a} has {m} rows, {b} has {n}")
    return Table(str(path), columns, lambda row: f"row {row}")


def _array_columns(path: Path, name: str, array: Column) -> Iterator[tuple[str, Column]]:
    if array.dtype.kind not in "biufU" or array.ndim == 0:
        raise DataError(
            f"{path}: array {name!r} is {array.dtype} of shape {array.shape}; "
            "an array of numbers or text with a row for each example is needed"
        )
    flat = array.reshape(len(array), -1) if len(array) else array.reshape(0, 1)
    flat = flat if array.dtype.kind == "U" else flat.astype(np.float64)
    if array.ndim == 1:
        yield name, flat[:, 0]
        return
    for k in range(flat.shape[1]):
        yield f"{name}{k}", flat[:, k]


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet files need pyarrow: pip install 'staticflow[parquet]'"
        ) from error
    try:
        arrow = parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from None
    columns = {name: _arrow_column(path, name, arrow[name]) for name in arrow.column_names}
    return Table(str(path), columns, lambda row: f"row {row}")


def _arrow_column(path: Path, name: str, column: Any) -> Column:
    """Numbers, with NaN for null, or text, with nothing for null."""
    import pyarrow
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    try:
        if types.is_string(kind) or types.is_large_string(kind):
            texts = column.cast(pyarrow.large_string()).fill_null("")
            return np.array(texts.to_pylist(), dtype=np.str_)
        numbers: Column = column.cast(pyarrow.float64(), safe=False).to_numpy()
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        raise DataError(
            f"{path}: column {name!r} holds {column.type}; numbers or text are needed"
        ) from None
    return numbers


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
}
