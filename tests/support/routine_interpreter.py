"""The native routines as plain Python over made-up addresses, for the interpreter of loops.

The text of a routine is run as it stands; what it calls of LAPACK, NumPy's functions take the place
of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from staticflow.native.routines.table import ITEM_BYTES, ROUTINES, Lapack

Pointer = Callable[[int, str], Any]  # typed memory at an address


def routines(pointer: Pointer, names: Mapping[str, Any]) -> dict[str, Any]:
    """Every routine for every dtype; `names` holds the matrix products."""
    made: dict[str, Any] = {}
    for suffix, size in ITEM_BYTES.items():
        scope = dict(names)
        scope |= {f"{t}ptr": partial(pointer, suffix=t) for t in (*ITEM_BYTES, "b1")}
        scope["gemm"] = names[f"gemm_{suffix}"]
        scope |= {"load_acquire": lambda _address: 0, "stopped": lambda _address: 0}
        scope["turned"] = partial(_turned, pointer, suffix)
        for name, routine in ROUTINES.items():
            if not any(isinstance(called, Lapack) for called in routine.calls):
                exec(routine.source.replace("{t}", suffix).replace("{size}", str(size)), scope)
                made[f"{name}_{suffix}"] = scope[name]
        made[f"eigh_{suffix}"] = partial(_eigh, pointer, suffix)
        made[f"svd_{suffix}"] = partial(_svd, pointer, suffix)
    return made


def _turned(pointer: Pointer, suffix: str, x: int, y: int, rows: int, columns: int) -> None:
    """The copy of a matrix, turned."""
    _write(pointer(y, suffix), _read(pointer(x, suffix), (rows, columns)).T)


def _eigh(
    pointer: Pointer, suffix: str, a: int, w: int, v: int, scratch: int, words: int, batch: int,
    n: int, stop: int,
) -> None:  # fmt: skip
    """The eigenvalues and eigenvectors of symmetric matrices."""
    matrices = _read(pointer(a, suffix), (batch, n, n))
    good = np.isfinite(matrices).all(axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(good[:, None, None], matrices, 0.0))
    _write(pointer(w, suffix), np.where(good[:, None], values, np.nan))
    _write(pointer(v, suffix), np.where(good[:, None, None], vectors, np.nan))


def _svd(
    pointer: Pointer, suffix: str, a: int, u: int, w: int, v: int, scratch: int, words: int,
    batch: int, m: int, n: int, stop: int,
) -> None:  # fmt: skip
    """The singular values and vectors of matrices."""
    matrices = _read(pointer(a, suffix), (batch, m, n))
    good = np.isfinite(matrices).all(axis=(1, 2))[:, None]
    parts = np.linalg.svd(np.where(good[..., None], matrices, 0.0), full_matrices=False)
    for address, part in zip((u, w, v), parts, strict=True):
        keep = good if part.ndim == 2 else good[..., None]
        _write(pointer(address, suffix), np.where(keep, part, np.nan))


def _read(memory: Any, shape: tuple[int, ...]) -> Any:
    return np.array([memory[k] for k in range(int(np.prod(shape)))]).reshape(shape)


def _write(memory: Any, array: Any) -> None:
    for k, value in enumerate(array.reshape(-1)):
        memory[k] = value
