"""Where the elements of a value lie: a buffer, an offset, and a stride for each axis.

    x[2:, :] of a contiguous x[n0, n1]      offset 2 n1, strides (n1, 1)

A view is another such access to the same buffer; it moves no element.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from staticflow.graph.dims import AnyDim, product


@dataclass(frozen=True)
class StridedView:
    """Where an element of a value lies: `buffer[offset + sum(index * stride)]`.

    Offsets and strides are polynomials of size classes, in elements.
    """

    buffer: int
    offset: AnyDim
    shape: tuple[AnyDim, ...]
    strides: tuple[AnyDim, ...]

    @staticmethod
    def contiguous(buffer: int, shape: tuple[AnyDim, ...]) -> StridedView:
        """The row-major layout."""
        return StridedView(buffer, 0, shape, contiguous_strides(shape))

    @property
    def is_contiguous(self) -> bool:
        """Whether this is the row-major layout from an offset on."""
        expected = contiguous_strides(self.shape)
        return all(
            s == e or n == 1 for s, e, n in zip(self.strides, expected, self.shape, strict=True)
        )


def contiguous_strides(shape: tuple[AnyDim, ...]) -> tuple[AnyDim, ...]:
    """Row-major strides of a shape."""
    return tuple(product(shape[axis + 1 :]) for axis in range(len(shape)))


def merge_strides(shape: tuple[AnyDim, ...], strides: tuple[AnyDim, ...]) -> AnyDim | None:
    """The stride of neighbouring axes taken as one axis, where they lie evenly; else None."""
    wide = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    for (_, outer), (n, inner) in pairwise(wide):
        if outer != inner * n:
            return None
    return wide[-1][1] if wide else 1
