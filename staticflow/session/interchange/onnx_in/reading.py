"""The bytes of a model as messages that can be trusted: what they say of sizes is checked first.

A tensor is made only if its bytes are there, external data only of files within the model's folder.
Nothing of a model is ever run or unpickled.
"""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from staticflow.errors import GraphError, fail
from staticflow.native.memory import Array
from staticflow.session.files.atomic_file import is_file
from staticflow.session.interchange.onnx_in.values import DTYPES

LARGEST = (1 << 31) - 1  # bytes of a protobuf message
FIELDS = {1: "float_data", 6: "int32_data", 7: "int64_data", 9: "int32_data", 11: "double_data"}
ITEM = {1: 4, 6: 4, 7: 8, 9: 1, 11: 8}
EXTERNAL = 1


class Source:
    """Where a model comes from: its name in messages, and the folder of its external data."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self.name, self.folder = name, folder

    def refuse(self, what: str, got: str = "", do: str = "") -> NoReturn:
        fail(GraphError, f"{self.name}: {what}", got=got, do=do)

    def damaged(self, why: str) -> NoReturn:
        self.refuse("the file is damaged, or no ONNX model", got=why, do="take another copy")


def read_model(given: Any, onnx: Any) -> tuple[Any, Source]:
    """A ModelProto from a path, bytes or a ModelProto, and where it is from."""
    if isinstance(given, onnx.ModelProto):
        return given, Source("the model", None)
    if isinstance(given, bytes | bytearray):
        return _parsed(bytes(given), onnx, Source("the model", None))
    name = os.fspath(given)
    source = Source(name, Path(name).resolve().parent)
    if not is_file(name):
        source.refuse("this is no plain file")
    if Path(name).stat().st_size > LARGEST:
        source.damaged("more than 2 GiB, which no ONNX model is")
    return _parsed(Path(name).read_bytes(), onnx, source)


def _parsed(data: bytes, onnx: Any, source: Source) -> tuple[Any, Source]:
    wrong = importlib.import_module("google.protobuf.message").DecodeError
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (wrong, RecursionError, ValueError, RuntimeError):
        source.damaged(f"{len(data):,} bytes that are no message of that kind")
    if not model.HasField("graph") or not model.opset_import:
        source.damaged("a message without a graph or an opset")
    return model, source


def array_of(tensor: Any, source: Source, name: str = "") -> Array:
    """The array of a TensorProto; raises GraphError if it is not all there, or of other dtypes."""
    what = name or tensor.name or "a tensor"
    if tensor.data_type not in DTYPES:
        source.refuse(
            f"{what}: its elements are of none of staticflow's dtypes",
            got=f"ONNX's dtype number {tensor.data_type}",
            do=f"convert the model to {', '.join(DTYPES.values())}",
        )
    shape = tuple(int(n) for n in tensor.dims)
    if any(n < 0 for n in shape) or tensor.HasField("segment"):
        source.damaged(f"{what} of shape {shape}")
    count, dtype = math.prod(shape), DTYPES[tensor.data_type]
    size = count * ITEM[tensor.data_type]
    if tensor.data_location == EXTERNAL:
        data = _external(tensor, size, source, what)
    elif tensor.HasField("raw_data"):
        data = tensor.raw_data
    else:
        numbers = getattr(tensor, FIELDS[tensor.data_type])
        if len(numbers) != count:
            source.damaged(f"{what} of shape {shape} with {len(numbers)} elements")
        return np.array(numbers, dtype).reshape(shape)
    if len(data) != size:
        source.damaged(f"{what} of shape {shape}, {dtype}, with {len(data)} bytes")
    little = np.dtype(dtype).newbyteorder("<")
    array = np.frombuffer(data, np.uint8 if dtype == "bool" else little)
    return (array != 0 if dtype == "bool" else array.astype(dtype)).reshape(shape)


def _external(tensor: Any, size: int, source: Source, what: str) -> bytes:
    """The bytes of a tensor that lie in another file of the model's folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if source.folder is None:
        source.refuse(f"{what} lies in another file, {location[:80]!r}",
                      do="give the path of the model, not its bytes")  # fmt: skip
    path = Path(os.path.realpath(source.folder / location)) if location else source.folder
    inside = path.is_relative_to(source.folder) and not Path(location).is_absolute()
    if not location or "\0" in location or not inside or ".." in Path(location).parts:
        source.refuse(f"{what} lies outside of the model's folder", got=repr(location[:80]),
                      do="keep the data of a model beside it")  # fmt: skip
    if not path.is_file():
        source.refuse(f"{what}: there is no file {location[:80]!r} beside the model")
    texts = [entries.get(key, "0") for key in ("offset", "length")]
    if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in texts):
        source.damaged(f"{what} at {texts[0][:30]!r} of a file, {texts[1][:30]!r} bytes")
    offset, length = map(int, texts)
    whole = path.stat().st_size
    if (length or size) != size or offset + size > whole:
        source.damaged(f"{what}: {size} bytes at {offset} of a file of {whole}")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
