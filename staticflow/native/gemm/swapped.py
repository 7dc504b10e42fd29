"""The product with the roles of A and B exchanged: C^T = B^T A^T, written back as C.

When B's columns are contiguous (dX = dZ W^T), B^T is what a tile wants on its left, and nothing of
B needs copying. A, the smaller one, is packed instead, its rows as lanes, and every finished tile
is a square block that is turned in registers before it is stored:

             rows of C as lanes
            +----------------+             +----------------+
   columns  | accumulators   |   turned    | rows of C,     |
   of B     | lanes x 1      |     ->      | lanes columns  |
            +----------------+             +----------------+
"""

from __future__ import annotations

from staticflow.native.gemm.blocked import is_pages
from staticflow.native.gemm.builder import Code, Value, Values, number
from staticflow.native.gemm.packing import transpose
from staticflow.native.gemm.scratch import GEMM_WORK_BYTES
from staticflow.native.gemm.tile import Epilogue, multiply


def flipped_vectors(code: Code) -> int:
    """Vectors of rows of C in one tile, `lanes` columns high."""
    return max(1, (8 if code.vector_bytes == 32 else 16) // code.lanes)


def flipped(code: Code, epilogue: Epilogue | None = None) -> None:
    """The function `flipped`: the whole product, for n >= lanes; `work` must hold A in panels.

    With an epilogue, only for whole tiles of rows, and not added to what C is.
    """
    pointers = "a b c work" + (f" {epilogue.words}" if epilogue else "")
    x = code.function("flipped", pointers, "a_row a_col b_row b_col c_row k accumulate m n")
    vectors = flipped_vectors(code)
    rows = vectors * code.lanes
    code.call("pack", x["a"], x["work"], x["a_col"], x["a_row"], x["k"], x["m"], number(rows))

    def panel(i: Value, _: Value) -> None:
        lines = code.move(x["work"], code.mul(code.mul(i, x["k"]), code.size))
        code.blocks(
            x["n"], code.lanes, lambda j, _: _block(code, x, lines, i, j, vectors, epilogue)
        )

    code.blocks(x["m"], rows, panel)
    code.b.ret_void()


def _block(
    code: Code, x: Values, lines: Value, i: Value, j: Value, vectors: int, epilogue: Epilogue | None
) -> None:
    """`vectors` square blocks of C from row i and column j on.

    The last block begins where it ends with column n, and stores only the columns that are new.
    """
    start = code.minimum(j, code.sub(x["n"], code.lanes))
    mask = code.mask_from(code.sub(j, start))
    operands = {
        "a": code.move(x["b"], code.mul(start, x["b_col"])),
        "a_row": x["b_col"],
        "a_col": x["b_row"],
        "b": lines,
        "k": x["k"],
        "b_row": number(vectors * code.vector_bytes),
    }
    nothing = [code.zero] * (code.lanes * vectors)
    sums = multiply(code, operands, code.lanes, [None] * vectors)
    rows = [row for v in range(vectors) for row in transpose(code, sums[v::vectors])]
    along = code.mul(start, code.size)
    corner = code.move(x["c"], along)
    if epilogue is not None:
        down = code.mul(i, x["c_row"])
        at = x | epilogue.right(x, along)
        epilogue.store(at, rows, [mask], epilogue.down(at, down) | {"c": code.move(corner, down)})
        return
    last = code.sub(x["m"], 1)
    places = [
        code.move(corner, code.mul(code.minimum(code.add(i, r), last), x["c_row"]))
        for r in range(len(rows))
    ]
    before = code.either(
        code.is_(x["accumulate"], "!=", 0),
        lambda: [code.load(place, mask) for place in places],
        lambda: nothing,
    )
    # Rows beyond the last go to the last one's place, so it must be stored after them: backwards.
    for place, value, old in reversed(list(zip(places, rows, before, strict=True))):
        code.store(code.b.fadd(value, old), place, mask)


def flip_pays(code: Code, x: Values) -> Value:
    """Whether `flipped` is possible, and turns and idles less than turning B would cost."""
    m, n, k = x["m"], x["n"], x["k"]
    rows = code.lanes * flipped_vectors(code)
    padded = code.mul(code.b.udiv(code.add(m, rows - 1), number(rows)), rows)
    room = code.mul(code.mul(padded, code.add(k, code.lanes)), code.size)
    area = code.mul(k, n)
    idle = code.b.udiv(code.mul(code.mul(area, code.sub(padded, m)), 2), number(code.lanes))
    turned = code.mul(m, code.add(k, n))
    return code.all(
        code.b.not_(is_pages(code, x["b_col"])),
        code.is_(x["b_row"], "==", code.size),
        code.is_(room, "<=", GEMM_WORK_BYTES),
        code.is_(n, ">=", code.lanes),
        code.is_(code.add(idle, turned), "<", area),
    )
