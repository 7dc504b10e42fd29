"""Products whose result is a line: one vector against the rows of a matrix, or its columns.

`dots`: the vector and the lines v are contiguous along k, which is summed over.

      x:  k elements    [ x0 | x1 | x2 .. ]        one vector register at a time
      v0: k elements    [    |    |    .. ]        sums[0] += x * v0
      v1:               [    |    |    .. ]        sums[1] += x * v1    ...

After the last block the `lanes` registers of partial sums are added across: a transposition in
which every exchange adds the two vectors it would have kept.

`combine`: the lines v are contiguous along n; y is their sum with the weights x. A single row of
registers would wait for itself, so that several weights are worked on at a time, in sums of their
own. Lines of up to eight vectors are read whole, in the order in which they lie, as prefetching
likes it: 50 lines of 50 in float64 take 89 ns (108 four vectors at a time), 116 from the
second-level cache (164).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from llvmlite import ir

from staticflow.native.gemm.builder import I32, Code, Value, Values, number
from staticflow.native.gemm.packing import halves
from staticflow.native.gemm.tile import apart, row_addresses


def sums_across(code: Code, vectors: list[Value]) -> Value:
    """Lane i of the result is the sum of vector i's lanes; missing vectors count as zero."""
    vectors = vectors + [code.zero] * (code.lanes - len(vectors))
    distance = 1
    while distance < code.lanes:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [code.b.fadd(*halves(code, x, y, distance)) for x, y in pairs]
        distance *= 2
    return vectors[0]


def dots(code: Code) -> None:
    """The function `dots`: y[j] = or += sum of x[p] * v[j][p], where v[j + 1] is v_row further."""
    x = code.function("dots", "x v y", "v_row y_step k n accumulate")
    sizes = sorted({code.lanes, max(1, code.lanes // 4), 1}, reverse=True)
    j = number(0)
    for size in sizes:
        j = code.steps(j, x["n"], size, partial(_group, code, x, size))
    code.b.ret_void()


def _group(code: Code, x: Values, size: int, j: Value) -> None:
    """`size` elements of y from j on."""
    first = code.move(x["v"], code.mul(j, x["v_row"]))
    thirds = apart(code, first, code.mul(x["v_row"], 3), -(-size // 3))

    def multiply(state: list[Value], mask: Value | None) -> list[Value]:
        vector, bases, sums = state[0], state[1 : 1 + len(thirds)], state[1 + len(thirds) :]
        bases = [code.opaque(base) for base in bases]
        factor = code.load(vector, mask)
        rows = row_addresses(code, bases, x["v_row"], size)
        later = [
            code.fma(factor, code.load(row, mask), s) for row, s in zip(rows, sums, strict=True)
        ]
        return [*(code.move(a, code.vector_bytes) for a in (vector, *bases)), *later]

    state = [x["x"], *thirds, *[code.zero] * size]
    whole = code.b.udiv(x["k"], number(code.lanes))
    rest = code.b.urem(x["k"], number(code.lanes))
    state = code.either(
        code.is_(whole, ">", 0),
        lambda: code.repeat(whole, state, lambda s: multiply(s, None)),
        lambda: state,
    )
    state = code.either(
        code.is_(rest, ">", 0), lambda: multiply(state, code.mask(rest)), lambda: state
    )
    _store(code, x, j, sums_across(code, state[1 + len(thirds) :]), size)


def _store(code: Code, x: Values, j: Value, sums: Value, size: int) -> None:
    """y[j...] = or += the first lanes of `sums`."""
    y = code.move(x["y"], code.mul(j, x["y_step"]))

    def contiguous() -> list[Value]:
        mask = None if size == code.lanes else code.mask(number(size))
        before = _previous(code, x, lambda: code.load(y, mask), code.zero)
        code.store(code.b.fadd(before, sums), y, mask)
        return []

    def scattered() -> list[Value]:
        for lane in range(size):
            place = code.move(y, code.mul(x["y_step"], lane))
            nothing = ir.Constant(code.element, 0.0)
            before = _previous(code, x, partial(code.load_scalar, place), nothing)
            value = code.b.extract_element(sums, ir.Constant(I32, lane))
            code.store_scalar(code.b.fadd(before, value), place)
        return []

    code.either(code.is_(x["y_step"], "==", code.size), contiguous, scattered)


def _previous(code: Code, x: Values, load: Callable[[], Value], zero: Value) -> Value:
    """The old value if it counts, else zero."""
    return code.either(code.is_(x["accumulate"], "!=", 0), lambda: [load()], lambda: [zero])[0]


def combine(code: Code) -> None:
    """The function `combine`: y = or += sum of x[p] * v[p], lines of n elements, v_row apart."""
    x = code.function("combine", "x v y", "x_step v_row k n accumulate")
    widest = 4 if code.vector_bytes == 32 else 8
    whole = [None] * widest
    j = code.steps(number(0), x["n"], widest * code.lanes, partial(_piece, code, x, whole))
    rest = code.sub(x["n"], j)
    vectors = code.vectors(rest)

    def last(width: int) -> None:
        mask = code.mask(code.sub(rest, (width - 1) * code.lanes))
        _piece(code, x, [*whole[: width - 1], mask], j)

    widths = range(1, widest + 1)
    code.cases(*((code.is_(vectors, "==", w), partial(last, w)) for w in widths))
    code.b.ret_void()


def _piece(code: Code, x: Values, masks: list[Value | None], j: Value) -> None:
    """The columns from j on, one vector for each mask."""
    along = code.mul(j, code.size)
    groups = 4 if len(masks) <= 2 else 2

    def step(count: int, state: list[Value]) -> list[Value]:
        """`count` weights, each into its own sums."""
        weight, line, *sums = state
        for group in range(count):
            factor = code.broadcast(weight)
            for v, mask in enumerate(masks):
                vector = code.load(code.move(line, v * code.vector_bytes), mask)
                at = group * len(masks) + v
                sums[at] = code.fma(factor, vector, sums[at])
            weight, line = code.move(weight, x["x_step"]), code.move(line, x["v_row"])
        return [weight, line, *sums]

    state = [x["x"], code.move(x["v"], along), *[code.zero] * (groups * len(masks))]
    for count, times in (
        (groups, code.b.udiv(x["k"], number(groups))),
        (1, code.b.urem(x["k"], number(groups))),
    ):
        loop = partial(code.repeat, times, state, partial(step, count))
        state = code.either(code.is_(times, ">", 0), loop, partial(list, state))
    y = code.move(x["y"], along)
    for v, mask in enumerate(masks):
        place = code.move(y, v * code.vector_bytes)
        sums = state[2 + v :: len(masks)]
        while len(sums) > 1:
            sums = [code.b.fadd(p, q) for p, q in zip(sums[::2], sums[1::2], strict=True)]
        before = _previous(code, x, partial(code.load, place, mask), code.zero)
        code.store(code.b.fadd(before, sums[0]), place, mask)
