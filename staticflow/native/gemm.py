"""General matrix product for one core, as LLVM IR. (docs to come)"""

from __future__ import annotations

from llvmlite import ir

from staticflow.native.gemm_block import HALF_BYTES, WORDS, blocked, copying_pays, direct
from staticflow.native.gemm_code import POINTER, Code, Value, Values, number
from staticflow.native.gemm_flip import flip_pays, flipped
from staticflow.native.gemm_line import combine, dots
from staticflow.native.gemm_pack import pack
from staticflow.native.gemm_tile import columns, tile_heights

GEMM_WORK_BYTES = 2 * HALF_BYTES
ARGUMENTS = "m n k a a_row a_col b b_row b_col c c_row accumulate work"


def gemm_ir(dtype: str, vector_bytes: int) -> str:
    """LLVM IR of a module with the external function sf_gemm_f4 or sf_gemm_f8."""
    code = Code(dtype, vector_bytes)
    heights = tile_heights(vector_bytes)
    vectors = max(heights)
    columns(code, heights)
    dots(code)
    combine(code)
    pack(code, vectors)
    blocked(code, vectors)
    flipped(code)
    _entry(code, vectors)
    return str(code.module)


def _entry(code: Code, vectors: int) -> None:
    """The external function: empty products here, all others by `_choose`."""
    x = code.function(f"sf_gemm_{code.suffix}", "", ARGUMENTS, external=True)
    for word in ("a", "b", "c", "work"):
        x[word] = code.b.inttoptr(x[word], POINTER)
    for word in ("a_row", "a_col", "b_row", "b_col", "c_row"):
        x[word] = code.mul(x[word], code.size)
    with code.when(code.all(code.is_(x["m"], ">", 0), code.is_(x["n"], ">", 0))):
        code.cases(
            (code.is_(x["k"], ">", 0), lambda: _choose(code, x, vectors)),
            (code.is_(x["accumulate"], "==", 0), lambda: _clear(code, x)),
        )
    code.b.ret_void()


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
