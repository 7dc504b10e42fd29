"""Blocks of a large product, copied into `work` where its operands lie badly in memory.

      k in slabs of DEPTH                 B, one slab                 work
      +------+------+--+                +--------------+            +-----------+---------+
      |      |      |  | m in blocks    | panel, panel | DEPTH  ->  | panels    | block   |
      |  A   |      |  | of HEIGHT      +--------------+            | of B      | of A    |
      |      |      |  |                  n in blocks               +-----------+---------+
      +------+------+--+

For every slab and every block of columns: copy B's panels; for every block of rows: copy A's block
if its columns compete for places in the cache (a multiple of the page apart), and run the tiles.
A product of few rows takes one panel of B at a time, which is then still in the first-level cache.
"""

from __future__ import annotations

from staticflow.native.gemm.builder import Code, Value, Values, number
from staticflow.native.gemm.scratch import HALF_BYTES

DEPTH = 256
SLAB = 512  # of k, where operands are read in place: every tile of C reads its part again
HEIGHT = 240  # rows of a copied block of A: an odd number of cache lines in either precision
PAGE = 4096  # lines this far apart compete for the same places in a first-level cache
POINTERS, NUMBERS = "a b c work", "a_row a_col b_row b_col c_row k accumulate m n"
WORDS = f"{POINTERS} {NUMBERS}"


def direct(code: Code, x: Values, vectors: int) -> None:
    """The tiles, straight from A and B, in slabs of k that a second-level cache holds."""

    def slab(p: Value, k: Value) -> None:
        a = code.move(x["a"], code.mul(p, x["a_col"]))
        b = code.move(x["b"], code.mul(p, x["b_row"]))
        accumulate = code.b.select(code.is_(p, ">", 0), number(1), x["accumulate"])
        part = x | {"a": a, "b": b, "k": k, "accumulate": accumulate}
        _tiles(code, part, number(vectors * code.vector_bytes))

    code.blocks(x["k"], SLAB, slab)


def _tiles(code: Code, x: Values, b_step: Value) -> None:
    words = "a b c a_row a_col b_row c_row k accumulate m n".split()
    code.call("columns", *[x[word] for word in words], b_step)


def blocked(code: Code, vectors: int) -> None:
    """The function `blocked`: the whole product through `work`; panels of `vectors` vectors."""
    x = code.function("blocked", POINTERS, NUMBERS)
    panel = vectors * code.lanes
    widest = HALF_BYTES // (DEPTH * code.size * panel) * panel
    single = code.is_(x["m"], "<=", HEIGHT)
    copy_a = code.b.and_(is_pages(code, x["a_col"]), code.is_(x["n"], ">=", 128))
    x["width"] = code.b.select(single, number(panel), number(widest))
    x["copy_once"] = code.b.and_(copy_a, single)
    x["copy_often"] = code.b.and_(copy_a, code.b.not_(single))
    code.blocks(x["k"], DEPTH, lambda p, k: _slab(code, x, p, k, panel))
    code.b.ret_void()


def _slab(code: Code, x: Values, p: Value, k: Value, panel: int) -> None:
    """C = or += the product of `k` columns of A and rows of B, from p on."""
    a = code.move(x["a"], code.mul(p, x["a_col"]))
    b = code.move(x["b"], code.mul(p, x["b_row"]))
    accumulate = code.b.select(code.is_(p, ">", 0), number(1), x["accumulate"])
    x = x | {"a": a, "k": k, "accumulate": accumulate}
    x |= _copied(code, x, x["m"], x["copy_once"])

    def columns(j: Value, n: Value) -> None:
        source = code.move(b, code.mul(j, x["b_col"]))
        code.call("pack", source, x["work"], x["b_row"], x["b_col"], k, n, number(panel))
        c = code.move(x["c"], code.mul(j, code.size))
        panels = {"b": x["work"], "b_row": number(panel * code.size), "c": c, "n": n}
        code.blocks(x["m"], HEIGHT, lambda i, m: _rows(code, x | panels, i, m, panel))

    code.blocks(x["n"], x["width"], columns)


def _rows(code: Code, x: Values, i: Value, m: Value, panel: int) -> None:
    """`m` rows from row i on, against the panels."""
    a = code.move(x["a"], code.mul(i, x["a_row"]))
    c = code.move(x["c"], code.mul(i, x["c_row"]))
    x = x | {"m": m, "a": a, "c": c}
    x |= _copied(code, x, m, x["copy_often"])
    _tiles(code, x, code.mul(x["k"], panel * code.size))


def _copied(code: Code, x: Values, m: Value, condition: Value) -> Values:
    """Where A is: if the condition holds, copied into its half of `work`, rows side by side."""

    def copy() -> list[Value]:
        to = code.move(x["work"], HALF_BYTES)
        code.call("pack", x["a"], to, x["a_col"], x["a_row"], x["k"], m, number(HEIGHT))
        return [to, number(code.size), number(HEIGHT * code.size)]

    words = ("a", "a_row", "a_col")
    places = code.either(condition, copy, lambda: [x[word] for word in words])
    return dict(zip(words, places, strict=True))


def is_pages(code: Code, distance: Value) -> Value:
    """Whether a distance is a multiple of the page, and not zero."""
    rest = code.b.and_(distance, number(PAGE - 1))
    return code.b.and_(code.is_(rest, "==", 0), code.is_(distance, "!=", 0))


def copying_pays(code: Code, x: Values) -> Value:
    """Whether the copies cost less than what reading in place would lose.

    Measured: vectors of 64 bytes in strips of four read B in place at full speed up to the size of
    a second-level cache, and beyond it unless rows are pages apart; strips of two vectors of 32
    bytes, a single line of every row, lose earlier.
    """
    narrow = code.vector_bytes < 64
    extent = code.mul(code.mul(x["k"], x["n"]), code.size)
    pages = code.b.or_(is_pages(code, x["b_row"]), is_pages(code, x["a_col"]))
    competing = code.all(
        pages,
        code.is_(x["m"], ">=", 32 if narrow else 64),
        code.is_(extent, ">", (1 << 16) if narrow else (1 << 20)),
    )
    large = code.all(
        code.is_(x["m"], ">=", 64 if narrow else 256),
        code.is_(extent, ">", (1 << 18) if narrow else (1 << 23)),
    )
    return code.b.or_(competing, large)
