"""Copying a block of B into panels, so that the tiles read it with stride one, from a near cache.

      B: k x n, any strides               panels, each k rows of one strip, back to back
      +-------+-------+---+               +-------+ +-------+ +---....+
      |   0   |   1   | 2 |      ->       |   0   | |   1   | | 2     |
      +-------+-------+---+               +-------+ +-------+ +---....+

Where the COLUMNS of B are contiguous, square blocks of one vector's size are turned in registers.
The last panel has the full width as well; what lies beyond column n in it is never used.
"""

from __future__ import annotations

from collections.abc import Callable

from staticflow.native.gemm.builder import Code, Value, Values, number


def halves(code: Code, x: Value, y: Value, distance: int) -> tuple[Value, Value]:
    """One exchange of a transposition: the lanes of x and y in two vectors.

    Within 16 bytes these are the interleavings that every vector machine has as one instruction;
    beyond, blocks of `distance` lanes change places.
    """
    n = code.lanes
    quad = 16 // code.size
    low, high = [], []
    if distance == 1 and quad == 4:
        for q in range(0, n, 4):
            low += [q, n + q, q + 1, n + q + 1]
            high += [q + 2, n + q + 2, q + 3, n + q + 3]
    else:
        for lane in range(n):
            upper = bool(lane & distance)
            low.append(n + lane - distance if upper else lane)
            high.append(n + lane if upper else lane + distance)
    return code.shuffle(x, y, low), code.shuffle(x, y, high)


def transpose(code: Code, rows: list[Value]) -> list[Value]:
    """`lanes` vectors of a square block turned: lane i of result j is lane j of row i."""
    rows = list(rows)
    distance = 1
    while distance < code.lanes:
        for i in range(code.lanes):
            if not i & distance:
                rows[i], rows[i + distance] = halves(code, rows[i], rows[i + distance], distance)
        distance *= 2
    if code.size == 4:  # the interleavings of single elements leave rows 1 and 2 of four swapped
        for i in range(0, code.lanes, 4):
            rows[i + 1], rows[i + 2] = rows[i + 2], rows[i + 1]
    return rows


PACK = ("b to", "b_row b_col k n panel")


def pack(code: Code, vectors: int) -> None:
    """The function `pack`: B[k, n] into panels of `panel` columns, at address `to`.

    Panels of `vectors` vectors are copied fastest. Up to lanes - 1 rows are written beyond the
    last panel, and before that over the next one, which is copied later.
    """
    _pack_straight(code, vectors)
    _pack_turned(code)
    _pack_scalar(code)
    x = code.function("pack", *PACK)
    straight = code.is_(x["b_col"], "==", code.size)
    turned = code.is_(x["b_row"], "==", code.size)
    with code.b.if_else(straight) as (yes, no):
        with yes:
            code.call("pack_straight", *x.values())
        with no, code.b.if_else(turned) as (then, otherwise):
            with then:
                code.call("pack_turned", *x.values())
            with otherwise:
                code.call("pack_scalar", *x.values())
    code.b.ret_void()


def _panels(code: Code, x: Values, body: Callable[[Value, Value, Value], None]) -> None:
    """body(first column, columns, address of the panel) for every panel."""

    def panel(j: Value, width: Value) -> None:
        body(j, width, code.move(x["to"], code.mul(code.mul(j, x["k"]), code.size)))

    code.blocks(x["n"], x["panel"], panel)


def _pack_straight(code: Code, vectors: int) -> None:
    """The function `pack_straight`: rows of B are contiguous and copied as vectors."""
    x = code.function("pack_straight", *PACK)
    row_bytes = vectors * code.vector_bytes
    row = code.mul(x["panel"], code.size)

    def copy(b: Value, to: Value, masks: list[Value | None]) -> None:
        def step(state: list[Value]) -> list[Value]:
            values = [
                code.load(code.move(state[0], v * code.vector_bytes), mask)
                for v, mask in enumerate(masks)
            ]
            if len(masks) > 1:  # the next panel will be wanted soon, and lies beside this one
                for distance in range(row_bytes, 2 * row_bytes, 64):
                    code.prefetch(code.move(state[0], distance))
            for v, value in enumerate(values):
                code.store(value, code.move(state[1], v * code.vector_bytes))
            return [code.move(state[0], x["b_row"]), code.move(state[1], row)]

        code.repeat(x["k"], [b, to], step)

    def panel(j: Value, width: Value, to: Value) -> None:
        b = code.move(x["b"], code.mul(j, code.size))
        with code.b.if_else(code.is_(width, "==", vectors * code.lanes)) as (whole, part):
            with whole:
                copy(b, to, [None] * vectors)
            with part:

                def vector(first: Value, count: Value) -> None:
                    distance = code.mul(first, code.size)
                    copy(code.move(b, distance), code.move(to, distance), [code.mask(count)])

                code.blocks(width, code.lanes, vector)

    _panels(code, x, panel)
    code.b.ret_void()


def _pack_turned(code: Code) -> None:
    """The function `pack_turned`: columns of B are contiguous; square blocks are transposed."""
    x = code.function("pack_turned", *PACK)
    row = code.mul(x["panel"], code.size)
    last = code.sub(x["n"], 1)

    def panel(j: Value, width: Value, to: Value) -> None:
        def vector(first: Value, _: Value) -> None:
            columns = []
            for r in range(code.lanes):
                column = code.minimum(code.add(code.add(j, first), r), last)
                columns.append(code.move(x["b"], code.mul(column, x["b_col"])))

            def block(p: Value, count: Value) -> None:
                mask = code.mask(count)
                along = code.mul(p, code.size)
                turned = transpose(code, [code.load(code.move(c, along), mask) for c in columns])
                place = code.move(code.move(to, code.mul(first, code.size)), code.mul(p, row))
                for r, value in enumerate(turned):
                    code.store(value, code.move(place, code.mul(row, r)))

            code.blocks(x["k"], code.lanes, block)

        code.blocks(width, code.lanes, vector)

    _panels(code, x, panel)
    code.b.ret_void()


def _pack_scalar(code: Code) -> None:
    """The function `pack_scalar`: any strides, one element at a time."""
    x = code.function("pack_scalar", *PACK)
    row = code.mul(x["panel"], code.size)

    def panel(j: Value, width: Value, to: Value) -> None:
        start = code.move(x["b"], code.mul(j, x["b_col"]))

        def line(p: Value) -> None:
            def step(state: list[Value]) -> list[Value]:
                code.store_scalar(code.load_scalar(state[0]), state[1])
                return [code.move(state[0], x["b_col"]), code.move(state[1], code.size)]

            b = code.move(start, code.mul(p, x["b_row"]))
            code.repeat(width, [b, code.move(to, code.mul(p, row))], step)

        code.steps(number(0), x["k"], 1, line)

    _panels(code, x, panel)
    code.b.ret_void()
