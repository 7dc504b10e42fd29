"""General matrix product for one core, as LLVM IR: C = A @ B or C += A @ B, sizes at run time.

The ways, chosen by sizes and strides alone, so that results repeat bit for bit:

    nothing above 8                 gemm_tiny    four rows of C at a time
    n = 1, or m = 1                 gemm_line    scalar products, or a weighted sum of lines
    C narrower than a vector        gemm_narrow  several of k a vector, or C^T where A^T is wider
    rows of B contiguous            gemm_tile    register tiles, straight from A and B
    ... and large or page-strided   gemm_block   the same tiles on panels copied into `work`
    columns of B contiguous         gemm_flip    C^T = B^T A^T where A is the smaller to turn
    ... and m large                 gemm_block   B turned in registers on its way into `work`

A tile takes A with any strides, since it reads single elements of it; so a transposed A needs no
copy. Copies pay later than one would think: with rows of four vectors the second-level cache feeds
the tiles at full speed. A tile's row addresses are kept from LLVM's eyes (`Code.opaque`), which
otherwise derives them one from the other, in a chain as long as the tile is high.

Measured: GFLOP/s of one core, m x k x n, A' and B' transposed, here | OpenBLAS 0.3.30 (its
SkylakeX kernels, one thread) | ratio; Zen 5, AVX-512, 48 KB and 1 MB of caches. Both are called in
a native loop on the same arrays, in alternation, 40 rounds of 2 ms, the best of each. The peak (24
independent multiply-adds, no memory) measured there is 251 in float32 and 126 in float64.

                                  float32                  float64
    16x4x16                  85     69   1.24        73     58   1.26
    16x16x1                  37      8   4.36        34     12   2.81
    32x64x1                 132     57   2.33        82     39   2.14
    1x16x16                  41     26   1.57        30     22   1.35
    1x64x64                 167    133   1.26        91     71   1.28
    1x64x64 B'              156     84   1.86        94     53   1.76
    16x64x64                249    245   1.02       124    122   1.02
    32x64x64                253    246   1.03       124    124   1.00
    32x64x64 B'             211    112   1.88       111     62   1.80
    32x32x128               249    238   1.04       121    116   1.04
    16x10x128               226    216   1.05       114    108   1.05
    64x128x10               135    105   1.29        75     74   1.01
    128x64x10 A'            135    160   0.84        74     82   0.91
    64x128x10 B'            131    192   0.68        70     92   0.76
    64x10x128 B'            192    116   1.66        98     55   1.78
    16x784x128              252     90   2.79       117     58   1.99
    64x784x128              252    167   1.50       120     80   1.50
    784x16x128 A'           244    167   1.46       120     72   1.66
    784x64x128 A'           248    187   1.32       123     82   1.49
    16x128x784 B'           221     92   2.41       121     56   2.16
    64x128x784 B'           222    170   1.30       119     82   1.45
    128x512x512             246    197   1.25       109     91   1.20
    64x512x2048             212    177   1.20        93     81   1.15
    128x1024x1024           219    195   1.12        99     87   1.14
    1024x128x1024 A'        229    218   1.05       105     86   1.22
    128x1024x1024 B'        204    174   1.17        92     83   1.11
    1024x1024x1024          224    215   1.04       101     90   1.12

With 32-byte vectors on the same machine, which halves the peak, the larger of these products reach
90 to 120 in float32 and 47 to 59 in float64. Slower than OpenBLAS: 2 to 4 rows times a transposed B
with a large k, which is turned for too little work (4x512x128 B': 75 against 221).

Products with few columns have become faster since (`gemm.skinny`), in GFLOP/s: 32x64x3 93 in
float32 and 58 in float64, 715x16x4 146 and 81, 64x128x8 146 and 122, 128x64x10 A' 231 and 111,
16x715x4 A' 192 and 120.

Compiling one precision takes 0.55 s with 64-byte vectors (emission 0.10, optimisation 0.28, code
0.15) and 0.3 s with 32-byte vectors.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from staticflow.native.gemm.blocked import WORDS, blocked, copying_pays, direct
from staticflow.native.gemm.builder import POINTER, Code, Value, Values, number
from staticflow.native.gemm.gemv import combine, dots
from staticflow.native.gemm.packing import pack
from staticflow.native.gemm.prepacked import panels
from staticflow.native.gemm.skinny import quads, quads_pay, sideways, sideways_pays
from staticflow.native.gemm.swapped import flip_pays, flipped
from staticflow.native.gemm.tile import columns, tile_heights
from staticflow.native.gemm.tiny import is_tiny, tiny
from staticflow.native.gemm.transpose import turn

PIECE = 1 << 12  # of k in one sum: products of usual sizes are of one piece
WIDE = 1 << 12  # elements of C whose sums over pieces are added up in float64, on the stack
QUADS = "a b c work a_row b_row c_row k accumulate m n"
TINY = "a b c a_row a_col b_row b_col c_row k accumulate m n"
GENERAL = "a b c work m n k a_row a_col b_row b_col c_row accumulate"
SIDEWAYS = "a b c work a_col b_row b_col c_row k m n accumulate"
ARGUMENTS = "m n k a a_row a_col b b_row b_col c c_row accumulate work"


def gemm_ir(dtype: str, vector_bytes: int) -> str:
    """LLVM IR of a module with the external function sf_gemm_f4 or sf_gemm_f8.

    And with those of `gemm.prepacked` and `gemm.transpose`.
    """
    code = Code(dtype, vector_bytes)
    heights = tile_heights(vector_bytes)
    vectors = max(heights)
    tiny(code)
    columns(code, heights)
    dots(code)
    combine(code)
    pack(code, vectors)
    blocked(code, vectors)
    flipped(code)
    quads(code)
    sideways(code, vectors)
    panels(code, vectors)
    _general(code, vectors)
    turn(code)
    _entry(code)
    return str(code.module)


def _entry(code: Code) -> None:
    """The external function: tiny products here, which should not wait for much of a prologue."""
    x = code.function(f"sf_gemm_{code.suffix}", "", ARGUMENTS, external=True)
    _to_bytes(code, x)
    code.cases(
        (is_tiny(code, x), lambda: code.call("tiny", *[x[word] for word in TINY.split()])),
        (None, lambda: code.call("general", *[x[word] for word in GENERAL.split()])),
    )
    code.b.ret_void()


def _to_bytes(code: Code, x: Values) -> None:
    """Addresses and strides as the kernels want them."""
    for word in ("a", "b", "c", "work"):
        x[word] = code.b.inttoptr(x[word], POINTER)
    for word in ("a_row", "a_col", "b_row", "b_col", "c_row"):
        x[word] = code.mul(x[word], code.size)


def _general(code: Code, vectors: int) -> None:
    """The function `general`: empty products here, all others by `_choose`."""
    pointers = "a b c work"
    integers = " ".join(word for word in GENERAL.split() if word not in pointers.split())
    x = code.function("general", pointers, integers)
    code.module.globals["general"].attributes.add("noinline")
    with code.when(code.all(code.is_(x["m"], ">", 0), code.is_(x["n"], ">", 0))):
        long = code.is_(x["k"], ">", PIECE)
        few = code.is_(code.mul(x["m"], x["n"]), "<=", WIDE)
        wide = [(code.all(long, few), lambda: _wide_pieces(code, x))] if code.size == 4 else []
        code.cases(
            *wide,
            (long, lambda: _pieces(code, x)),
            (code.is_(x["k"], ">", 0), lambda: _choose(code, x, vectors)),
            (code.is_(x["accumulate"], "==", 0), lambda: _clear(code, x)),
        )
    code.b.ret_void()


def _pieces(code: Code, x: Values) -> None:
    """C = or += a product in pieces of k, each of which has sums of its own.

    A sum of 2^25 ones in one float32 would stay at 2^24.
    """

    def piece(p: Value, k: Value) -> None:
        accumulate = code.b.select(code.is_(p, ">", 0), number(1), x["accumulate"])
        _piece(code, x, p, k, accumulate)

    code.blocks(x["k"], PIECE, piece)


def _piece(code: Code, x: Values, p: Value, k: Value, accumulate: Value) -> None:
    """C = or += the part of a product that k steps from p on make."""
    a = code.move(x["a"], code.mul(p, x["a_col"]))
    b = code.move(x["b"], code.mul(p, x["b_row"]))
    part = x | {"a": a, "b": b, "k": k, "accumulate": accumulate}
    code.call("general", *[part[word] for word in GENERAL.split()])


def _wide_pieces(code: Code, x: Values) -> None:
    """As `_pieces`, with the sums over pieces in float64."""
    double = ir.DoubleType()
    totals = code.b.bitcast(code.b.alloca(double, WIDE), POINTER)

    def elements(change: Callable[[Value, Value], None]) -> None:
        """change(where an element of C lies, where its total does), for all of them."""

        def row(i: Value) -> None:
            c, first = code.move(x["c"], code.mul(i, x["c_row"])), code.mul(i, x["n"])

            def element(j: Value) -> None:
                total = code.move(totals, code.mul(code.add(first, j), 8))
                change(code.move(c, code.mul(j, code.size)), total)

            code.steps(number(0), x["n"], 1, element)

        code.steps(number(0), x["m"], 1, row)

    def wide(c: Value) -> Value:
        return code.b.fpext(code.load_scalar(c), double)

    def begin(c: Value, total: Value) -> None:
        zero = ir.Constant(double, 0.0)
        before = code.either(code.is_(x["accumulate"], "!=", 0), lambda: [wide(c)], lambda: [zero])
        code.b.store(before[0], total, align=8)

    def add(c: Value, total: Value) -> None:
        before = code.b.load(total, typ=double, align=8)
        code.b.store(code.b.fadd(before, wide(c)), total, align=8)

    def end(c: Value, total: Value) -> None:
        code.store_scalar(code.b.fptrunc(code.b.load(total, typ=double, align=8), code.element), c)

    def piece(p: Value, k: Value) -> None:
        _piece(code, x, p, k, number(0))
        elements(add)

    elements(begin)
    code.blocks(x["k"], PIECE, piece)
    elements(end)


def _choose(code: Code, x: Values, vectors: int) -> None:
    """The way for these sizes and strides, of which it is a pure function."""
    size = number(code.size)
    one_row, one_column = code.is_(x["m"], "==", 1), code.is_(x["n"], "==", 1)
    straight = code.is_(x["b_col"], "==", size)
    along = code.all(code.is_(x["a_col"], "==", size), code.is_(x["b_row"], "==", size))
    column_of_rows = code.all(
        one_column, code.is_(x["a_row"], "==", size), code.is_(x["c_row"], "==", size)
    )
    in_place = code.all(code.b.or_(straight, one_column), code.b.not_(copying_pays(code, x)))

    def call(name: str, words: str) -> None:
        code.call(name, *[size if word == "1" else x[word] for word in words.split()])

    code.cases(
        (code.all(one_column, along), lambda: call("dots", "b a c a_row c_row k m accumulate")),
        (column_of_rows, lambda: call("combine", "b a c b_row a_col k m accumulate")),
        (code.all(one_row, straight), lambda: call("combine", "a b c a_col b_row k n accumulate")),
        (quads_pay(code, x), lambda: call("quads", QUADS)),
        (sideways_pays(code, x), lambda: call("sideways", SIDEWAYS)),
        (in_place, lambda: direct(code, x, vectors)),
        (code.all(one_row, along), lambda: call("dots", "a b c b_col 1 k n accumulate")),
        (flip_pays(code, x), lambda: call("flipped", WORDS)),
        (None, lambda: call("blocked", WORDS)),
    )


def _clear(code: Code, x: Values) -> None:
    """C = 0."""
    zero = ir.Constant(code.element, 0.0)

    def row(i: Value) -> None:
        c = code.move(x["c"], code.mul(i, x["c_row"]))
        code.steps(
            number(0),
            x["n"],
            1,
            lambda j: code.store_scalar(zero, code.move(c, code.mul(j, code.size))),
        )

    code.steps(number(0), x["m"], 1, row)
