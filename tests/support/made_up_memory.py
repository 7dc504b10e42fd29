"""Memory at made-up addresses: each buffer has four gigabytes of its own, and bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
TYPES: dict[str, Any] = {
    "f4": np.float32, "f8": np.float64, "i4": np.int32, "i8": np.int64, "b1": np.bool_,
}  # fmt: skip
_ROOM = 32
_MIDDLE = 1 << 31


class Memory:
    """Buffers by made-up address."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.uint8]] = []

    def add(self, data: Array) -> int:
        """The address of an array's bytes."""
        self.blocks.append(data.reshape(-1).view(np.uint8))
        return (len(self.blocks) << _ROOM) + _MIDDLE

    def pointer(self, address: int, suffix: str) -> Pointer:
        """A typed pointer, as a kernel has it."""
        block = self.blocks[(address >> _ROOM) - 1]
        items = block[: block.size // itemsize(suffix) * itemsize(suffix)].view(TYPES[suffix])
        offset = (address & ((1 << _ROOM) - 1)) - _MIDDLE
        return Pointer(items, offset // itemsize(suffix))


def itemsize(suffix: str) -> int:
    """Bytes of one element."""
    return int(np.dtype(TYPES[suffix]).itemsize)


class Pointer:
    """`p[i]` with bounds."""

    def __init__(self, items: Array, offset: int) -> None:
        self.items, self.offset = items, offset

    def _position(self, index: Any) -> int:
        position = int(index) + self.offset
        assert 0 <= position < self.items.size, f"element {position} of {self.items.size}"
        return position

    def __getitem__(self, index: Any) -> Any:
        return self.items[self._position(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.items[self._position(index)] = value


def garbage(count: int) -> NDArray[np.uint8]:
    """Bytes that make NaN of floats and nonsense of integers."""
    return np.full(count, 0xFF, np.uint8)
