"""Products of a few elements, where finding the best way takes longer than the product.

Up to 8 rows, 8 columns (or as many as a vector holds) and 8 to sum over, of any strides. Four rows
of C at a time, each in a vector that may be mostly empty:

      sums[r] += a[r][p] in every lane * row p of B         p = 0, 1, ...

Rows of B that are not contiguous are gathered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from llvmlite import ir

from staticflow.native.gemm.builder import I32, I64, POINTER, Code, Value, Values

Load: TypeAlias = Callable[[Value], Value]
MOST = 8
ROWS = 4


def tiny(code: Code) -> None:
    """The function `tiny`; k must not be 0."""
    x = code.function("tiny", "a b c", "a_row a_col b_row b_col c_row k accumulate m n")
    mask = code.mask(x["n"])
    straight = code.is_(x["b_col"], "==", code.size)
    code.cases(
        (straight, lambda: _product(code, x, mask, lambda b: code.load(b, mask))),
        (None, lambda: _product(code, x, mask, partial(_gather, code, x["b_col"], mask))),
    )
    code.b.ret_void()


def _gather(code: Code, column: Value, mask: Value, b: Value) -> Value:
    """The elements from `b` on, `column` bytes apart."""
    lanes = ir.Constant(ir.VectorType(I64, code.lanes), list(range(code.lanes)))
    distances = code.b.mul(lanes, code.splat(column, ir.VectorType(I64, code.lanes)))
    places = code.b.gep(b, [distances], source_etype=ir.IntType(8))
    name = f"llvm.masked.gather.{code.overload}.v{code.lanes}p0"
    align = ir.Constant(I32, code.size)
    places.type = ir.VectorType(POINTER, code.lanes)
    return code.intrinsic(name, code.vector, places, align, mask, code.zero)


def _product(code: Code, x: Values, mask: Value, load: Load) -> None:
    code.blocks(x["m"], ROWS, lambda i, _: _rows(code, x, mask, load, i))


def _rows(code: Code, x: Values, mask: Value, load: Load, i: Value) -> None:
    """Some rows from row i on; those beyond the last row repeat it."""
    last = code.sub(x["m"], 1)
    rows = [code.minimum(code.add(i, r), last) for r in range(ROWS)]

    def step(state: list[Value]) -> list[Value]:
        b, *pairs = state
        factors, sums = pairs[:ROWS], pairs[ROWS:]
        line = load(b)
        sums = [code.fma(code.broadcast(a), line, s) for a, s in zip(factors, sums, strict=True)]
        moved = [code.move(a, x["a_col"]) for a in factors]
        return [code.move(b, x["b_row"]), *moved, *sums]

    lines = [code.move(x["a"], code.mul(row, x["a_row"])) for row in rows]
    state = [x["b"], *lines, *[code.zero] * ROWS]
    sums = code.repeat(x["k"], state, step)[1 + ROWS :]
    places = [code.move(x["c"], code.mul(row, x["c_row"])) for row in rows]
    before = code.either(
        code.is_(x["accumulate"], "!=", 0),
        lambda: [code.load(place, mask) for place in places],
        lambda: [code.zero] * ROWS,
    )
    for place, new, old in zip(places, sums, before, strict=True):
        code.store(code.b.fadd(new, old), place, mask)


def is_tiny(code: Code, x: Values) -> Value:
    """Whether `tiny` is the way."""
    return code.all(
        code.is_(x["m"], "<=", MOST),
        code.is_(x["n"], "<=", min(MOST, code.lanes)),
        code.is_(x["k"], "<=", MOST),
        code.is_(x["k"], ">", 0),
    )
