"""What kernels call for narrow rows and for long sums, as plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticflow.native.routines.widen_rows import ROOM_BYTES
from staticflow.native.toolchain.target import LOCAL_ELEMENTS
from tests.support.made_up_memory import TYPES, Pointer, garbage, itemsize


def rows_abreast(columns: int, rows: int, cost: int) -> int:
    """Any power of two is right; more than there are rows must be right as well."""
    return 1 << (columns + rows + cost) % 4


def _repeat(room: Any, source: Any, columns: int, width: int) -> None:
    for i in range(width):
        room[i] = source[i % columns]


def _fold(room: Any, target: Any, columns: int, width: int) -> None:
    for i in range(columns):
        target[i] = sum(room[j] for j in range(i, width, columns))


def _begin_totals(parts: Any, totals: Any, count: int) -> None:
    for i in range(count):
        totals[i], parts[i] = np.float64(parts[i]), np.float32(0)


def _add_to_totals(parts: Any, totals: Any, count: int) -> None:
    for i in range(count):
        totals[i], parts[i] = totals[i] + np.float64(parts[i]), np.float32(0)


def _end_totals(parts: Any, totals: Any, count: int) -> None:
    for i in range(count):
        parts[i] = np.float32(totals[i])


def _room_for_totals(pointer: Any, rows: int) -> Any:
    return pointer if rows == 1 else Pointer(garbage(2 * ROOM_BYTES).view(np.float64), 0)


def _room(suffix: str) -> Any:
    def room(pointer: Any, rows: int) -> Any:
        count = ROOM_BYTES // itemsize(suffix)
        return pointer if rows == 1 else Pointer(garbage(ROOM_BYTES).view(TYPES[suffix])[:count], 0)

    return room


def _local(suffix: str) -> Any:
    def local() -> Any:
        items = garbage(LOCAL_ELEMENTS * itemsize(suffix)).view(TYPES[suffix])
        return Pointer(items[:LOCAL_ELEMENTS], 0)

    return local


def narrow_routines() -> dict[str, Any]:
    """All of them, by the names that kernels call."""
    names: dict[str, Any] = {
        **{f"local_{suffix}": _local(suffix) for suffix in TYPES},
        "begin_totals_f4": _begin_totals,
        "add_to_totals_f4": _add_to_totals,
        "end_totals_f4": _end_totals,
        "room_for_totals": _room_for_totals,
    }
    for suffix in ("f4", "f8"):
        names[f"rows_abreast_{suffix}"] = rows_abreast
        names[f"abreast_{suffix}"] = range
        names[f"repeat_{suffix}"], names[f"fold_{suffix}"] = _repeat, _fold
        names[f"room_{suffix}"] = _room(suffix)
    return names
