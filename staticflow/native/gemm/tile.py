"""The register tile of the matrix product, and the strips of the result that it covers.

                       nv vectors
                     +----+----+----+----+   <- one row of B (k of them), loaded as vectors
                     | b0 | b1 | b2 | b3 |
                     +----+----+----+----+
      +---+          +----+----+----+----+
  mr  | a | (splat)  | accumulators      |   acc[r][v] += a[r] * b[v]
 rows | . |          | mr x nv registers |
      +---+          +----+----+----+----+

A strip is all rows of the result and nv vectors of its columns; the narrower the strip, the taller
its tiles, so that about the same number of registers is in use. The last vector of a strip is
masked when the columns end inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol

from staticflow.native.gemm.builder import Code, Value, Values, number

OPERANDS = ("a b c", "a_row a_col b_row c_row k accumulate")


class Epilogue(Protocol):
    """What becomes of a tile before it is stored; see `gemm.epilogue`."""

    words: str  # the names of the pointers it uses

    def right(self, x: Values, distance: Value) -> Values:
        """The pointers `distance` bytes of columns further."""

    def down(self, x: Values, distance: Value) -> Values:
        """The pointers `distance` bytes of rows further."""

    def store(
        self, x: Values, values: list[Value], masks: list[Value | None], first: Values
    ) -> None:
        """Finish and store a tile that begins at `first`."""


FEW = 4  # sums in a tile: two multiply-adds a cycle, each four cycles long, are eight at a time


def tile_heights(vector_bytes: int) -> dict[int, tuple[int, ...]]:
    """Width of a strip in vectors -> heights of its tiles, tallest first.

    With 32 registers (AVX-512; 16-byte vectors are taken for NEON) up to 24 accumulators, with 16
    (AVX2) up to 12.
    """
    if vector_bytes == 32:
        return {1: (8, 4, 2, 1), 2: (6, 4, 2, 1)}
    return {1: (16, 8, 4, 2, 1), 2: (12, 8, 4, 2, 1), 3: (8, 4, 2, 1), 4: (6, 4, 2, 1)}


def apart(code: Code, first: Value, distance: Value, count: int) -> list[Value]:
    """`count` addresses, one `distance` after the other."""
    addresses = [first]
    while len(addresses) < count:
        addresses.append(code.move(addresses[-1], distance))
    return addresses


def row_addresses(code: Code, base: list[Value], row: Value, height: int) -> Iterator[Value]:
    """Addresses of `height` rows from a base for every third: base, base + row, base + 2 row."""
    twice = code.mul(row, 2)
    for r in range(height):
        yield code.move(base[r // 3], (number(0), row, twice)[r % 3]) if r % 3 else base[r // 3]


def multiply(code: Code, x: Values, height: int, masks: Sequence[Value | None]) -> list[Value]:
    """A[height, k] @ B[k, one vector for each mask], in registers, row by row.

    Where a tile has fewer sums than multiplications are under way at a time, each has a second one
    for every other of k.
    """
    thirds = apart(code, x["a"], code.mul(x["a_row"], 3), -(-height // 3))
    width = len(masks)

    def step(state: list[Value]) -> list[Value]:
        b, bases, sums = state[0], state[1 : 1 + len(thirds)], state[1 + len(thirds) :]
        bases = [code.opaque(base) for base in bases]
        vectors = [code.load(code.move(b, v * code.vector_bytes), masks[v]) for v in range(width)]
        later = []
        for r, address in enumerate(row_addresses(code, bases, x["a_row"], height)):
            factor = code.broadcast(address)
            later += [code.fma(factor, vectors[v], sums[r * width + v]) for v in range(width)]
        moved = [code.move(base, x["a_col"]) for base in bases]
        return [code.move(b, x["b_row"]), *moved, *later]

    count = height * width
    state = [x["b"], *thirds, *[code.zero] * count]
    if count > FEW:
        return code.repeat(x["k"], state, step)[1 + len(thirds) :]
    return _by_twos(code, x["k"], state, step, count)


def _by_twos(
    code: Code, k: Value, state: list[Value], step: Callable[[list[Value]], list[Value]], sums: int
) -> list[Value]:
    """The last `sums` values of the state after k steps, every other step with sums of its own."""

    def two(state: list[Value]) -> list[Value]:
        own, others = state[:-sums], state[-sums:]
        first = step(own)
        second = step([*first[:-sums], *others])
        return [*second[:-sums], *first[-sums:], *second[-sums:]]

    def pairs() -> list[Value]:
        done = code.repeat(code.b.udiv(k, number(2)), [*state, *[code.zero] * sums], two)
        own, others = done[-2 * sums : -sums], done[-sums:]
        added = [code.b.fadd(x, y) for x, y in zip(own, others, strict=True)]
        return [*done[: -2 * sums], *added]

    even = code.either(code.is_(k, ">", 1), pairs, partial(list, state))
    odd = code.is_(code.b.urem(k, number(2)), "==", 1)
    return code.either(odd, partial(step, even), partial(list, even))[-sums:]


def tile(
    code: Code, x: Values, height: int, width: int, mask: Value | None, epilogue: Epilogue | None
) -> None:
    """One tile: C[height, width vectors] = or += A[height, k] @ B[k, width vectors].

    With an epilogue, it is not added to what C is.
    """
    masks = [None] * (width - 1) + [mask]
    if epilogue is not None:
        values = multiply(code, x, height, masks)
        epilogue.store(x, values, masks, x)
        return
    places = [
        (code.move(row, v * code.vector_bytes) if v else row, m)
        for row in apart(code, x["c"], x["c_row"], height)
        for v, m in enumerate(masks)
    ]
    sums = multiply(code, x, height, masks)

    def added() -> list[Value]:
        return [code.b.fadd(code.load(p, m), s) for (p, m), s in zip(places, sums, strict=True)]

    # C is added to the sums, not they to C: an error grows with the slabs of k, not with k.
    totals = code.either(code.is_(x["accumulate"], "!=", 0), added, lambda: sums)
    for (place, m), value in zip(places, totals, strict=True):
        code.store(value, place, m)


def strip(
    code: Code, heights: tuple[int, ...], width: int, masked: bool, epilogue: Epilogue | None
) -> None:
    """The function strip_<width>[_masked]: all m rows, `width` vectors of columns."""
    pointers, integers = OPERANDS[0] + _words(epilogue), OPERANDS[1] + " m tail"
    x = code.function(strip_name(width, masked), pointers, integers)
    mask = code.mask(x["tail"]) if masked else None

    def rows(i: Value, height: int) -> None:
        down = code.mul(i, x["c_row"])
        at = {
            "a": code.move(x["a"], code.mul(i, x["a_row"])),
            "c": code.move(x["c"], down),
            **(epilogue.down(x, down) if epilogue else {}),
        }
        tile(code, x | at, height, width, mask, epilogue)

    i = code.steps(number(0), x["m"], heights[0], lambda i: rows(i, heights[0]))
    for taller, height in pairwise(heights):
        if taller <= 2 * height:
            i = _once(code, i, x["m"], height, rows)
        else:
            i = code.steps(i, x["m"], height, partial(rows, height=height))
    code.b.ret_void()


def _once(
    code: Code, i: Value, stop: Value, height: int, rows: Callable[[Value, int], None]
) -> Value:
    """rows(i, height) if it fits; returns the next row."""
    before = code.b.block
    fits = code.is_(code.add(i, height), "<=", stop)
    with code.when(fits):
        rows(i, height)
        inside = code.b.block
        after = code.add(i, height)
    phi = code.b.phi(i.type)
    phi.add_incoming(i, before)
    phi.add_incoming(after, inside)
    return phi


def _words(epilogue: Epilogue | None) -> str:
    return f" {epilogue.words}" if epilogue and epilogue.words else ""


def strip_name(width: int, masked: bool) -> str:
    return f"strip_{width}" + ("_masked" if masked else "")


def columns(
    code: Code, heights: dict[int, tuple[int, ...]], epilogue: Epilogue | None = None
) -> None:
    """The function `columns`: all strips of C. Strip s of B starts at b + s * b_step bytes."""
    for width, tall in heights.items():
        strip(code, tall, width, False, epilogue)
        strip(code, tall, width, True, epilogue)
    pointers, integers = OPERANDS[0] + _words(epilogue), OPERANDS[1] + " m n b_step"
    x = code.function("columns", pointers, integers)
    widest = max(heights)
    lanes = widest * code.lanes

    def run(width: int, masked: bool, j: Value, b: Value, tail: Value) -> None:
        along = code.mul(j, code.size)
        c = code.move(x["c"], along)
        others = epilogue.right(x, along).values() if epilogue else ()
        rest = [x[word] for word in OPERANDS[1].split()]
        code.call(strip_name(width, masked), x["a"], b, c, *others, *rest, x["m"], tail)

    def at(j: Value) -> Value:
        return code.move(x["b"], code.mul(code.b.udiv(j, number(lanes)), x["b_step"]))

    j = code.steps(number(0), x["n"], lanes, lambda j: run(widest, False, j, at(j), number(0)))
    left = code.sub(x["n"], j)
    with code.when(code.is_(left, ">", 0)):
        _last_strip(code, widest, left, lambda w, masked, tail: run(w, masked, j, at(j), tail))
    code.b.ret_void()


def _last_strip(
    code: Code, widest: int, left: Value, run: Callable[[int, bool, Value], None]
) -> None:
    """The strip narrower than the widest: 1 <= left < widest * lanes columns."""
    tail = code.b.urem(left, number(code.lanes))
    width = code.b.udiv(code.add(left, code.lanes - 1), number(code.lanes))
    for w in range(1, widest + 1):
        for masked in (False, True):
            if w == widest and not masked:
                continue
            relation = "!=" if masked else "=="
            right = code.b.and_(code.is_(width, "==", w), code.is_(tail, relation, 0))
            with code.when(right):
                run(w, masked, tail)
