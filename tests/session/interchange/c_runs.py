"""Exported C, compiled with all warnings as errors, and called by ctypes."""

from __future__ import annotations

import copy
import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from staticflow.graph.leaves import Input
from staticflow.graph.node import Node
from staticflow.graph.traversal import leaves
from staticflow.session.interchange.c_out.model import enter
from staticflow.session.interchange.c_out.text import Argument, Module

Array = NDArray[Any]
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
DTYPES = {"f4": np.float32, "f8": np.float64, "i4": np.int32, "i8": np.int64, "b1": np.bool_}
needs_compiler = pytest.mark.skipif(not COMPILERS, reason="there is no C compiler")


def compiled(module: Module, folder: Path, compiler: str, *flags: str, main: str = "") -> Path:
    """The library of a module, or the program of it and a `main`."""
    source, header = folder / f"{module.name}.c", folder / f"{module.name}.h"
    source.write_text(module.source(header.name))
    header.write_text(module.header())
    result = folder / f"{module.name}.{'out' if main else 'so'}"
    files = [str(source)]
    if main:
        (folder / "main.c").write_text(main)
        files.append(str(folder / "main.c"))
    kind = () if main else ("-fPIC", "-shared")
    command = [compiler, *STRICT, *kind, *(flags or ("-O2",)), *files, "-o", str(result), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return result


class Library:
    """The functions of a module, by name."""

    def __init__(self, module: Module, folder: Path, compiler: str, *flags: str) -> None:
        try:
            path = compiled(module, folder, compiler, *flags)
        except subprocess.CalledProcessError as error:
            pytest.fail(error.stderr[:4000])
        self.library = ctypes.CDLL(str(path))
        self.blob = None if module.blob is None else np.frombuffer(bytes(module.blob), np.uint8)
        self.entries = {entry.name: entry for entry in module.entries}

    def __call__(self, name: str, feeds: Mapping[str, Array], *first: Any) -> dict[str, Array]:
        """The outputs of a function, whose memory all begins as NaN."""
        entry = self.entries[name]
        arrays = {a.label: _array(a, feeds) for a in entry.arguments}
        scratch = np.full(entry.scratch + 64, 0xFF, np.uint8)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays.values()]
        if self.blob is not None:
            pointers.append(ctypes.c_void_p(self.blob.ctypes.data))
        getattr(self.library, name)(*first, *pointers, ctypes.c_void_p(scratch.ctypes.data))
        assert (scratch[entry.scratch :] == 0xFF).all(), "scratch is larger than it says"
        return {a.label: arrays[a.label] for a in entry.arguments if not a.reads}


def _array(argument: Argument, feeds: Mapping[str, Array]) -> Array:
    dtype = DTYPES[argument.suffix]
    if not argument.reads:
        count = argument.count * np.dtype(dtype).itemsize
        return np.full(count, 0xFF, np.uint8).view(dtype).reshape(argument.shape)
    given = np.array(feeds[argument.label], dtype, order="C")
    assert given.shape == argument.shape
    return given


def entered(module: Module, name: str, outputs: Sequence[Node], env: Mapping[Node, Array]) -> None:
    """Add a function of inputs, whose sizes are those of the arrays."""
    sizes: dict[str, int] = {}
    for node in leaves(outputs, Input):
        pairs = zip(node.shape, env[node].shape, strict=True)
        sizes |= {str(n): m for n, m in pairs if not isinstance(n, int)}
    trial = Module(**{k: copy.copy(v) for k, v in vars(module).items()})
    enter(trial, name, {f"out{k}": y for k, y in enumerate(outputs)}, {}, sizes)
    vars(module).update(vars(trial))
