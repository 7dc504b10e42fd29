"""The safetensors format: a header of JSON, then the bytes of the tensors in order.

    length of the header (8 bytes) | {"__metadata__": {...}, "name": {"dtype", "shape",
    "data_offsets"}, ...} | tensors

Written here, so that a full disk is an OSError and no copy is made; read by the library, which
checks a header against the file before anything is made of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.graph.leaves import METADATA
from staticflow.native.memory import Array
from staticflow.session.files.atomic_file import is_file, write_whole

_CODES = {"float64": "F64", "int64": "I64", "float32": "F32", "int32": "I32", "bool": "BOOL"}
_ALIGNMENT = 8


def write_tensors(path: Any, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write a whole file, or leave what was there; raises OSError."""
    order = sorted(tensors, key=lambda name: (list(_CODES).index(tensors[name].dtype.name), name))
    header: dict[str, Any] = {METADATA: dict(metadata)}
    end = 0
    for name in order:
        array = tensors[name]
        entry = {"dtype": _CODES[array.dtype.name], "shape": list(array.shape)}
        header[name] = {**entry, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)

    def write(file: IO[bytes]) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.asarray(tensors[name], order="C").reshape(-1).view(np.uint8).data)

    write_whole(path, write)


def read_tensors(path: Any) -> tuple[dict[str, str], dict[str, Array]]:
    """The metadata and the tensors; raises OSError, and GraphError for what is no such file."""
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if not is_file(name):
        kind = "folder" if Path(name).is_dir() else "device, a pipe or a socket"
        fail(GraphError, f"{name}: this is a {kind}, not a file")
    try:
        with safe_open(name, "np") as file:
            tensors = {key: _tensor(name, file, key) for key in file.keys()}
            return dict(file.metadata() or {}), tensors
    except (SafetensorError, TypeError, ValueError, KeyError, AttributeError):
        fail(  # whose cause says more, to who knows the format
            GraphError,
            f"{name}: the file is damaged, or not a safetensors file",
            got=f"{Path(name).stat().st_size:,} bytes that are no whole file of that kind",
            do="save it again, or take a copy",
        )


def _tensor(path: str, file: Any, key: str) -> Array:
    """A tensor; of bfloat16, which NumPy has not, as float32, which holds each of its numbers."""
    if file.get_slice(key).get_dtype() != "BF16":
        array: Array = file.get_tensor(key)
        return array
    with Path(path).open("rb") as raw:  # whose header the library has checked
        length = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(length))[key]
        begin, end = entry["data_offsets"]
        raw.seek(8 + length + begin)
        halves = np.frombuffer(raw.read(end - begin), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
