"""Products with a B that is used again and again: its panels are made once, and kept.

    pack     B (k x n)      ->  panels (`gemm.packing`), of as many columns as the widest strip has
    packed   A, panels      ->  C = or += A @ B, by the tiles alone

A panel is read with stride one, however B lies. Where every step of a loop multiplies by the same
weights, this costs one copy before the loop. Measured as in `gemm`, GFLOP/s in float32 of the
product as it would be made otherwise | with panels:

    16x128x32 B'    197    265          8x256x1024      159    247
    32x512x128 B'   227    272          32x512x2048     222    270
    8x1024x256 B'    93    250          32x2048x512 B'  174    273
"""

from __future__ import annotations

from staticflow.native.gemm.blocked import SLAB
from staticflow.native.gemm.builder import POINTER, Code, Value, number

SPARE_ROWS = 16  # lanes of the narrowest elements: what is written behind the last panel
WIDEST = 64  # columns of a panel, at most


def panels(code: Code, vectors: int) -> None:
    """The external functions `sf_pack_<suffix>` and `sf_packed_<suffix>`.

    Room for the panels: (k + SPARE_ROWS) * (n + WIDEST) elements.
    """
    x = code.function(f"sf_pack_{code.suffix}", "", "b to b_row b_col k n", external=True)
    b, to = (code.b.inttoptr(x[word], POINTER) for word in ("b", "to"))
    strides = [code.mul(x[word], code.size) for word in ("b_row", "b_col")]
    width = panel_width(code, x["n"], vectors)
    code.call("pack", b, to, *strides, x["k"], x["n"], width)
    code.b.ret_void()
    _packed(code, vectors)


def panel_width(code: Code, n: Value, vectors: int) -> Value:
    """The columns of a panel: those of the widest strip, or whole vectors for all that there are.

    A gap between the rows of a panel would leave places of the nearest cache empty.
    """
    return code.minimum(code.mul(code.vectors(n), code.lanes), vectors * code.lanes)


def _packed(code: Code, vectors: int) -> None:
    """The function `sf_packed_<suffix>`."""
    words = "m n k a a_row a_col panels c c_row accumulate"
    x = code.function(f"sf_packed_{code.suffix}", "", words, external=True)
    a, b, c = (code.b.inttoptr(x[word], POINTER) for word in ("a", "panels", "c"))
    a_row, a_col, c_row = (code.mul(x[word], code.size) for word in ("a_row", "a_col", "c_row"))
    row = code.mul(panel_width(code, x["n"], vectors), code.size)
    step = code.mul(x["k"], row)

    def slab(p: Value, k: Value) -> None:
        left, right = code.move(a, code.mul(p, a_col)), code.move(b, code.mul(p, row))
        adds = code.b.select(code.is_(p, ">", 0), number(1), x["accumulate"])
        strides = (a_row, a_col, row, c_row)
        code.call("columns", left, right, c, *strides, k, adds, x["m"], x["n"], step)

    code.blocks(x["k"], SLAB, slab)
    code.b.ret_void()
