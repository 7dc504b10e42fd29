"""Tables from NPZ files, in which every array is a column or, of more dimensions, several.

The archive is read here and not by `np.load`: a header is believed only as far as the member's size
bears it out, and whatever is wrong with a file is said of the file.
"""

from __future__ import annotations

import math
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from staticflow.data.errors import DataError
from staticflow.data.table import Column

Array = np.ndarray[Any, Any]
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path) -> dict[str, Column]:
    """The columns of a file, which are of one length."""
    columns: dict[str, Column] = {}
    for name, array in _arrays(path):
        for column, values in _columns(path, name, array):
            if column in columns:
                raise DataError(f"{path}: two columns are called {column!r}; rename an array")
            columns[column] = values
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        (a, m), (b, n) = list({n: (k, n) for k, n in lengths.items()}.values())[:2]
        raise DataError(f"{path}: the arrays differ in length: {a} has {m} rows, {b} has {n}")
    return columns


def _arrays(path: Path) -> Iterator[tuple[str, Array]]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError):  # or of a version yet to come
        raise DataError(f"{path} is not an NPZ file, as np.savez writes it") from None
    with archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                raise _no_array(path, member.filename, "another kind of file")
            name = member.filename.removesuffix(".npy")
            try:
                with archive.open(member) as file:
                    yield name, _array(path, name, file, member.file_size)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise _no_array(path, name, "damaged") from error
            except (NotImplementedError, RuntimeError) as error:  # another method, a password
                raise _no_array(path, name, "compressed or encrypted in another way") from error


def _array(path: Path, name: str, file: IO[bytes], size: int) -> Array:
    try:
        shape, turned, dtype = _HEADERS[npy.read_magic(file)](file)
    except Exception as error:  # NumPy's reader passes on whatever Python's parser says of a header
        raise _no_array(path, name, "damaged") from error
    if dtype.hasobject:
        raise _no_array(path, name, "made of Python objects")
    count = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or count != size - file.tell():
        raise _no_array(path, name, "damaged")
    data = file.read()
    if len(data) != count:
        raise _no_array(path, name, "damaged")
    if count == 0:
        return np.zeros(shape, dtype)
    if dtype.kind == "U" and np.frombuffer(data, dtype.byteorder + "u4").max() > sys.maxunicode:
        raise _no_array(path, name, "damaged")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if turned else "C")


def _no_array(path: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{path} is not an NPZ file of plain arrays: {name!r} is {why}; write it with np.savez"
    )


def _columns(path: Path, name: str, array: Array) -> Iterator[tuple[str, Column]]:
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
