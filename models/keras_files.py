"""Keras's files and model objects: the configuration, and the arrays of each layer.

A `.keras` file is a zip of JSON and HDF5, and both are data: nothing of them is run. In HDF5,
layers are grouped by their class, `dense`, `dense_1`, in the order of the configuration, and not
by name.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import staticflow as sf
from staticflow.errors import fail

Array = NDArray[Any]
Arrays = Callable[[Sequence[str]], list[Array]]  # of a layer, by its names from the outermost on
LARGEST_CONFIG = 1 << 26  # bytes
MOST = 1 << 33


def refuse(name: str, why: str, do: str = "take another copy") -> NoReturn:
    fail(sf.GraphError, f"{name}: the file is damaged, or not one of Keras's", got=why, do=do)


def opened(path: Any) -> tuple[Mapping[str, Any] | None, Any]:
    """The configuration of a file, None for weights alone, and its HDF5."""
    name = os.fspath(path)
    if not name.endswith(".keras"):
        return None, _hdf5(name, Path(name).read_bytes())
    try:
        with zipfile.ZipFile(name) as archive:
            config = json.loads(_member(name, archive, "config.json", LARGEST_CONFIG))
            weights = _member(name, archive, "model.weights.h5", MOST)
    except sf.GraphError:
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, RecursionError,
            NotImplementedError, RuntimeError) as error:  # fmt: skip
        refuse(name, f"{type(error).__name__}: {error}"[:200])
    return config, _hdf5(name, weights)


def _member(name: str, archive: zipfile.ZipFile, member: str, most: int) -> bytes:
    """A member of the archive that is as large as it says, and not much more than its bytes."""
    info = archive.getinfo(member)
    if info.file_size > most or info.file_size > 64 * info.compress_size + (1 << 20):
        refuse(name, f"{member} would be {info.file_size:,} bytes")
    return archive.read(info)


def _hdf5(name: str, data: bytes) -> Any:
    try:
        h5py = importlib.import_module("h5py")
    except ModuleNotFoundError:
        fail(sf.GraphError, "Keras's files need the h5py package",
             do="pip install 'staticflow[keras]'")  # fmt: skip
    try:
        return h5py.File(io.BytesIO(data), "r")
    except (OSError, ValueError, RuntimeError) as error:
        refuse(name, f"{error}"[:200])


def arrays_of_file(name: str, file: Any, config: Mapping[str, Any]) -> Arrays:
    """The arrays of layers in an HDF5 file, for the names that its configuration gives them."""
    groups: dict[tuple[str, ...], str] = {}

    def walk(config: Mapping[str, Any], names: tuple[str, ...], place: str) -> None:
        counts: dict[str, int] = {}
        for layer in layers_of(config):
            base = _snake(layer["class_name"])
            count = counts.get(base, 0)
            counts[base] = count + 1
            inner = f"{place}layers/{base}{f'_{count}' if count else ''}/"
            path = (*names, layer_name(layer))
            groups[path] = inner
            walk(layer.get("config", {}), path, inner)

    walk(config.get("config", {}), (), "")

    def arrays(path: Sequence[str]) -> list[Array]:
        group = groups.get(tuple(path))
        return [] if group is None else _below(name, file, group)

    return arrays


def _below(name: str, file: Any, group: str) -> list[Array]:
    """The arrays of a layer: its own, those of a cell, of both directions, or of what it wraps."""
    found: list[Array] = []
    for part in ("", "cell/", "forward_layer/cell/", "backward_layer/cell/", "layer/"):
        try:
            place = file.get(f"{group}{part}vars")
            count = 0 if place is None else len(place)
            found += [_array(name, place, str(k)) for k in range(count)]
        except sf.GraphError:
            raise
        except (KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
            refuse(name, f"{group}{part}: {type(error).__name__}: {error}"[:200])
    return found


def _array(name: str, group: Any, key: str) -> Array:
    """A dataset that lies in the file as it says."""
    hard = type(group.get(key, getlink=True)).__name__ == "HardLink"
    data: Any = group[key] if hard else None
    kind = getattr(data, "dtype", None)
    if kind is None or kind.kind not in "fiu" or data.external or data.is_virtual:
        refuse(name, f"{group.name}/{key} is no plain array")
    if data.id.get_storage_size() != data.size * kind.itemsize:
        refuse(name, f"{group.name}/{key} of {data.shape} has {data.id.get_storage_size()} bytes")
    return np.asarray(data[()])


def arrays_of_object(model: Any) -> Arrays:
    """The arrays of a model's layers."""

    def arrays(path: Sequence[str]) -> list[Array]:
        layer = model
        for name in path:
            layer = layer.get_layer(name)
        return [np.asarray(w) for w in layer.get_weights()]

    return arrays


def layers_of(config: Any) -> list[Any]:
    layers = config.get("layers", []) if isinstance(config, Mapping) else []
    return [layer for layer in layers if isinstance(layer, Mapping) and "class_name" in layer]


def layer_name(layer: Mapping[str, Any]) -> str:
    return str(layer.get("name") or layer.get("config", {}).get("name"))


def _snake(name: str) -> str:
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
