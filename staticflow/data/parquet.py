"""Tables from Parquet files, by pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from staticflow.data.errors import DataError
from staticflow.data.table import Column


def read_parquet(path: Path) -> dict[str, Column]:
    """The columns of a file: numbers, with NaN for null, or text, with nothing for null."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet files need pyarrow: pip install 'staticflow[parquet]'"
        ) from error
    try:
        with path.open("rb") as file:
            arrow = parquet.ParquetFile(file).read()
    except pyarrow.ArrowMemoryError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a Parquet file, or it is damaged; write it again"
        ) from error
    columns: dict[str, Column] = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        if name in columns:
            raise DataError(f"{path}: two columns are called {name!r}; rename one")
        columns[name] = _column(path, name, column)
    return columns


def _column(path: Path, name: str, column: Any) -> Column:
    import pyarrow
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    try:
        if types.is_string(kind) or types.is_large_string(kind):
            texts = column.cast(pyarrow.large_string()).fill_null("")
            return np.array(texts.to_pylist(), dtype=object)
        numbers: Column = column.cast(pyarrow.float64(), safe=False).to_numpy()
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        raise DataError(
            f"{path}: column {name!r} holds {column.type}; numbers or text are needed"
        ) from None
    return numbers
