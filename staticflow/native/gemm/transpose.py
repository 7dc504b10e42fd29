"""Copying a matrix turned: square blocks are transposed in registers.

x: rows x columns             y: columns x rows
+---+---+-+                   +---+---+
| 0 | 1 | |                   | 0'| 3'|
+---+---+-+         ->        +---+---+
| 3 | 4 | |                   | 1'| 4'|
+---+---+-+                   +---+---+
                              +---+---+
"""

from __future__ import annotations

from collections.abc import Callable

from staticflow.native.gemm.builder import POINTER, Code, Value, Values, number
from staticflow.native.gemm.packing import transpose
from staticflow.native.gemm.tile import apart

WORDS = "x y rows columns"


def turn(code: Code) -> None:
    """The external function `sf_turn_<suffix>`; rows of x and of y follow each other."""
    x = code.function(f"sf_turn_{code.suffix}", "", WORDS, external=True)
    x["x"], x["y"] = (code.b.inttoptr(x[word], POINTER) for word in ("x", "y"))
    x["x_row"] = code.mul(x["columns"], code.size)
    x["y_row"] = code.mul(x["rows"], code.size)

    covered = code.all(*(code.is_(x[word], ">=", code.lanes) for word in ("rows", "columns")))
    code.cases((covered, lambda: _blocks(code, x, _whole)), (None, lambda: _blocks(code, x, _part)))
    code.b.ret_void()


def _blocks(code: Code, x: Values, block: Callable[[Code, Values, Value, Value], None]) -> None:
    """The block at row i and column j of x, for all of them."""
    code.blocks(
        x["columns"],
        code.lanes,
        lambda j, _: code.blocks(x["rows"], code.lanes, lambda i, _: block(code, x, i, j)),
    )


def _corners(code: Code, x: Values, i: Value, j: Value) -> tuple[Value, Value]:
    """Where a block begins in x and in y."""
    return tuple(
        code.move(code.move(x[matrix], code.mul(row, x[f"{matrix}_row"])), code.mul(at, code.size))
        for matrix, row, at in (("x", i, j), ("y", j, i))
    )


def _whole(code: Code, x: Values, i: Value, j: Value) -> None:
    """A block of full size; the last ones begin before i and j, and do some elements again."""
    i = code.minimum(i, code.sub(x["rows"], code.lanes))
    j = code.minimum(j, code.sub(x["columns"], code.lanes))
    source, target = _corners(code, x, i, j)
    lines = [code.load(line) for line in apart(code, source, x["x_row"], code.lanes)]
    places = apart(code, target, x["y_row"], code.lanes)
    for place, value in zip(places, transpose(code, lines), strict=True):
        code.store(value, place)


def _part(code: Code, x: Values, i: Value, j: Value) -> None:
    """A block of fewer rows or columns. Lines beyond the last stand in for it."""
    height = code.minimum(code.sub(x["rows"], i), code.lanes)
    width = code.minimum(code.sub(x["columns"], j), code.lanes)
    source, target = _corners(code, x, i, j)
    along, across = code.mask(width), code.mask(height)
    lines = [
        code.load(code.move(source, code.mul(_up_to(code, r, height), x["x_row"])), along)
        for r in range(code.lanes)
    ]
    turned = transpose(code, lines)
    for r, value in reversed(list(enumerate(turned))):  # so the last line is stored last
        place = code.move(target, code.mul(_up_to(code, r, width), x["y_row"]))
        code.store(value, place, across)


def _up_to(code: Code, r: int, count: Value) -> Value:
    return code.minimum(number(r), code.sub(count, 1))
